"""The holder of the common parameters as a Ray actor, and how an island reaches it.

Ray starts a holder that died again, on another machine if need be; it is empty then, says so, and the driver fills it
from its last copy.
"""

from collections.abc import Iterable
from typing import Any

import ray
from ray.exceptions import RayError

from async_rl.cluster.common import Common, Copy, Key, Pulled
from async_rl.cluster.exchange import Push, UnavailableError
from async_rl.cluster.wire import WireType, pieces

ANSWER_SECONDS = 20.0
"""Patience with a call to a holder; training goes on meanwhile."""


class Holder:
    """One shard; as long as it has not been filled, every answer is None."""

    def __init__(self) -> None:
        self._common: Common | None = None

    def fill(self, copy: Copy) -> None:
        """Begin, or begin again, with these."""
        self._common = Common(copy)

    def pull(self, island: int, wire: WireType) -> Pulled | None:
        """See `Common.pull`."""
        return None if self._common is None else self._common.pull(island, wire)

    def push(self, island: int, key: Key, change: Any, workers: slice, steps: Any, wire: WireType) -> Pulled | None:
        """See `Common.push`."""
        return None if self._common is None else self._common.push(island, key, change, workers, steps, wire)

    def copy(self, kept: tuple[Key, ...] | None) -> Copy | None:
        """See `Common.copy`."""
        return None if self._common is None else self._common.copy(kept)


class RemoteStore:
    """The `Store` of an island: the shards behind Ray's network."""

    def __init__(self, holders: list[Any], island: int, workers: slice, wire: WireType):
        self._holders, self._island, self._workers, self._wire = holders, island, workers, wire

    def pull(self) -> list[Pulled]:
        """See `Store.pull`."""
        return _answers(holder.pull.remote(self._island, self._wire) for holder in self._holders)

    def push(self, parts: list[tuple[int, Push]]) -> list[Pulled]:
        """See `Store.push`."""
        island, workers, wire = self._island, self._workers, self._wire
        return _answers(
            self._holders[shard].push.remote(island, push.key, pieces(push.change), workers, push.steps, wire)
            for shard, push in parts
        )


def _answers(calls: Iterable[Any]) -> list[Any]:
    try:
        answers = ray.get(list(calls), timeout=ANSWER_SECONDS)  # no room for what is sent also shows here
    except RayError as error:  # dead, being started again, cut off, or silent for too long
        raise UnavailableError from error
    if any(answer is None for answer in answers):
        raise UnavailableError
    return answers
