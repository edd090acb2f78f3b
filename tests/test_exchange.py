"""The maths of the exchange between islands, without Ray: rules, numbers on the wire, pushes that count once."""

import contextlib
import math
import random
import struct
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from conftest import wait_for
from hypothesis import given
from hypothesis import strategies as st

from async_rl import UserError
from async_rl.cluster.common import Common, Copy, Pulled
from async_rl.cluster.exchange import DivergedError, Exchange, Push, ReplacedError, UnavailableError
from async_rl.cluster.rules import RULES
from async_rl.cluster.settings import ClusterSettings
from async_rl.cluster.wire import PIECE_BYTES, WireType, decode, encode, pieces, shards, whole
from async_rl.shared import Row, SharedTable

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
SMALL = st.lists(st.tuples(*[st.floats(-100, 100, width=32)] * 3), min_size=1, max_size=8)


def vectors(columns: list[tuple[float, ...]]) -> list[np.ndarray]:
    return [np.array(column, dtype=np.float32) for column in zip(*columns, strict=True)]


@given(SMALL, st.integers(1, 50))
def test_rules_are_those_of_the_papers(columns: list[tuple[float, ...]], islands: int) -> None:
    """Scalar restatements: of each element, what is pushed, and where island and common parameters are afterwards."""
    own, view, common = vectors(columns)
    for x, v, c, n in zip(own, view, common, range(len(own)), strict=True):
        x, v, c = float(x), float(v), float(c)
        pull = 0.9 / islands * (x - c)
        expected = {  # (common afterwards, island afterwards)
            "downpour": (c + (x - v), c + (x - v)),
            "averaging": (c + (x - v) / islands, c + (x - v) / islands),
            "elastic": (c + pull, x - pull),
        }
        for name, (common_after, own_after) in expected.items():
            rule = RULES[name]
            known = view if rule.follows else common
            change = rule.change(own, known, islands)
            moved = 0.0 if rule.rest is None else rule.rest(own, known, change)[n]
            if rule.follows:  # the island knows the common parameters, as the change has made them
                moved += (common + change - (known + change))[n]
            assert c + change[n] == pytest.approx(common_after, abs=1e-3)
            assert x + moved == pytest.approx(own_after, abs=1e-3)


@given(st.lists(FLOATS, min_size=1, max_size=20))
def test_bfloat16_is_the_nearest_number_of_eight_bits(values: list[float]) -> None:
    sent = decode(encode(np.array(values, dtype=np.float32), "bfloat16"))
    for value, arrived in zip(values, sent, strict=True):
        assert struct.unpack("<I", struct.pack("<f", float(arrived)))[0] & 0xFFFF == 0
        if abs(value) > 1e-37 and math.isfinite(arrived):
            assert abs(float(arrived) - value) <= abs(value) * 2.0**-8
    again = decode(encode(sent, "bfloat16"))
    np.testing.assert_array_equal(sent, again)


def test_what_is_not_finite_stays_so_on_the_wire() -> None:
    odd = np.array([np.nan, np.inf, -np.inf, 1.0], dtype=np.float32)
    odd.view(np.uint32)[0] = 0x7F800001  # a NaN whose upper half alone would be infinity
    sent = decode(encode(odd, "bfloat16"))
    assert np.isnan(sent[0]) and sent[1] == np.inf and sent[2] == -np.inf and sent[3] == 1


@given(st.integers(0, 1000), st.integers(1, 40))
def test_shards_cover_a_vector_once(size: int, count: int) -> None:
    numbers = [n for part in shards(size, count) for n in range(size)[part]]
    assert numbers == list(range(size))


@pytest.mark.parametrize("size", [0, 1, 677_686, 1_000_000])
@pytest.mark.parametrize("wire", ["float32", "bfloat16"])
def test_a_vector_in_pieces_is_whole_again(size: int, wire: WireType) -> None:
    vector = np.arange(size, dtype=np.float32)
    sent = pieces(encode(vector, wire))
    assert all(piece.nbytes <= PIECE_BYTES for piece in sent)
    np.testing.assert_array_equal(whole(sent), decode(encode(vector, wire)))


