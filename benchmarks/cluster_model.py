"""A discrete-event model of islands and holders: throughput, staleness and load of up to a thousand islands.

What is assumed, all of it measurable on small clusters: an island steps at a constant speed and exchanges every so
many steps, in the background, one exchange at a time; an exchange costs its own machine some processor time, moves
the vector once each way in a single call and costs every shard some processor time for it and for each byte. An
island's own link and each shard's, one each way, carry one message after the other at the network's speed, each
message after a latency. Staleness is counted as the program does: steps of others that arrived at the holder between
two answers to an island.
"""

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np


@dataclass(frozen=True)
class Costs:
    """Of one cluster.

    Attributes:
        steps_per_second: of an island that exchanges nothing.
        interval: steps between two exchanges of an island.
        vector_bytes: of the parameters as they travel.
        island_seconds: processor time of an island for one exchange, beside its workers.
        holder_seconds_per_byte: processor time of a shard for each byte that it takes or gives.
        holder_seconds: the same for each call.
        latency_seconds: of a message on its way.
        gigabits: speed of each link, per second.
    """

    steps_per_second: float
    interval: int
    vector_bytes: float
    island_seconds: float
    holder_seconds_per_byte: float
    holder_seconds: float
    latency_seconds: float
    gigabits: float


@dataclass(frozen=True)
class Outcome:
    """What comes of it; means over the second half of the time."""

    steps_per_second: float  # of all islands
    staleness_steps: float
    exchange_seconds: float
    exchanges_per_second: float
    holder_load: float  # fraction of the time that the busiest resource of a shard is busy


class _Resource:
    """Serves one request after the other."""

    def __init__(self) -> None:
        self.free = self.busy = 0.0

    def serve(self, now: float, seconds: float) -> float:
        """When a request of that length is done that comes now."""
        self.free = max(self.free, now) + seconds
        self.busy += seconds
        return self.free


class Model:
    """One simulation of ``islands`` islands and ``shards`` shards; see `simulate`."""

    def __init__(self, costs: Costs, islands: int, shards: int):
        self._costs, self._islands, self._shards = costs, islands, shards
        self._in, self._out, self._processor = ([_Resource() for _ in range(shards)] for _ in range(3))
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._number = 0
        self._arrived_steps = 0.0
        self.samples: list[tuple[float, float, float]] = []  # time, staleness, seconds of the exchange

    def run(self, seconds: float, random: np.random.Generator) -> Outcome:
        """Let that much time pass."""
        costs = self._costs
        period = costs.interval / costs.steps_per_second
        for first in random.uniform(0, period, self._islands):
            self._at(float(first), self._exchange(0.0, 0.0))
        while self._events and self._events[0][0] < seconds:
            now, _, event = heapq.heappop(self._events)
            event(now)
        late = [sample for sample in self.samples if sample[0] > seconds / 2] or [(seconds, math.nan, math.nan)]
        rate = len(late) / (seconds / 2)
        cost = rate / self._islands * costs.island_seconds
        busiest = max(resource.busy for group in (self._in, self._out, self._processor) for resource in group)
        return Outcome(
            steps_per_second=self._islands * costs.steps_per_second * max(0.0, 1 - cost),
            staleness_steps=float(np.mean([sample[1] for sample in late])),
            exchange_seconds=float(np.mean([sample[2] for sample in late])),
            exchanges_per_second=rate,
            holder_load=min(1.0, busiest / seconds),
        )

    def _at(self, time: float, event: Callable[[float], None]) -> None:
        self._number += 1
        heapq.heappush(self._events, (time, self._number, event))

    def _exchange(self, arrived_before: float, exchanged_at: float) -> Callable[[float], None]:
        """A change goes to every shard, the parameters come back; the next exchange begins an interval after this one
        began, or as soon as this one is over.

        ``arrived_before``: steps that the holder knew when it answered last; ``exchanged_at``: when the island's own
        steps were counted last.
        """
        costs = self._costs
        part = costs.vector_bytes / self._shards
        wire = 8 * part / (1e9 * costs.gigabits)
        processor = costs.holder_seconds + 2 * part * costs.holder_seconds_per_byte

        def cut(start: float) -> None:
            """What an exchange that begins at ``start`` sends is ready after the island's own work."""
            self._at(start + costs.island_seconds, partial(send, start))

        def send(start: float, now: float) -> None:
            """Its parts go over the wire, and each shard works on its own."""
            leaves = now + self._shards * wire
            taken = [self._in[n].serve(now + costs.latency_seconds, wire) for n in range(self._shards)]
            done = [self._processor[n].serve(max(taken[n], leaves), processor) for n in range(self._shards)]
            self._at(max(done), partial(answer, start))

        def answer(start: float, now: float) -> None:
            """The shards send back what they hold; the island begins its next exchange when that is due."""
            staleness = self._arrived_steps - arrived_before
            self._arrived_steps += (start - exchanged_at) * costs.steps_per_second
            sent = [self._out[n].serve(now, wire) for n in range(self._shards)]
            received = max(max(sent), now + self._shards * wire) + costs.latency_seconds
            self.samples.append((received, staleness, received - start))
            due = start + costs.interval / costs.steps_per_second
            self._at(max(received, due), self._exchange(self._arrived_steps, start))

        return cut


def simulate(costs: Costs, islands: int, shards: int) -> Outcome:
    """Of enough exchanges for steady means: a dozen for each island, however busy the shards are."""
    part = costs.vector_bytes / shards
    served = max(8 * part / (1e9 * costs.gigabits), costs.holder_seconds + 2 * part * costs.holder_seconds_per_byte)
    period = max(costs.interval / costs.steps_per_second, islands * served)
    return Model(costs, islands, shards).run(12 * period, np.random.default_rng(0))


def shards_needed(costs: Costs, islands: int, most_load: float = 0.7) -> int | None:
    """The fewest shards, powers of two, of which none is busy for more than that part of the time.

    None: no number of them is enough, as every shard gets a call from every island; the interval has to be longer.
    """
    calls = islands * costs.steps_per_second / costs.interval
    if calls * costs.holder_seconds >= most_load:
        return None
    shards = 1
    while simulate(costs, islands, shards).holder_load > most_load:
        if shards >= 256:
            return None
        shards *= 2
    return shards
