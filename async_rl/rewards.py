"""What an algorithm sees of the game's rewards; scores are never touched."""

from collections.abc import Callable

import numpy as np

Shape = Callable[[np.ndarray], None]
"""Changes rewards [T, E] float32 in place."""


def clip(rewards: np.ndarray) -> None:
    """Clip to [-1, 1] (Mnih et al. 2015)."""
    np.clip(rewards, -1.0, 1.0, out=rewards)


def keep(rewards: np.ndarray) -> None:
    """Leave the rewards as they are."""


class ScaleByLargest:
    """Divide by the largest absolute reward that this worker has seen so far; rewards end up within [-1, 1]."""

    def __init__(self) -> None:
        self._largest = 0.0

    def __call__(self, rewards: np.ndarray) -> None:
        self._largest = max(self._largest, float(np.abs(rewards).max()))
        if self._largest > 0:
            rewards /= self._largest


REWARDS: dict[str, Callable[[], Shape]] = {"clipped": lambda: clip, "scaled": ScaleByLargest, "raw": lambda: keep}
"""Name -> maker of the function, one for each worker."""