class Unreliable:
    """Shards whose answers are lost at random, before or after they have done their work, and that die at random."""

    def __init__(self, first: np.ndarray, workers: int, islands: int, count: int, island: int, random: random.Random):
        steps = np.zeros(workers, dtype=np.int64)
        self.parts = shards(len(first), count)
        self.copies = [Copy(first[part].copy(), steps, ((0, 0),) * islands) for part in self.parts]
        self.shards = [Common(copy) for copy in self.copies]
        self.island, self.random, self.loss, self.wire = island, random, 0.3, "float32"
        self.workers = workers // islands
        self.before: Callable[[], None] = lambda: None

    def pull(self) -> list[Pulled]:
        self._fail()
        return [shard.pull(self.island, self.wire) for shard in self.shards]  # type: ignore[arg-type]

    def push(self, parts: list[tuple[int, Push]]) -> list[Pulled]:
        own = slice(self.island * self.workers, (self.island + 1) * self.workers)
        answers = []
        for number, push in parts:
            self._fail()
            for _ in range(self.random.choice([1, 1, 2])):  # the network may repeat it
                change = pieces(push.change)
                answer = self.shards[number].push(self.island, push.key, change, own, push.steps, self.wire)  # type: ignore[arg-type]
            self._fail()
            answers.append(answer)
        return answers

    def copy_one(self) -> None:
        number = self.random.randrange(len(self.shards))
        self.copies[number] = self.shards[number].copy(self.copies[number].keys)

    def lose_one(self) -> None:
        number = self.random.randrange(len(self.shards))
        self.shards[number] = Common(self.copies[number])

    def whole(self) -> np.ndarray:
        return np.concatenate([shard.copy().parameters for shard in self.shards])

    def _fail(self) -> None:
        if self.random.random() < self.loss:
            raise UnavailableError


def island(
    store: Unreliable, rule: str = "downpour", incarnation: int = 1, **more: object
) -> tuple[Exchange, SharedTable]:
    size, workers = sum(part.stop - part.start for part in store.parts), len(store.copies[0].steps)
    rows = [("parameters", (size,), "float32"), ("steps", (workers,), "int64"), ("exchange", (workers, 4), "float64")]
    table = SharedTable([Row(name, shape, dtype, "", "") for name, shape, dtype in rows])
    table["steps"].fill(0)
    table["exchange"].fill(0)
    settings = ClusterSettings(islands=2, rule=rule, shards=len(store.parts), **more)  # type: ignore[arg-type]
    own = slice(store.island * store.workers, (store.island + 1) * store.workers)
    return Exchange(settings, table, own, incarnation, store, 10**9), table


@given(st.integers(0, 10**6), st.integers(1, 4), st.sampled_from(["float32", "bfloat16"]))
def test_nothing_is_lost_whatever_dies_and_whatever_is_repeated(seed: int, count: int, wire: str) -> None:
    """Downpour: in the end the common parameters are the first ones and all that the island's workers have added."""
    chance = random.Random(seed)
    first = np.arange(7, dtype=np.float32)
    store = Unreliable(first, workers=2, islands=2, count=count, island=0, random=chance)
    store.wire = wire
    exchange, table = island(store, wire=wire)
    store.loss = 0.0
    exchange.start()
    np.testing.assert_array_equal(table["parameters"], first)
    store.loss = chance.choice([0.0, 0.3])
    added = 0
    for _ in range(30):
        table["parameters"][:] += 1.0  # a worker's update
        table["steps"][0] += 5
        added += 1
        chance.choice([store.copy_one, store.lose_one, lambda: None])()
        try:
            exchange.once()
        except UnavailableError:
            continue
    store.loss = 0.0
    exchange.once()
    exchange.once()
    tolerance = 0 if wire == "float32" else 0.5
    np.testing.assert_allclose(store.whole(), first + added, atol=tolerance)
    assert [shard.copy().steps.tolist() for shard in store.shards] == [[150, 0]] * count


