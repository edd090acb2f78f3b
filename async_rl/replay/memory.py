"""Replay: steps go in by the segment and come out by the batch."""

import numpy as np

from async_rl.algorithms.segment import Segment
from async_rl.replay.rings import Rings
from async_rl.replay.samplers import Sampler
from async_rl.replay.sum_tree import SumTree
from async_rl.types import EnvSpec


class Replay:
    """The last steps of the streams of one worker, sampled with replacement.

    Args:
        spec: of the environment.
        capacity: rows to store, at most; a step takes one row, the last observation of a game another.
        streams: E.
        sampler: how likely each step is.
        random: for the samples.

    Raises:
        ValueError: see `Rings`.
    """

    def __init__(
        self, spec: EnvSpec, capacity: int, streams: int, sampler: Sampler, random: np.random.Generator
    ) -> None:
        self._rings = Rings(spec, capacity, streams)
        self._tree = SumTree(capacity)  # leaf i: priority of row i, 0 where it is not ready
        self._sampler = sampler
        self._random = random
        self._largest = float(sampler.priorities(np.ones(1))[0])

    def __len__(self) -> int:
        """Steps that can be sampled now."""
        return int(np.count_nonzero(self._rings.ready))

    @property
    def empty(self) -> bool:
        """Whether nothing can be sampled now."""
        return not self._tree.total > 0

    def add(self, segment: Segment) -> None:
        """Append the steps [T, E] of ``segment``, rewards and discounts as they are to be learned from.

        New steps have the largest priority so far, so that each is likely to be seen (Schaul et al., Algorithm 1).
        """
        fields = (segment.observation, segment.action, segment.reward, segment.discount, segment.continues)
        steps = zip(*(field.numpy() for field in (*fields, segment.next_observation)), strict=True)
        rows = np.concatenate([self._rings.append(*step) for step in steps])
        self._tree.set(rows, np.where(self._rings.ready[rows], self._largest, 0.0))

    def sample(self, batch: Segment, total_steps: int) -> np.ndarray:
        """Fill ``batch`` [1, B] at T with one step from each of B equal shares of the total priority (Appendix B.2.1).

        Each stands alone: ``continues`` is 0 and ``next_action`` -1. ``weight`` corrects for the priorities.

        Returns:
            indices [B] int64 for `update`, valid until the next `add`.

        Raises:
            ValueError: nothing was added yet.
        """
        count = batch.action.shape[1]
        shares = np.arange(count) + self._random.random(count)
        indices = self._tree.find(shares * (self._tree.total / count))
        self._rings.read(indices, batch)
        ratios = self._tree.values(indices) * (len(self) / self._tree.total)
        batch.weight.numpy()[0] = self._sampler.importance(ratios, total_steps)
        batch.continues.zero_()
        batch.next_action.fill_(-1)
        return indices

    def update(self, indices: np.ndarray, errors: np.ndarray) -> None:
        """Give sampled steps the priorities of their new TD ``errors`` [B], where these are finite."""
        known = np.isfinite(errors) & self._rings.ready[indices]
        priorities = self._sampler.priorities(errors[known])
        self._tree.set(indices[known], priorities)
        self._largest = max(self._largest, float(priorities.max(initial=0.0)))
