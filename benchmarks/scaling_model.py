"""A model of how steps per second grow with cores, and the memory bandwidth it needs. What it says is a prediction.

A worker on each of n cores takes this long for a step, in microseconds:

    t(n) = max(private + cache * min(n - 1, neighbours) + contention * distance * refetched(n),
               n * traffic / bandwidth(n))
    steps per second = n / t(n)

Measured:
    private     one worker alone.
    cache       what each further independent run adds: they share no parameters, only caches and memory.
    contention  what one vector of parameters adds that other cores have written since and that has to be fetched again:
                n workers of one run against n independent runs, divided by refetched(n).
    bandwidth   bytes copied per second by one core, and by all measured cores at once, in large buffers.
Counted in the program:
    refetched   vectors fetched again for an update. All workers update at the same rate, so between two of a worker's
                own ``passes`` over theta the others make (n - 1) / passes updates, each of the whole vector: theta is
                fetched again min(passes, n - 1) times, the statistics, touched once an update, min(1, n - 1) times.
    traffic     bytes of a step: each pass over theta, target, gradient and statistics, as if it stayed in no
                cache, while screens and activations do; at most what the measured runs can have moved.
Assumed, once for the better and once for the worse (`SCENARIOS`):
    neighbours  how many others a core shares caches and memory with.
    distance    time to fetch from another chip or socket, in units of that measured.
    bandwidth   grows with the number of cores, or stays that of the measured cores together.

Not in it: clocks that fall when more cores are busy, and two threads on a core.
With two measured cores cache and contention are one difference each, so no more than these can be told apart.
"""

import math
import os
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

PREDICTED_CORES = (8, 16, 32, 64, 128)
FLOAT_BYTES = 4
BUFFER_BYTES = 64 * 2**20
"""More than what lies in the caches of most processors; a core copies one such buffer into another."""


@dataclass(frozen=True)
class Scenario:
    """What has to be assumed about a machine that is not here."""

    name: str
    shares_with_all: bool
    """Whether ``neighbours`` are all other cores, or as many as were measured."""
    distance: float
    """Time to fetch what another core has written, in units of that measured."""
    bandwidth_grows: bool
    """Whether memory bandwidth grows with cores beyond those measured."""


SCENARIOS = (
    Scenario("optimistic", shares_with_all=False, distance=1.0, bandwidth_grows=True),
    Scenario("pessimistic", shares_with_all=True, distance=3.0, bandwidth_grows=False),
)


@dataclass(frozen=True)
class Model:
    """The measured and counted numbers of the module's formula."""

    private: float
    """Microseconds per step of one worker alone."""
    cache: float
    """Microseconds per step that each further core adds."""
    contention: float
    """Microseconds per step that each refetched vector of an update adds."""
    passes: int
    """Passes of a worker over theta from one of its updates to the next."""
    traffic: float
    """Bytes per step."""
    one_core_bandwidth: float
    """Bytes per second."""
    bandwidth: float
    """Bytes per second, all ``measured_cores`` together."""
    measured_cores: int

    def microseconds(self, cores: int, scenario: Scenario) -> float:
        """Predicted microseconds of a worker per step with one worker on each of ``cores`` cores."""
        neighbours = math.inf if scenario.shares_with_all else self.measured_cores - 1
        shared = self.cache * min(cores - 1, neighbours)
        contended = self.contention * scenario.distance * refetched(cores, self.passes)
        saturated = 1e6 * cores * self.traffic / self.bandwidth_of(cores, scenario)
        return max(self.private + shared + contended, saturated)

    def steps_per_second(self, cores: int, scenario: Scenario) -> float:
        """Predicted steps per second of all workers, one on each of ``cores`` cores."""
        return 1e6 * cores / self.microseconds(cores, scenario)

    def bandwidth_of(self, cores: int, scenario: Scenario) -> float:
        """Bytes per second of ``cores`` cores together."""
        if scenario.bandwidth_grows and cores > self.measured_cores:
            return self.bandwidth * cores / self.measured_cores
        return min(self.one_core_bandwidth * cores, self.bandwidth)

    def explain(self) -> str:
        """The formula's numbers and where they come from."""
        return (
            "PREDICTION, not measured: t(n) = max(private + cache * min(n - 1, neighbours) + contention * distance * "
            "refetched(n), n * traffic / bandwidth(n))\n"
            f"  measured: private {self.private:.0f} us, cache {self.cache:.1f} us per further core, contention "
            f"{self.contention:.1f} us per refetched vector, bandwidth {self.one_core_bandwidth / 1e9:.1f} GB/s "
            f"(1 core) and {self.bandwidth / 1e9:.1f} GB/s ({self.measured_cores} cores)\n"
            f"  counted: traffic {self.traffic / 1e6:.2f} MB per step, refetched(n) = min({self.passes}, n - 1) + "
            "min(1, n - 1)\n"
            f"  assumed, optimistic: neighbours {self.measured_cores - 1} as measured, distance 1, bandwidth grows "
            "with the cores\n"
            f"  assumed, pessimistic: neighbours n - 1, distance 3, bandwidth stays {self.bandwidth / 1e9:.1f} GB/s\n"
            "  both: cores as fast as these at any number, one thread on each"
        )


