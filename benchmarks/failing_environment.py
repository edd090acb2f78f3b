"""The toy with an environment that raises an exception as soon as its process gets SIGUSR1; for `benchmarks.endurance`.

``--env benchmarks.failing_environment:make``
"""

import signal

import numpy as np

from async_rl.envs.catch import Catch
from async_rl.types import Outcome

FAULT = signal.SIGUSR1

_asked: list[int] = []


class InjectedError(RuntimeError):
    """What the environment raises."""


class FailingCatch(Catch):
    """Catch that fails on demand, in its next step."""

    def step(self, action: int, observation: np.ndarray) -> Outcome:
        """Take one step; see `Catch`."""
        if _asked:
            raise InjectedError(f"a fault on demand, in row {self._row}")
        return super().step(action, observation)


def make() -> FailingCatch:
    """One game; the signal is listened to from the first one on."""
    signal.signal(FAULT, lambda number, frame: _asked.append(number))
    return FailingCatch(np.random.default_rng())
