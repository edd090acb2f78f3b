"""The driver's copy of the common parameters: what a holder that died is filled with, and what is saved."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import ray
from ray.exceptions import RayError

from async_rl.cluster.common import Copy
from async_rl.cluster.wire import shards

COPY_SECONDS = 0.5
"""Between two copies. Islands keep their pushes until one has them; what is saved is as old."""

_FINISH_SECONDS = 20.0


class _Shard:
    """One shard: its actor, the last copy of it, and the call that is under way."""

    def __init__(self, actor: Any, copy: Copy):
        self.actor, self.copy = actor, copy
        self.call: Any = None
        self.filling = False
        self.lost = False
        self.due = 0.0


class Keeper:
    """Copies every shard now and then, and fills those that are empty.

    Args:
        holders: one actor for each shard.
        first: what they are filled with.
        say: takes a line about each that dies.
    """

    def __init__(self, holders: list[Any], first: Copy, say: Callable[[str], None]):
        self.parameters = first.parameters.copy()
        """theta [P] as of the last copies."""
        self._say = say
        self._parts = shards(len(first.parameters), len(holders))
        self._shards = [
            _Shard(holder, Copy(first.parameters[part].copy(), first.steps, first.keys))
            for holder, part in zip(holders, self._parts, strict=True)
        ]

    @property
    def steps(self) -> np.ndarray:
        """Steps of each worker that are in ``parameters``, [workers]."""
        return np.minimum.reduce([shard.copy.steps for shard in self._shards])

    def fill(self) -> None:
        """Fill all of them, whatever they hold."""
        for shard in self._shards:
            self._fill(shard)

    def look(self) -> None:
        """Take copies that have arrived, and ask for those that are due; to be called often."""
        now = time.monotonic()
        for number, shard in enumerate(self._shards):
            if shard.call is not None and ray.wait([shard.call], timeout=0)[0]:
                self._take(number, shard)
            elif shard.call is None and now >= shard.due:
                shard.call = shard.actor.copy.remote(shard.copy.keys)

    def finish(self) -> None:
        """One more copy of each shard, after everybody has pushed for the last time."""
        wanted = set(range(len(self._shards)))
        deadline = time.monotonic() + _FINISH_SECONDS
        asked: set[int] = set()
        while wanted and time.monotonic() < deadline:
            for number in list(wanted):
                shard = self._shards[number]
                if shard.call is None:
                    shard.call = shard.actor.copy.remote(shard.copy.keys)
                    asked.add(number)
                elif ray.wait([shard.call], timeout=0.02)[0] and self._take(number, shard) and number in asked:
                    wanted.discard(number)

    def _fill(self, shard: _Shard) -> None:
        shard.call, shard.filling = shard.actor.fill.remote(shard.copy), True

    def _take(self, number: int, shard: _Shard) -> bool:
        """Take an answer; whether it was a copy."""
        call, filling = shard.call, shard.filling
        shard.call, shard.filling = None, False
        shard.due = time.monotonic() + COPY_SECONDS
        try:
            copy = ray.get(call)
        except RayError as error:
            if not shard.lost:
                self._say(f"the holder of the parameters was lost ({type(error).__name__}); islands go on meanwhile")
            shard.lost, shard.due = True, time.monotonic() + 0.2
            return False
        if filling:
            return False
        if copy is None:
            self._say("the holder of the parameters is back, and filled from the last copy")
            shard.lost = False
            self._fill(shard)
            return False
        shard.lost = False
        shard.copy = Copy(copy.parameters.copy(), copy.steps.copy(), copy.keys)
        np.copyto(self.parameters[self._parts[number]], copy.parameters)
        return True
