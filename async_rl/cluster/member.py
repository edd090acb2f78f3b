"""What the driver knows of one island."""

from pathlib import Path
from typing import Any


class Member:
    """One island: its actor, and its history.

    Attributes:
        incarnation: the one at work, or that was told to begin last.
        known: the last one that is known to have begun.
        worker_incarnations: of the workers of that one.
        begun: whether there is an answer to be had, as far as is known.
        lost: nothing was heard of it since it was said to be out of reach.
        failures: how often in a row it has answered that it cannot do what it was asked to.
        fruitless_starts: processes in a row that have begun, and made no step as far as is known.
        restarted, restarted_before: workers started again by this incarnation, and before it.
        said: lines of this incarnation that have been told.
        diverged_in: incarnations whose parameters were not finite in the end.
        errors: tracebacks that it has told last, by the names of their files.
        error_files: where they are in the run directory.
        call: the question that is under way.
        due: when to ask next, by the monotonic clock.
    """

    def __init__(self, index: int, actor: Any, workers: slice, incarnations: tuple[int, ...]):
        self.index, self.actor, self.workers = index, actor, workers
        self.incarnation = self.known = 0
        self.worker_incarnations = incarnations
        self.begun = self.lost = self.ended = False
        self.failures = self.fruitless_starts = self.stepping = self.said = self.restarted = self.restarted_before = 0
        self.diverged_in = set[int]()
        self.errors: dict[str, str] = {}
        self.error_files: dict[str, Path] = {}
        self.call: Any = None
        self.due = 0.0

    @property
    def next_incarnations(self) -> tuple[int, ...]:
        """Of its workers, where ``incarnation`` begins; one that was told to begin before may have done so."""
        return tuple(number + (self.incarnation > 1) for number in self.worker_incarnations)

    def note_begin(self, incarnation: int) -> None:
        """It trains, and perhaps has done so all the time and could not be reached."""
        self.incarnation = incarnation
        if incarnation == self.known:
            return
        again = self.workers.stop - self.workers.start if incarnation > 1 else 0
        self.restarted_before += self.restarted + again
        self.restarted = self.said = 0
        self.error_files.clear()
        self.fruitless_starts += 1
        self.worker_incarnations, self.known = self.next_incarnations, incarnation
