"""An island's side of the exchange: its change goes out, the common parameters come back. No Ray here.

    steps of the island's workers  ......|..........|..........|.......   every --exchange-interval steps:
                                         change = theta - view --> push (kept until it is in a copy)
                                         theta += common - view <-- answer; workers never wait

Theta is changed in place while the workers change it, one more Hogwild writer: an update of theirs that falls between
the reading and the writing of one element is lost, as it can be between two of them.
"""

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from async_rl.cluster.common import Key, Pulled
from async_rl.cluster.rules import RULES
from async_rl.cluster.settings import ClusterSettings
from async_rl.cluster.wire import decode, encode, shards, whole
from async_rl.shared import SharedTable

MOST_PENDING_BYTES = 256 << 20
"""Pushes that an island keeps because no copy has them yet; with so many it waits with the next one. A limit on their
number would make those wait that exchange often: with 64, islands of the toy stopped exchanging for seconds."""

_FULL_SECONDS = 0.2
"""Between two looks whether a copy has them."""

SHORTEST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS = 0.1, 5.0

SHORTEST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.002, 0.1
"""Between two looks whether the next exchange is due."""


class UnavailableError(Exception):
    """A shard of the common parameters does not answer, or has not been filled yet: to be tried again."""


class ReplacedError(Exception):
    """Another incarnation of this island is at work: this one has to end."""


class DivergedError(Exception):
    """The island's parameters are not finite any more: it has to begin again."""


@dataclass(frozen=True)
class Push:
    """One change on its way, whole; ``steps``: of the island's workers."""

    key: Key
    change: np.ndarray
    steps: np.ndarray


class Store(Protocol):
    """The shards of the common parameters, wherever they are; every method raises `UnavailableError`."""

    def pull(self) -> list[Pulled]:
        """From each shard."""

    def push(self, parts: list[tuple[int, Push]]) -> list[Pulled]:
        """To shard number ``part[0]`` its part of a change; what each of these shards has then."""


