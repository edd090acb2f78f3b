"""What an algorithm sees of the game's rewards; scores are never touched."""

from collections.abc import Callable

import numpy as np

Shape = Callable[[np.ndarray], None]
"""Changes rewards [T, E] float32 in place."""


def keep(rewards: np.ndarray) -> None:
    """Leave the rewards as they are."""


class _Noting:
    """Notes the largest absolute reward.

    Args:
        largest: that each worker has seen so far, [W], shared by all.
        index: of this one.
    """

    def __init__(self, largest: np.ndarray, index: int):
        self._all, self._index = largest, index

    def __call__(self, rewards: np.ndarray) -> None:
        largest = np.fmax.reduce(np.abs(rewards), axis=None, initial=0.0)  # NaN does not count
        self._all[self._index] = max(self._all[self._index], largest)


class Clip(_Noting):
    """Clip to [-1, 1] (Mnih et al. 2015)."""

    def __call__(self, rewards: np.ndarray) -> None:
        super().__call__(rewards)
        np.clip(rewards, -1.0, 1.0, out=rewards)


class ScaleByLargest(_Noting):
    """Divide by the largest absolute reward that any worker has seen so far; rewards end up within [-1, 1]."""

    def __call__(self, rewards: np.ndarray) -> None:
        super().__call__(rewards)
        largest = np.float32(self._all.max())
        if largest > 0:
            rewards /= largest


REWARDS: dict[str, Callable[[np.ndarray, int], Shape]] = {
    "clipped": Clip,
    "scaled": ScaleByLargest,
    "raw": lambda largest, index: keep,
}
"""Name -> maker of the function, one for each worker; see `_Noting` for what it takes."""
