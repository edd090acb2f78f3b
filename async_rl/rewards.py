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
    """Divide by the largest absolute reward that any worker has seen so far; rewards end up within [-1, 1].

    Args:
        largest: that of each worker, [W], shared by all.
        index: of this one.
    """

    def __init__(self, largest: np.ndarray, index: int):
        self._all, self._index = largest, index

    def __call__(self, rewards: np.ndarray) -> None:
        self._all[self._index] = max(self._all[self._index], np.nanmax(np.abs(rewards), initial=0.0))
        largest = np.float32(self._all.max())
        if largest > 0:
            rewards /= largest


REWARDS: dict[str, Callable[[np.ndarray, int], Shape]] = {
    "clipped": lambda largest, index: clip,
    "scaled": ScaleByLargest,
    "raw": lambda largest, index: keep,
}
"""Name -> maker of the function, one for each worker; see `ScaleByLargest` for what it takes."""