class Exchange:
    """The exchange of one island.

    Args:
        settings: of the cluster.
        table: the island's; theta, the steps of others' workers and the row ``exchange`` are written.
        workers: the island's own, as a slice of the table's slots.
        incarnation: of the island.
        store: the common parameters.
        steps_goal: T at which everybody ends; the sooner they all know, the fewer steps come after it.
    """

    def __init__(
        self,
        settings: ClusterSettings,
        table: SharedTable,
        workers: slice,
        incarnation: int,
        store: Store,
        steps_goal: int,
    ) -> None:
        self._settings, self._table, self._workers, self._store = settings, table, workers, store
        self._incarnation, self._number, self._steps_goal = incarnation, 0, steps_goal
        self._theta = table["parameters"]
        self._parts = shards(len(self._theta), settings.shards)
        self._rule = RULES[settings.rule]
        self._pending: deque[Push] = deque()
        self._view = self._theta.copy()
        self._elsewhere = 0
        self._steps_exchanged, self._exchanged_at = 0, time.monotonic()

    def start(self) -> None:
        """Take over the common parameters and the others' steps; raises UnavailableError."""
        pulled = self._store.pull()
        np.copyto(self._theta, _whole(pulled))
        np.copyto(self._view, self._theta)
        self._take(pulled)
        self._steps_exchanged, self._exchanged_at = self._own_steps(), time.monotonic()

    def run(self, ended: threading.Event) -> None:
        """Exchange every so many steps until ``ended``; where nothing answers, try again ever more slowly.

        Raises:
            ReplacedError: another incarnation is at work.
            DivergedError: the parameters are not finite.
        """
        backoff = SHORTEST_BACKOFF_SECONDS
        while not ended.wait(self._wait_seconds()):
            if not self._due():
                continue
            try:
                if not self.once():
                    ended.wait(_FULL_SECONDS)
                backoff = SHORTEST_BACKOFF_SECONDS
            except UnavailableError:
                ended.wait(backoff)
                backoff = min(2 * backoff, LONGEST_BACKOFF_SECONDS)

    def once(self) -> bool:
        """One exchange; False: too many pushes wait for a copy, so the last one was sent again instead.

        Raises:
            UnavailableError: the next one goes on where this has stopped.
            ReplacedError: another incarnation is at work.
            DivergedError: the parameters are not finite; nothing of that has been sent.
        """
        start, moved = time.monotonic(), 0
        if not self._rule.follows:
            pulled = self._store.pull()
            moved += _bytes(pulled)
            self._take(pulled)
        before = self._elsewhere
        full = sum(push.change.nbytes for push in self._pending) >= MOST_PENDING_BYTES
        if not full:
            self._pending.append(self._cut())
        pulled = self._deliver()
        moved += self._pending[-1].change.nbytes + _bytes(pulled)
        self._take(pulled)
        staleness = max(0, self._elsewhere - before)
        self._table["exchange"][self._workers.start] += (1, moved, time.monotonic() - start, staleness)
        return not full

    def _due(self) -> bool:
        steps = self._own_steps() - self._steps_exchanged
        at_the_goal = steps > 0 and self._table.total_steps() >= self._steps_goal
        return at_the_goal or steps >= self._settings.exchange_interval

    def _wait_seconds(self) -> float:
        """Half of the time until the next exchange is due, as fast as the workers are now: looking costs time, too."""
        steps = self._own_steps() - self._steps_exchanged
        left = self._settings.exchange_interval - steps
        seconds = (time.monotonic() - self._exchanged_at) * left / (2 * steps) if steps > 0 else 0.0
        return min(max(seconds, SHORTEST_WAIT_SECONDS), LONGEST_WAIT_SECONDS)

    def _cut(self) -> Push:
        """The next change, which from now on is in the island's view of the common parameters."""
        steps = self._table["steps"][self._workers].copy()
        own = self._theta if self._rule.rest is None else self._theta.copy()  # read twice, between workers' updates
        sent = encode(self._rule.change(own, self._view, self._settings.islands), self._settings.wire)
        change = decode(sent)
        if not np.isfinite(change).all():
            raise DivergedError
        if self._rule.rest is not None:
            np.add(self._theta, self._rule.rest(own, self._view, change), out=self._theta)
        self._view += change
        self._steps_exchanged, self._exchanged_at = int(steps.sum()), time.monotonic()
        self._number += 1
        return Push((self._incarnation, self._number), sent, steps)

    def _deliver(self) -> list[Pulled]:
        """Send the last push, and to shards that have lost some before it, with their process, those once more."""
        last = self._pending[-1]
        pulled = self._send([(shard, last) for shard in range(len(self._parts))])
        for shard, answer in enumerate(pulled):
            for push in [push for push in self._pending if push.key > answer.key]:  # in their order, which counts
                (pulled[shard],) = self._send([(shard, push)])
        if any(answer.key[0] > self._incarnation for answer in pulled):
            raise ReplacedError
        if any(answer.key != last.key for answer in pulled):  # lost again meanwhile
            raise UnavailableError
        return pulled

    def _send(self, parts: list[tuple[int, Push]]) -> list[Pulled]:
        cut = [(shard, Push(push.key, push.change[self._parts[shard]], push.steps)) for shard, push in parts]
        return self._store.push(cut)

    def _take(self, pulled: list[Pulled]) -> None:
        """Go along with what the common parameters have become, and forget the pushes that a copy has."""
        common = self._with_pending(pulled)
        if self._rule.follows:
            np.subtract(common, self._view, out=self._view)
            np.add(self._theta, self._view, out=self._theta)
        self._view = common
        self._note_steps(pulled[0].steps)
        self._elsewhere = int(self._table["steps"].sum()) - self._own_steps()
        kept = min(shard.kept for shard in pulled)
        while self._pending and self._pending[0].key <= kept:
            self._pending.popleft()

    def _with_pending(self, pulled: list[Pulled]) -> np.ndarray:
        """The common parameters with all that this island has sent, whether it has arrived yet or not."""
        common = _whole(pulled)
        for part, shard in zip(self._parts, pulled, strict=True):
            for push in self._pending:
                if push.key > shard.key:
                    common[part] += decode(push.change[part])
        return common

    def _note_steps(self, steps: np.ndarray) -> None:
        """Write the steps of all other islands' workers into the table, so that T counts them."""
        rows = self._table["steps"]
        rows[: self._workers.start] = steps[: self._workers.start]
        rows[self._workers.stop :] = steps[self._workers.stop :]

    def _own_steps(self) -> int:
        return int(self._table["steps"][self._workers].sum())


def _bytes(pulled: list[Pulled]) -> int:
    return sum(piece.nbytes for shard in pulled for piece in shard.parameters)


def _whole(pulled: list[Pulled]) -> np.ndarray:
    return whole([piece for shard in pulled for piece in shard.parameters])