def refetched(cores: int, passes: int) -> int:
    """Vectors of parameters that a worker fetches again for an update, because others have written them."""
    return min(passes, cores - 1) + min(1, cores - 1)


def fit(
    private: float,
    memory: Mapping[int, float],
    writes: Mapping[int, float],
    parameters: int,
    t_max: int,
    envs_per_worker: int,
    bandwidth: Mapping[int, float],
) -> Model:
    """The model of these measurements; losses below zero, which are noise, count as none.

    Args:
        private: microseconds per step of one worker alone.
        memory: number of cores -> microseconds per step lost to caches and memory.
        writes: number of cores -> microseconds per step lost to shared writes.
        parameters: P.
        t_max: steps of a stream between two updates.
        envs_per_worker: streams of a worker.
        bandwidth: number of cores -> bytes per second; for one core and for all measured.
    """
    passes = t_max + 2  # acting at each step, backward, update
    vectors = t_max + 9  # acting t_max; target 1, backward 2, norm 1, update 5
    most = max(bandwidth)
    possible = [bandwidth[n] * (private + memory.get(n, 0.0)) / (1e6 * n) for n in bandwidth]
    return Model(
        private=private,
        cache=max(0.0, slope({n - 1: lost for n, lost in memory.items()})),
        contention=max(0.0, slope({refetched(n, passes): lost for n, lost in writes.items()})),
        passes=passes,
        traffic=min(vectors * FLOAT_BYTES * parameters / (t_max * envs_per_worker), *possible),
        one_core_bandwidth=bandwidth[1],
        bandwidth=bandwidth[most],
        measured_cores=most,
    )


def slope(points: Mapping[int, float]) -> float:
    """Least squares of ``y = slope * x`` over x -> y; 0 without points."""
    squares = sum(x * x for x in points)
    return sum(x * y for x, y in points.items()) / squares if squares else 0.0


def copy_bandwidth(cores: Sequence[int], seconds: float) -> float:
    """Bytes read and written per second by one thread on each of ``cores``, which copy large buffers."""
    barrier = threading.Barrier(len(cores))

    def copy(core: int) -> float:
        """Copy on this core for a while."""
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {core})  # of this thread alone
        source, copied = np.ones(BUFFER_BYTES, np.uint8), 0
        target = source.copy()
        barrier.wait()
        since = time.perf_counter()
        while time.perf_counter() - since < seconds:
            np.copyto(target, source)
            copied += 2 * BUFFER_BYTES
        return copied / (time.perf_counter() - since)

    with ThreadPoolExecutor(len(cores)) as threads:
        return sum(threads.map(copy, cores))
