"""The shared table, and the random numbers that pass through it."""

import multiprocessing
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from conftest import make_worker

from async_rl import seeding
from async_rl.build import make_parts, table_rows
from async_rl.config import Config
from async_rl.shared import Row, SharedTable
from async_rl.shared.table import _require_shared_memory
from async_rl.types import UserError
from async_rl.worker import Worker

ROWS = [
    Row("parameters", (5,), "float32", "all", ""),
    Row("steps", (3,), "int64", "own worker", ""),
    Row("seconds", (2, 2), "float64", "own worker", ""),
    Row("states", (1,), "uint64", "own worker", ""),
]


def test_memory_that_was_never_written_shows() -> None:
    table = SharedTable(ROWS)
    assert np.isnan(table["parameters"]).all() and np.isnan(table["seconds"]).all()
    assert (table["steps"] == -1).all() and table["states"][0] == 2**64 - 1


def test_rows_do_not_overlap_and_tensors_are_the_same_memory() -> None:
    table = SharedTable(ROWS)
    for number, row in enumerate(ROWS):
        assert table[row.name].shape == row.shape and table[row.name].dtype == row.dtype
        table[row.name].fill(number)
    for number, row in enumerate(ROWS):
        assert (table[row.name] == number).all()
    table.tensor("parameters").add_(1)
    assert table["parameters"].tolist() == [1.0] * 5
    table["steps"][:] = (1, 2, 4)
    assert table.total_steps() == 7


def _write(table: SharedTable) -> None:
    table["steps"][1] = os.getpid()


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_children_write_into_the_same_memory(method: str) -> None:
    table = SharedTable(ROWS)
    child = multiprocessing.get_context(method).Process(target=_write, args=(table,))  # type: ignore[attr-defined]
    child.start()
    child.join(60)
    assert table["steps"].tolist() == [-1, child.pid, -1]


def test_a_table_is_handed_over_only_while_a_process_is_started() -> None:
    with pytest.raises((RuntimeError, pickle.PicklingError)):
        pickle.dumps(SharedTable(ROWS))


def test_too_little_shared_memory_is_said_before_it_is_touched(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"needs .* MiB of shared memory.*--shm-size"):
        _require_shared_memory(2**62, str(tmp_path))
    _require_shared_memory(2**62, str(tmp_path / "not_there"))


def test_the_defaults_with_16_workers_fit_into_64_mib_of_shared_memory() -> None:
    rows = table_rows(Config(workers=16), parameters=700_000)
    assert sum(row.size_bytes for row in rows) < 60 * 2**20


def test_every_row_says_who_writes_it() -> None:
    for row in table_rows(Config(), parameters=1):
        assert row.writer and row.meaning


def test_generator_states_survive_as_numbers() -> None:
    generator = np.random.Generator(np.random.PCG64(3))
    generator.integers(10, size=3, dtype=np.uint32)  # leaves half a word behind
    numbers = np.array(seeding.state_of(generator), np.uint64)
    expected = (generator.random(5).tolist(), generator.integers(1000, size=5).tolist())
    other = np.random.Generator(np.random.PCG64(4))
    seeding.restore(other, numbers)
    assert (other.random(5).tolist(), other.integers(1000, size=5).tolist()) == expected


def test_every_stream_has_random_numbers_of_its_own() -> None:
    drawn = []
    for worker, incarnation, first_step in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 500)]:
        for generators in seeding.stream_generators(7, worker, incarnation, first_step, 3):
            drawn += [generator.random() for generator in generators]
    assert len(set(drawn)) == 4 * 2 * 3
    first, again = (seeding.stream_generators(7, 2, 1, 0, 2)[0][1].random() for _ in range(2))
    assert first == again


def worker_on_catch(**settings: object) -> tuple[Worker, SharedTable]:
    return make_worker(Config(env="catch", workers=1, **settings))  # type: ignore[arg-type]


def test_a_new_worker_goes_on_with_the_random_states_in_the_table() -> None:
    worker, table = worker_on_catch(steps=64)
    worker.run()
    parts = make_parts(Config(env="catch", workers=1), 0, 5, table)
    assert [list(seeding.state_of(g)) for g in parts.policy_generators] == table["random_states"][0, :, 1].tolist()


def test_a_gradient_that_is_not_finite_is_dropped_and_counted() -> None:
    worker, table = worker_on_catch(steps=10**9, envs_per_worker=8)
    worker._collect()
    worker._segment.reward[0, 0] = float("nan")
    before = table["parameters"].copy()
    worker._learn()
    assert table["dropped"].tolist() == [1] and table["updates"].tolist() == [0]
    np.testing.assert_array_equal(table["parameters"], before)
    worker._collect()
    worker._learn()
    assert table["updates"].tolist() == [1] and not np.array_equal(table["parameters"], before)


def test_the_segment_holds_what_happened_in_order() -> None:
    """Catch lasts 9 steps: discounts, clipped rewards, and observations that follow each other."""
    worker, _ = worker_on_catch(steps=10**9, envs_per_worker=3, t_max=9)
    worker._collect()
    segment = worker._segment
    for e in range(3):
        assert segment.discount[:, e].tolist() == pytest.approx([0.99] * 8 + [0.0])
        assert segment.reward[:8, e].tolist() == [0.0] * 8 and abs(segment.reward[8, e]) == 1
        for t in range(8):
            assert (segment.next_observation[t, e] == segment.observation[t + 1, e]).all()
        for t in range(9):
            ball_row = int(segment.observation[t, e, :9, :, 0].amax(dim=1).argmax())
            assert ball_row == t


def test_target_refreshes_happen_at_multiples_of_the_interval_and_only_by_the_refresher() -> None:
    worker, table = worker_on_catch(steps=10**9, t_max=1, envs_per_worker=8, target_interval=20)
    refreshed_at = []
    for _ in range(20):
        before = int(table["target_refreshes"][0])
        worker._collect()
        worker._learn()
        theta = table["parameters"].copy()
        worker._advance()
        np.testing.assert_array_equal(table["parameters"], theta)
        if table["target_refreshes"][0] > before:
            refreshed_at.append(table.total_steps())
            np.testing.assert_array_equal(table["target"], table["parameters"])
        else:
            assert not np.array_equal(table["target"], table["parameters"])
    assert refreshed_at == [24, 40, 64, 80, 104, 120, 144, 160]
    table["refresher"][0] = 3
    for _ in range(10):
        worker._advance()
    assert table["target_refreshes"][0] == 8
