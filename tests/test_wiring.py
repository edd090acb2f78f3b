"""What a worker's parts are given, and what the worker does with them: what the equations alone cannot show."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import make_worker

from async_rl import seeding
from async_rl.algorithms import LossGradient
from async_rl.build import GAMES_RING, _experience, final_epsilons, make_parts, make_table, unread_games
from async_rl.config import Config
from async_rl.envs import describe
from async_rl.networks import make_network
from async_rl.passes import Passes, make_passes
from async_rl.shared import bind
from async_rl.types import EnvSpec
from async_rl.worker import Worker


@pytest.mark.parametrize(
    ("env", "precision", "more"),
    [
        (env, precision, more)
        for env, precision in (("catch", "float32"), ("pong", "float32"), ("pong", "bfloat16"))
        for more in ({}, {"double": True}, {"algorithm": "n-step-q"})
        if precision == "float32" or "double" not in more  # which action is best may hang on a rounding
    ],
    ids=str,
)
def test_what_comes_next_is_valued_by_the_target_as_it_is_since_its_last_refresh(
    env: str, precision: str, more: dict[str, Any]
) -> None:
    """Not by theta, nor by what layers still keep of an older theta^-: weights in blocks, rounded ones."""
    config = Config(env=env, workers=1, envs_per_worker=4, precision=precision, **more)  # type: ignore[arg-type]
    spec, noise = describe(config), np.random.default_rng(0)
    worker, table = make_worker(config)
    near = 1e-5 if precision == "float32" else 2e-2  # sums in another order may be rounded to another neighbour

    def passes_of(row: str) -> Passes:
        """Made anew, so nothing in them is old."""
        network, vector = make_network(config, spec).requires_grad_(False), table.tensor(row).clone()
        bind(network, vector)
        return make_passes(network, vector, torch.empty(0), getattr(torch, precision))

    for refreshes in (1, 2):
        for vector in (table["parameters"], table["target"]):
            vector += 0.02 * noise.standard_normal(vector.shape, dtype=np.float32)
        table["target_refreshes"][0] = refreshes
        worker._synchronise()
        worker._collect()
        segment, theta, target = worker._segment, passes_of("parameters"), passes_of("target")
        outputs = worker._parts.passes.kept(segment.observation)
        torch.testing.assert_close(outputs[0], theta(segment.observation[0]), rtol=near, atol=near)
        values, following = target(segment.next_observation[0]), segment.next_observation[0]
        best = (theta(following) if config.double else values).argmax(dim=-1, keepdim=True)
        expected = segment.reward[0] + segment.discount[0] * values.gather(1, best).squeeze(1)
        torch.testing.assert_close(worker._returns(segment, outputs)[0], expected, rtol=near, atol=near)
        worker._parts.passes.backward(torch.zeros_like(outputs))  # not _learn: it would mark rounded weights as written


@pytest.mark.parametrize("statistics", ["shared", "local"])
@pytest.mark.parametrize("optimizer", ["rmsprop", "momentum", "adam"])
def test_statistics_are_of_all_workers_or_of_each(optimizer: str, statistics: str) -> None:
    """Two workers after one another with the same gradient: the second step tells what its statistics have seen."""
    config = Config(env="catch", workers=2, optimizer=optimizer, statistics=statistics, rms_decay=0.8, rms_epsilon=0.03,  # type: ignore[arg-type]
                    momentum_decay=0.6, adam_epsilon=0.07)  # fmt: skip
    table, slope, lr, steps = make_table(config, describe(config)), 0.5, 0.01, []
    workers = [make_parts(config, index, 0, table) for index in range(2)]
    for index, parts in enumerate(workers):
        before = table["parameters"].copy()
        parts.gradient.fill_(slope)
        parts.optimizer.apply(lr)
        table["updates"][index] += 1
        steps.append(before - table["parameters"])
    mean = square = 0.0
    for number, step in enumerate(steps, 1):
        count = number if statistics == "shared" else 1
        mean, square = (mean, square) if statistics == "shared" else (0.0, 0.0)
        mean, square = 0.6 * mean + 0.4 * slope, 0.8 * square + 0.2 * slope**2
        unbiased = mean / (1 - 0.6**count), square / (1 - 0.8**count)
        expected = {
            "rmsprop": slope / math.sqrt(square + 0.03),
            "momentum": mean,
            "adam": unbiased[0] / (math.sqrt(unbiased[1]) + 0.07),
        }[optimizer]
        np.testing.assert_allclose(step, lr * expected, rtol=1e-3)


@pytest.mark.parametrize(("rewards", "expected"), [("clipped", 1.0), ("scaled", 1.0), ("raw", 7.0)])
def test_a_worker_learns_from_shaped_rewards_and_records_them_as_they_are(rewards: Any, expected: float) -> None:
    worker, table = make_worker(Config(env="catch", workers=1, rewards=rewards, t_max=9, envs_per_worker=2))
    for environment in worker._parts.streams.environments:
        step = environment.step
        environment.step = lambda action, seen, step=step: step(action, seen)._replace(reward=7.0)  # type: ignore[method-assign]
    worker._collect()
    worker._advance()
    assert (worker._segment.reward == expected).all()
    assert table["games"][0, :2, 2].tolist() == [63.0] * 2


def test_exploration_and_learning_rate_go_by_the_steps_of_all_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(env="catch", workers=2, envs_per_worker=4, t_max=1, steps=1000, lr=0.5, epsilon_anneal_steps=400,
                    final_epsilons=(0.0, 0.2, 0.5, 0.9), final_epsilon_probabilities=(0.25,) * 4)  # fmt: skip
    table = make_table(config, describe(config))
    table["steps"][1] = 200  # of the other worker
    worker = Worker(config, 0, table, make_parts(config, 0, 0, table))
    choose, explored, rates = worker._choose, list[np.ndarray](), list[float]()
    monkeypatch.setattr(
        worker, "_choose", lambda outputs, explore: choose(outputs, explored.append(explore) or explore)
    )
    monkeypatch.setattr(worker._parts.optimizer, "apply", rates.append)
    for _ in range(100):
        worker._collect()
        worker._learn()
        worker._advance()
    final, t = final_epsilons(config, 0), 200 + 4 * np.arange(100)
    assert len(set(final)) > 1
    np.testing.assert_allclose(rates, 0.5 * (1 - t / 1000))
    np.testing.assert_allclose(explored, 1 + (final - 1) * np.minimum(t / 400, 1)[:, None])
    games = table["games"][0, : table["games_written"][0]]
    assert len(games) == 4 * (100 // 9)
    ended = np.minimum((games[:, 0] - 4) / 400, 1)  # epsilon is of the step, T has it counted
    np.testing.assert_allclose(games[:, 4], 1 + (final[games[:, 1].astype(int)] - 1) * ended)


def test_no_two_workers_streams_or_incarnations_draw_the_same() -> None:
    config = Config(env="catch", workers=2, envs_per_worker=3)
    table, states = make_table(config, describe(config)), []
    for index, incarnation in ((0, 0), (1, 0), (0, 1)):
        parts = make_parts(config, index, incarnation, table)
        states += [seeding.state_of(each) for each in (*parts.emulator_generators, *parts.policy_generators)]
    assert len(set(states)) == 3 * 3 * 2


def test_every_stream_of_every_worker_draws_a_final_epsilon_of_its_own() -> None:
    many = tuple(np.linspace(0.01, 0.5, 100).tolist())
    config = Config(env="catch", workers=8, envs_per_worker=8, final_epsilons=many,
                    final_epsilon_probabilities=(0.01,) * 100)  # fmt: skip
    drawn = np.stack([final_epsilons(config, worker) for worker in range(8)])
    assert len(set(drawn[:, 0])) > 4 and len(set(drawn[0])) > 4 and len(set(drawn.flatten())) > 32
    table = make_table(config, describe(config))
    for incarnation in (0, 3):  # whoever takes over a slot explores as its predecessor did
        np.testing.assert_array_equal(make_parts(config, 5, incarnation, table).final_epsilons, drawn[5])


def test_what_was_learnt_from_is_drawn_by_its_new_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """(|error| + 1e-6)^0.6, Schaul et al. 2016."""
    worker, _ = make_worker(
        Config(env="catch", workers=1, replay=500, learning_starts=0, prioritized=True, t_max=1, envs_per_worker=8,
               batch_size=4)
    )  # fmt: skip
    learnt: list[LossGradient] = []
    monkeypatch.setattr(worker, "_apply", learnt.append)
    worker._collect()
    worker._learn()
    experience: Any = worker._parts.experience
    priorities = experience._replay._tree.values(experience._indices)
    np.testing.assert_allclose(priorities, (np.abs(learnt[0].errors.numpy()[0]) + 1e-6) ** 0.6, rtol=1e-5)
    assert len(set(priorities)) > 1


def test_workers_share_out_the_replay_memory_and_its_start() -> None:
    config = Config(env="catch", workers=4, envs_per_worker=2, replay=8000, learning_starts=400)
    spec = EnvSpec("vector", (4,), "float32", ("a", "b"))
    for prioritized in (False, True):
        experience: Any = _experience(replace(config, prioritized=prioritized), spec, np.random.default_rng(0))
        assert len(experience._replay._rings.ready) == 2000 and experience._learning_starts == 100


def test_refreshes_of_the_target_are_not_made_up_for_after_a_leap() -> None:
    config = Config(env="catch", workers=2, steps=10**9, t_max=1, envs_per_worker=8, target_interval=20)
    worker, table = make_worker(config)
    table["steps"][1] = 1000
    worker._advance()
    assert table["target_refreshes"][0] == 1008 // 20


def test_means_over_the_steps_of_each_update_are_on_record(monkeypatch: pytest.MonkeyPatch) -> None:
    worker, table = make_worker(Config(env="catch", workers=1, t_max=3, envs_per_worker=4))
    apply, learnt, norms = worker._apply, list[LossGradient](), list[float]()
    monkeypatch.setattr(worker, "_apply", lambda learning: apply(learnt.append(learning) or learning))
    for _ in range(2):
        worker._collect()
        worker._learn()
        norms.append(float(worker._parts.gradient.norm()))
    squares, values = (sum(float((x.errors**2).mean()) for x in learnt), sum(x.value for x in learnt) / 12)
    np.testing.assert_allclose(table["sums"][0], [squares, values, sum(norms)], rtol=1e-4)


@pytest.mark.parametrize(("unread", "written_meanwhile"), [(7, 0), (GAMES_RING - 9, 12), (GAMES_RING + 50, 3)])
def test_games_that_are_overwritten_while_they_are_read_are_not_taken(unread: int, written_meanwhile: int) -> None:
    """Else one would be counted twice, and the one in whose place it stands not at all."""
    ring, count = np.full((GAMES_RING, 5), np.nan), np.zeros(1, np.int64)

    def write(numbers: range) -> None:
        for number in numbers:
            ring[number % GAMES_RING] = number
            count[0] = number + 1

    class Overwritten(np.ndarray):
        """A ring into which more is written in the moment in which it is read."""

        def __getitem__(self, at: Any) -> Any:
            write(range(100 + unread, 100 + unread + written_meanwhile))
            return ring[at]

    write(range(100 + unread))
    table: Any = {"games": [ring.view(Overwritten)], "games_written": count}
    games, following = unread_games(table, 0, read=100)
    assert following == 100 + unread
    first_whole = 100 + unread + written_meanwhile - GAMES_RING + 1
    assert games[:, 0].tolist() == list(range(max(100, first_whole), following))