def test_an_island_waits_rather_than_keep_pushes_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("async_rl.cluster.exchange.MOST_PENDING_BYTES", 64 * 3 * 4)
    store = Unreliable(np.zeros(3, dtype=np.float32), 2, 2, 1, 0, random.Random(0))
    store.loss = 0.0
    exchange, table = island(store)
    exchange.start()
    assert all(exchange.once() for _ in range(64))
    table["parameters"][:] += 1
    assert not exchange.once() and not store.whole().any()
    store.copy_one()
    store.copy_one()  # the first one has arrived now
    assert not exchange.once()  # hears of it
    assert exchange.once()
    np.testing.assert_array_equal(store.whole(), 1)


def test_a_replaced_incarnation_ends_and_changes_nothing() -> None:
    store = Unreliable(np.zeros(3, dtype=np.float32), 2, 2, 1, 0, random.Random(0))
    store.loss = 0.0
    (old, table), (new, _) = island(store), island(store, incarnation=2)
    old.start()
    new.start()
    new.once()
    table["parameters"][:] += 1
    table["steps"][0] = 2000
    with pytest.raises(ReplacedError):
        old.run(threading.Event())
    np.testing.assert_array_equal(store.whole(), 0)


def test_an_island_exchanges_every_so_many_steps() -> None:
    store = Unreliable(np.zeros(3, dtype=np.float32), 2, 2, 1, 0, random.Random(0))
    store.loss = 0.0
    exchange, table = island(store, exchange_interval=100)
    exchange.start()
    ended = threading.Event()
    thread = threading.Thread(target=exchange.run, args=(ended,))
    thread.start()
    try:
        for number in range(1, 6):
            table["steps"][0] += 99  # not yet
            time.sleep(0.01)
            assert table["exchange"][0, 0] == number - 1
            table["steps"][0] += 1
            wait_for(lambda number=number: table["exchange"][0, 0] == number, "an exchange")
    finally:
        ended.set()
        thread.join()


def test_a_change_that_is_not_finite_harms_nobody() -> None:
    common = Common(Copy(np.zeros(2, dtype=np.float32), np.zeros(2, dtype=np.int64), ((0, 0), (0, 0))))
    bad = np.array([1.0, np.nan], dtype=np.float32)
    after = common.push(0, (1, 1), [bad], slice(0, 1), np.array([40]), "float32")
    assert after.key == (1, 1) and after.steps.tolist() == [40, 0]
    np.testing.assert_array_equal(common.copy().parameters, 0)


@pytest.mark.parametrize("rule", RULES)
def test_an_island_that_has_diverged_sends_nothing_and_ends(rule: str) -> None:
    store = Unreliable(np.ones(3, dtype=np.float32), 2, 2, 1, 0, random.Random(0))
    store.loss = 0.0
    exchange, table = island(store, rule)
    exchange.start()
    table["parameters"][1] = np.inf
    table["steps"][0] = 2000
    with pytest.raises(DivergedError):
        exchange.run(threading.Event())
    np.testing.assert_array_equal(store.whole(), 1)


def test_steps_never_go_back() -> None:
    """A new incarnation knows its steps as of the driver's last look, which the holder may be ahead of."""
    common = Common(Copy(np.zeros(1, dtype=np.float32), np.zeros(1, dtype=np.int64), ((0, 0),)))
    for key, steps in (((1, 1), 40), ((2, 1), 30)):
        common.push(0, key, [np.ones(1, dtype=np.float32)], slice(0, 1), np.array([steps]), "float32")
    assert common.copy().steps.tolist() == [40] and common.copy().parameters.tolist() == [2]


@pytest.mark.parametrize("rule", RULES)
def test_two_islands_see_each_others_steps_and_staleness(rule: str) -> None:
    store = Unreliable(np.zeros(3, dtype=np.float32), 2, 2, 1, 0, random.Random(0))
    store.loss = 0.0
    exchange, table = island(store, rule)
    exchange.start()
    table["steps"][0] = 100
    exchange.once()
    store.shards[0].push(1, (1, 1), [np.ones(3, dtype=np.float32)], slice(1, 2), np.array([70]), "float32")
    table["steps"][0] = 200
    exchange.once()
    assert table["steps"].tolist() == [200, 70] and table.total_steps() == 270
    exchanges, sent, _, staleness = table["exchange"][0]
    # elastic asks before it cuts off its change, which so knows of the others' steps; and 1 stands 0.45 away then
    vectors, unknown, parameters = (3, 0, 0.45) if rule == "elastic" else (2, 70, 1)
    assert (exchanges, sent, staleness) == (2, 2 * vectors * 3 * 4, unknown)
    np.testing.assert_allclose(table["parameters"], parameters)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("harm", ["push lost", "holder filled from an old copy"])
