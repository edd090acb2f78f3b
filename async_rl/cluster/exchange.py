"""An island's side of the exchange: pull, apply a rule to the shared theta, push; workers never wait. No Ray here.

    steps of the island's workers  ......|..........|..........|.......   every --exchange-interval steps:
                                         pull --> rule --> theta += move --> push (kept until it is in a copy)

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
from async_rl.cluster.wire import decode, encode, shards
from async_rl.shared import SharedTable

MOST_PENDING = 64
"""Pushes that an island keeps because no copy has them yet; with so many it waits with the next one."""

SHORTEST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS = 0.1, 5.0

_POLL_SECONDS = 0.005


class UnavailableError(Exception):
    """A shard of the common parameters does not answer, or has not been filled yet: to be tried again."""


class ReplacedError(Exception):
    """Another incarnation of this island is at work: this one has to end."""


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

    def push(self, parts: list[tuple[int, Push]]) -> list[tuple[Key, int]]:
        """To shard number ``part[0]`` its part of a change; for each the last key that counts there, and T."""


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
        self._pending: deque[Push] = deque()
        self._view = self._theta.copy()
        self._elsewhere = 0
        self._steps_exchanged = 0

    def start(self) -> None:
        """Take over the common parameters and the others' steps; raises UnavailableError."""
        pulled = self._store.pull()
        np.copyto(self._theta, _whole(pulled))
        self._view = self._theta.copy()
        self._note_steps(pulled[0].steps)
        self._elsewhere, self._steps_exchanged = self._steps_elsewhere(), self._own_steps()

    def run(self, ended: threading.Event) -> None:
        """Exchange every so many steps until ``ended``; where nothing answers, try again ever more slowly.

        Raises:
            ReplacedError: another incarnation is at work.
        """
        backoff = SHORTEST_BACKOFF_SECONDS
        while not ended.wait(_POLL_SECONDS):
            if not self._due():
                continue
            try:
                self.once()
                backoff = SHORTEST_BACKOFF_SECONDS
            except UnavailableError:
                ended.wait(backoff)
                backoff = min(2 * backoff, LONGEST_BACKOFF_SECONDS)

    def once(self) -> None:
        """One exchange; raises UnavailableError, after which the next one goes on where this has stopped."""
        start = time.monotonic()
        pulled = self._store.pull()
        if self._send_again(pulled):
            pulled = self._store.pull()
        self._forget(pulled)
        if len(self._pending) >= MOST_PENDING:
            raise UnavailableError
        before = self._elsewhere
        self._note_steps(pulled[0].steps)
        self._elsewhere = self._steps_elsewhere()
        push = self._apply_rule(_whole(pulled))
        self._pending.append(push)
        arrived = self._send([(shard, push) for shard in range(len(self._parts))])
        staleness = max(0, arrived[0][1] - int(push.steps.sum()) - before)
        sent = push.change.nbytes + sum(part.parameters.nbytes for part in pulled)
        self._table["exchange"][self._workers.start] += (1, sent, time.monotonic() - start, staleness)

    def _due(self) -> bool:
        steps = self._own_steps() - self._steps_exchanged
        at_the_goal = steps > 0 and self._table.total_steps() >= self._steps_goal
        return at_the_goal or steps >= self._settings.exchange_interval

    def _apply_rule(self, common: np.ndarray) -> Push:
        wire, steps = self._settings.wire, self._table["steps"][self._workers].copy()
        own = self._theta.copy()
        rule = RULES[self._settings.rule]
        change, move, self._view = rule(
            own, self._view, common, self._settings.islands, lambda vector: decode(encode(vector, wire))
        )
        np.add(self._theta, move, out=self._theta)
        self._steps_exchanged = int(steps.sum())
        self._number += 1
        return Push((self._incarnation, self._number), encode(change, wire), steps)

    def _send(self, parts: list[tuple[int, Push]]) -> list[tuple[Key, int]]:
        cut = [(shard, Push(push.key, push.change[self._parts[shard]], push.steps)) for shard, push in parts]
        return self._store.push(cut)

    def _send_again(self, pulled: list[Pulled]) -> bool:
        """Send what a shard has not got, or has lost with its process; whether there was anything."""
        if any(shard.key[0] > self._incarnation for shard in pulled):
            raise ReplacedError
        missing = [(n, push) for push in self._pending for n, shard in enumerate(pulled) if push.key > shard.key]
        for part in missing:  # one after the other: their order counts
            self._send([part])
        return bool(missing)

    def _forget(self, pulled: list[Pulled]) -> None:
        kept = min(shard.kept for shard in pulled)
        while self._pending and self._pending[0].key <= kept:
            self._pending.popleft()

    def _note_steps(self, steps: np.ndarray) -> None:
        """Write the steps of all other islands' workers into the table, so that T counts them."""
        rows = self._table["steps"]
        rows[: self._workers.start] = steps[: self._workers.start]
        rows[self._workers.stop :] = steps[self._workers.stop :]

    def _own_steps(self) -> int:
        return int(self._table["steps"][self._workers].sum())

    def _steps_elsewhere(self) -> int:
        return int(self._table["steps"].sum()) - self._own_steps()


def _whole(pulled: list[Pulled]) -> np.ndarray:
    return decode(np.concatenate([shard.parameters for shard in pulled]))
