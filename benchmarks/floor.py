"""What a step cannot cost less than, on this machine: its emulation, its arithmetic, and the memory its update moves.

The arithmetic is that of one-step Q-learning as the paper has it: a pass to act, one of the target network, one forward
and one backward, at the peak of the matrix multiplications of one core. The memory is that of the update: parameters,
gradient and statistics are read, parameters and statistics are written, at the speed of a copy of such a vector.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from async_rl.config import Config
from async_rl.envs import make_environment
from async_rl.networks import make_network
from async_rl.shared import parameter_count

VECTORS_MOVED = 5
"""Vectors of the length of theta that an update reads or writes."""


@dataclass(frozen=True)
class Floor:
    """Microseconds of one core for a step.

    Attributes:
        emulation: four frames of the bare emulator.
        arithmetic: all passes at the peak of matrix multiplication.
        memory: the update's, divided by the steps of an update.
    """

    emulation: float
    arithmetic: float
    memory: float

    @property
    def total(self) -> float:
        """Sum of the three."""
        return self.emulation + self.arithmetic + self.memory


def measure_floor(config: Config, seconds: float) -> Floor:
    """The floor of Atari training with an update after each step, measured for about so many seconds on one core.

    ``config`` names game and network.
    """
    torch.set_num_threads(1)
    spec = make_environment(config, np.random.default_rng(0)).spec
    network = make_network(config, spec)
    observation = torch.zeros(1, *spec.observation_shape, dtype=getattr(torch, spec.observation_dtype))
    parameters = parameter_count(network)
    return Floor(
        emulation=emulation(config, seconds / 3),
        arithmetic=1e6 * operations(network, observation) / peak(seconds / 3),
        memory=1e6 * VECTORS_MOVED * 4 * parameters / copy_speed(parameters, seconds / 3),
    )


def emulation(config: Config, seconds: float) -> float:
    """Microseconds of the bare emulator for a step, four frames with the same random action."""
    environment = make_environment(config, np.random.default_rng(0))
    ale, codes = environment._ale, environment._actions  # type: ignore[attr-defined]
    actions = np.random.default_rng(0).integers(len(codes), size=500).tolist()

    def play() -> None:
        """All actions once, each for four frames."""
        for action in actions:
            for _ in range(4):
                ale.act(codes[action])
            if ale.game_over():
                ale.reset_game()

    return 1e6 * fastest_half(play, seconds) / len(actions)


def operations(network: torch.nn.Module, observation: torch.Tensor) -> int:
    """Floating-point operations of a step: three passes forward and one backward, for one observation [1, ...]."""
    with FlopCounterMode(display=False) as forward:
        outputs = network(observation)
    with FlopCounterMode(display=False) as backward:
        outputs.sum().backward()
    return 3 * int(forward.get_total_flops()) + int(backward.get_total_flops())


def peak(seconds: float) -> float:
    """Operations per second of one core in float32: the best of some sizes of matrices."""
    sizes = (256, 512, 1024)
    speeds = []
    for size in sizes:
        a, b, c = torch.randn(3, size, size)

        def multiply(a: torch.Tensor = a, b: torch.Tensor = b, c: torch.Tensor = c) -> None:
            """One product of this size."""
            torch.mm(a, b, out=c)

        speeds.append(2 * size**3 / fastest_half(multiply, seconds / len(sizes)))
    return max(speeds)


def copy_speed(length: int, seconds: float) -> float:
    """Bytes read and written per second, copying one float32 vector of ``length`` into another."""
    source, target = torch.ones(2, length)
    return 2 * 4 * length / fastest_half(lambda: target.copy_(source), seconds)


def fastest_half(job: Callable[[], object], seconds: float) -> float:
    """Seconds of ``job``: the median of the faster half of as many calls as fit into ``seconds``."""
    job()
    took: list[float] = []
    until = time.perf_counter() + seconds
    while len(took) < 4 or time.perf_counter() < until:
        start = time.perf_counter()
        job()
        took.append(time.perf_counter() - start)
    return float(np.median(np.sort(took)[: len(took) // 2]))
