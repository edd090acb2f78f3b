"""What a worker learns from: the segment that it has just collected, or a batch out of its replay memory."""

from typing import Protocol

from torch import Tensor

from async_rl.algorithms.segment import Segment
from async_rl.replay.memory import Replay


class Experience(Protocol):
    """The choice by which learning online and from replay differ."""

    def batch(self, segment: Segment, total_steps: int) -> Segment | None:
        """What to learn from after ``segment`` was collected at T = ``total_steps``; None: nothing yet."""

    def update_priorities(self, errors: Tensor) -> None:
        """Take note of the TD errors [T, E] of the batch."""


class Online:
    """Every segment is learnt from once, at once."""

    def batch(self, segment: Segment, total_steps: int) -> Segment | None:
        """The segment itself; see `Experience`."""
        return segment

    def update_priorities(self, errors: Tensor) -> None:
        """Nothing; see `Experience`."""


class FromReplay:
    """Every segment goes into the memory, and one batch out of it is learnt from.

    Args:
        replay: the memory.
        batch: written with each sample, [1, B].
        learning_starts: steps in the memory before which nothing is learnt; a worker that was started again, and a
            resumed run, fill it anew.
    """

    def __init__(self, replay: Replay, batch: Segment, learning_starts: int) -> None:
        self._replay = replay
        self._batch = batch
        self._learning_starts = learning_starts
        self._started = False

    def batch(self, segment: Segment, total_steps: int) -> Segment | None:
        """A sample; see `Experience`."""
        self._replay.add(segment)
        self._started = self._started or len(self._replay) >= self._learning_starts
        if not self._started or self._replay.empty:  # empty once more: all that it holds was not finite
            return None
        self._indices = self._replay.sample(self._batch, total_steps)
        return self._batch

    def update_priorities(self, errors: Tensor) -> None:
        """New priorities; see `Experience`."""
        self._replay.update(self._indices, errors.numpy()[0])
