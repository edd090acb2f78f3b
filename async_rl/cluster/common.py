"""The common parameters, or one shard of them: what a holder keeps. No Ray here.

Every push bears a key (incarnation of the island, sequence number), and counts once: a repeated one changes nothing,
one that comes after a gap is refused, and so is one of an incarnation that has been replaced. A copy holds the keys
that are in it; islands keep their pushes until a copy has them. So a holder that is filled from its last copy gets the
rest once more, and nothing is lost.
"""

from dataclasses import dataclass

import numpy as np

from async_rl.cluster.wire import WireType, encode, pieces, whole

Key = tuple[int, int]
"""(incarnation of the island, number of the push), compared in this order."""


@dataclass(frozen=True)
class Copy:
    """What a holder is filled with; ``steps [W]``: of each worker of all islands; ``keys``: each one's last push."""

    parameters: np.ndarray
    steps: np.ndarray
    keys: tuple[Key, ...]


@dataclass(frozen=True)
class Pulled:
    """What an island gets: parameters as they travel, the steps of all workers, its last push here and in a copy.

    The arrays are views of what the holder has at this moment: to be sent off, or copied, before the next push.
    """

    parameters: list[np.ndarray]
    steps: np.ndarray
    key: Key
    kept: Key


class Common:
    """One shard of the common parameters [P]."""

    def __init__(self, copy: Copy):
        self._parameters = copy.parameters.astype(np.float32)
        self._steps = copy.steps.copy()
        self._keys = list(copy.keys)
        self._kept = list(copy.keys)

    def pull(self, island: int, wire: WireType) -> Pulled:
        """What island number ``island`` works with next."""
        return Pulled(pieces(encode(self._parameters, wire)), self._steps, self._keys[island], self._kept[island])

    def push(
        self, island: int, key: Key, change: list[np.ndarray], workers: slice, steps: np.ndarray, wire: WireType
    ) -> Pulled:
        """Add a change, in pieces, once, and note the steps of the island's workers; what it works with next.

        A change that is not finite is counted, not added: one island's broken numbers must not become everybody's.
        """
        if self._follows(key, self._keys[island]):
            added = whole(change)
            if np.isfinite(added).all():
                self._parameters += added
            self._keys[island] = key
            np.maximum(self._steps[workers], steps, out=self._steps[workers])
        return self.pull(island, wire)

    def copy(self, kept: tuple[Key, ...] | None = None) -> Copy:
        """A copy of everything; ``kept``: the keys of the last one that has arrived where it is safe."""
        if kept is not None:
            self._kept = list(map(max, self._kept, kept))
        return Copy(self._parameters.copy(), self._steps.copy(), tuple(self._keys))

    @staticmethod
    def _follows(key: Key, last: Key) -> bool:
        """Whether a push is the next one; the first of a new incarnation is number 1."""
        (incarnation, number), (last_incarnation, last_number) = key, last
        if incarnation == last_incarnation:
            return number == last_number + 1
        return incarnation > last_incarnation and number == 1