def test_what_is_still_on_its_way_is_not_sent_twice(rule: str, harm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the end island and common parameters are where they are if nothing happens."""

    def refuse(parts: list[tuple[int, Push]]) -> list[Pulled]:
        raise UnavailableError

    def play(harm: str) -> tuple[list[float], list[float]]:
        store = Unreliable(np.zeros(4, dtype=np.float32), 2, 2, count=2, island=0, random=random.Random(0))
        store.loss = 0.0
        exchange, table = island(store, rule)
        exchange.start()
        table["parameters"].fill(1)
        for number in range(3):
            if harm.startswith("holder") and number == 2:
                store.lose_one()
            with monkeypatch.context() as patch, contextlib.suppress(UnavailableError):
                if harm == "push lost" and number == 1:
                    patch.setattr(store, "push", refuse)
                exchange.once()
        exchange.once()
        return table["parameters"].tolist(), store.whole().tolist()

    np.testing.assert_allclose(play(harm), play("none"), atol=1e-6)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"islands": 0}, "--islands must be between 1 and 4,096, got 0"),
        ({"exchange_interval": 0}, "--exchange-interval must be"),
        ({"shards": 0}, "--shards must be"),
        ({"rule": "magic"}, "--rule must be one of downpour, elastic, averaging"),
        ({"cpus_per_island": -1.0}, "--cpus-per-island must be between 0 and 4096, got -1.0"),
    ],
)
def test_settings_out_of_range(values: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ClusterSettings(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize("rule", RULES)
def test_two_islands_exchange_by_their_rule(rule: str) -> None:
    """Restated for one number: each island in turn, after its workers have moved it."""
    stores = [Unreliable(np.zeros(3, dtype=np.float32), 2, 2, 1, index, random.Random(0)) for index in range(2)]
    stores[1].shards = stores[0].shards
    islands = []
    for store in stores:
        store.loss = 0.0
        islands.append(island(store, rule))
        islands[-1][0].start()
    common, theta, view = 0.0, [0.0, 0.0], [0.0, 0.0]
    for turn, move in enumerate((1.0, 4.0, -2.0, 3.0, 0.5)):
        n = turn % 2
        exchange, table = islands[n]
        table["parameters"][:] += np.float32(move)
        table["steps"][n] += 10
        exchange.once()
        theta[n] += move
        if rule == "elastic":
            part = 0.9 / 2 * (theta[n] - common)
            common, theta[n] = common + part, theta[n] - part
        else:
            common += (theta[n] - view[n]) / (2 if rule == "averaging" else 1)
            theta[n] = view[n] = common
        np.testing.assert_allclose(stores[0].whole(), common, rtol=1e-5)
        np.testing.assert_allclose(table["parameters"], theta[n], rtol=1e-5)
        assert table["steps"].tolist() == [10 * (turn // 2 + 1), 10 * ((turn + 1) // 2)]


def test_at_the_goal_an_island_tells_the_others_at_once() -> None:
    """The sooner they all know, the fewer steps come after it."""
    store = Unreliable(np.zeros(3, dtype=np.float32), 2, 2, 1, 0, random.Random(0))
    store.loss = 0.0
    exchange, table = island(store, exchange_interval=1000)
    exchange._steps_goal = 500
    exchange.start()
    assert not exchange._due()
    table["steps"][0] = 499
    assert not exchange._due()
    table["steps"][1] = 1  # of the other island, as of the last exchange
    assert exchange._due()
    exchange.once()
    assert not exchange._due()  # nothing is new
