"""Runs of the command on pinned cores, one or several at once, in interleaved rounds; for `benchmarks.scaling`."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from async_rl.config import Config
from async_rl.cores import usable_cores
from async_rl.stopwatch import PHASES
from benchmarks import runs
from benchmarks.runs import observe_together


@dataclass(frozen=True)
class Setting:
    """What is run at the same time: so many workers, in so many runs of the command, on so many cores."""

    section: str
    workers: int
    cores: int
    network: str
    runs: int = 1
    envs_per_worker: int = Config().envs_per_worker


@dataclass(frozen=True)
class Sample:
    """One measurement: the speed, and where a step's time goes."""

    speed: float
    """Steps per second of all workers."""
    microseconds: float
    """Wall-clock time of a worker for a step."""
    phases: Mapping[str, float]
    """The same in each of `async_rl.stopwatch.PHASES`, as the workers' own stopwatches have it."""

    def minus(self, other: "Sample") -> "Sample":
        """The difference of the times."""
        phases = {phase: took - other.phases[phase] for phase, took in self.phases.items()}
        return Sample(self.speed - other.speed, self.microseconds - other.microseconds, phases)

    def times(self, factor: float) -> "Sample":
        """The same with all times multiplied."""
        phases = {phase: took * factor for phase, took in self.phases.items()}
        return Sample(self.speed, self.microseconds * factor, phases)


Rounds = dict[Setting, list[Sample]]


def measure(setting: Setting, env: str, seconds: float) -> Sample:
    """Run the command, once or several times at once, on the setting's cores."""
    flags = {
        "env": env,
        "workers": setting.workers // setting.runs,
        "envs-per-worker": setting.envs_per_worker,
        "network": setting.network,
    }
    mine = usable_cores()[: setting.cores]
    each = max(1, len(mine) // setting.runs)
    shares = [mine[each * run : each * (run + 1)] for run in range(setting.runs)]
    reports = observe_together([flags] * setting.runs, seconds, shares)
    speed, took = sum(map(runs.speed, reports)), [runs.phases(of_run) for of_run in reports]
    phases = {phase: statistics.fmean(of_run[phase] for of_run in took) for phase in PHASES}
    return Sample(speed, 1e6 * setting.workers / speed, phases)


def in_rounds(settings: Sequence[Setting], env: str, seconds: float, rounds: int) -> Rounds:
    """Measure every setting once in a round, round after round."""
    samples: Rounds = {setting: [] for setting in settings}
    for number in range(rounds):
        for setting in settings:
            samples[setting].append(measure(setting, env, seconds))
            print(f"round {number + 1}: {setting}: {samples[setting][-1].speed:,.0f} steps/s", flush=True)
    return samples


def median(samples: Sequence[Sample]) -> Sample:
    """The median of each number."""
    phases = {phase: statistics.median(sample.phases[phase] for sample in samples) for phase in PHASES}
    middle = statistics.median
    return Sample(middle(s.speed for s in samples), middle(s.microseconds for s in samples), phases)
