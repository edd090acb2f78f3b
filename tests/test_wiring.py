"""What a worker's parts are given, and what the worker does with them: what the equations alone cannot show."""

import math
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from conftest import make_worker

from async_rl import seeding
from async_rl.algorithms import LossGradient
from async_rl.build import GAMES_RING, _experience, final_epsilons, make_parts, make_table, unread_games
from async_rl.chain import Chain
from async_rl.config import Config
from async_rl.envs import describe
from async_rl.meter import Clock, Meter
from async_rl.networks import make_network
from async_rl.passes import Passes, make_passes
from async_rl.reporting import EpisodeStatistics
from async_rl.shared import bind
from async_rl.stopwatch import PHASES
from async_rl.types import EnvSpec
from async_rl.worker import Worker


@pytest.mark.parametrize("more", [{}, {"double": True}, {"algorithm": "one-step-sarsa"}, {"target": "none"}], ids=str)
def test_a_worker_learns_the_same_whether_screens_are_made_once_or_twice(
    more: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Games are cut after two steps, so every other time what is seen next is not what came of the last action."""

    def learnt() -> np.ndarray:
        """Parameters after twelve updates."""
        config = Config(env="pong", workers=1, envs_per_worker=2, max_episode_frames=12, no_ops=3, steps=24, **more)
        worker, table = make_worker(config)
        worker.run()
        assert table["updates"][0] == 12
        return table["parameters"].copy()

    once, act = learnt(), Chain.act
    monkeypatch.setattr(Chain, "act", lambda self, seen, step, steps, unseen: act(self, seen, step, steps))
    assert np.array_equal(once, learnt())


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


def test_a_worker_leaves_the_random_states_with_which_it_ends() -> None:
    """A checkpoint at the end has them, not those of up to a second before: a resume would draw the same again."""
    worker, table = make_worker(Config(env="catch", workers=1, steps=2000))
    worker.run()
    both = worker._parts.emulator_generators, worker._parts.policy_generators
    for column, generators in enumerate(both):
        states = [list(seeding.state_of(generator)) for generator in generators]
        assert table["random_states"][0, :, column].tolist() == states


def test_games_are_dated_by_the_steps_of_all_workers_as_they_are_when_they_are_told() -> None:
    """Not as they were before the segment: a checkpoint meanwhile would have a game whose steps it does not count."""
    config = Config(env="catch", workers=2, envs_per_worker=2, t_max=9)
    table = make_table(config, describe(config))
    worker = Worker(config, 0, table, make_parts(config, 0, 0, table))
    worker._collect()
    table["steps"][1] = 500  # of the other worker, meanwhile
    worker._advance()
    assert table["games"][0, :2, 0].tolist() == [518.0, 518.0]


def test_a_worker_that_was_started_again_counts_on_from_what_is_in_its_slot() -> None:
    config = Config(env="catch", workers=1)
    table = make_table(config, describe(config))
    table["phases"][0], table["odd_steps"][0] = 1000.0, 7  # of the incarnation before
    Worker(config, 0, table, make_parts(config, 0, 1, table))._advance()
    assert (table["phases"][0] >= 1000.0).all() and table["odd_steps"][0] == 7


@pytest.mark.parametrize("more", [{"replay": 200, "batch_size": 4}, {"epochs": 2, "batch_size": 4, "t_max": 4}])
def test_no_two_workers_or_incarnations_draw_the_same_batches(more: dict[str, Any]) -> None:
    config = Config(env="catch", workers=2, envs_per_worker=2, **more)
    table, states = make_table(config, describe(config)), []
    for index, incarnation in ((0, 0), (1, 0), (0, 1)):
        parts: Any = make_parts(config, index, incarnation, table)
        drawer = parts.minibatches if config.epochs > 1 else parts.experience._replay
        states.append(seeding.state_of(drawer._random))
    assert len(set(states)) == 3


def test_signs_of_life_are_shown_between_the_updates_of_epochs() -> None:
    worker, table = make_worker(Config(env="catch", workers=1, t_max=4, envs_per_worker=4, epochs=2, batch_size=8))
    worker._synchronise()
    worker._collect()
    table["heartbeat"][0] = 0.0
    worker._learn()
    assert table["heartbeat"][0] > 0


def test_norms_of_gradients_are_on_record_as_they_were_before_the_limit() -> None:
    """Else nobody could see by them what limit to choose."""
    worker, table = make_worker(Config(env="catch", workers=1, max_gradient_norm=1e-4))
    worker._collect()
    worker._learn()
    assert float(worker._parts.gradient.norm()) < 1.1e-4 < 0.01 < table["sums"][0, 2]


def test_a_report_measures_what_has_happened_since_the_one_before() -> None:
    config = Config(env="catch", workers=3, envs_per_worker=2, steps=1000, lr=0.5, epsilon_anneal_steps=500,
                    exploration="ladder")  # fmt: skip
    table, clock = make_table(config, describe(config)), Mock(Clock)
    clock.seconds.side_effect = [10.0, 30.0, 35.0]
    meter, reports = Meter(config, table, clock, frames_per_step=4), []
    for steps, updates, sums, phase, exchange in (
        (100, 10, (20.0, 30.0, 40.0), 5.0, (4, 800, 2.0, 12)),
        (150, 5, (5.0, 10.0, 15.0), 1.0, (2, 900, 1.0, 8)),
    ):
        table["steps"][0] += steps - 40
        table["steps"][2] += 40
        table["updates"][1] += updates
        table["sums"][1] += sums
        table["phases"][2] += phase
        table["exchange"][:2] += np.array(exchange) / 2  # of two islands
        reports.append(meter.read(EpisodeStatistics(), 3, 1))
    first, second = reports
    assert (first.total_steps, first.total_frames, first.seconds) == (100, 400, 30.0)
    assert (second.total_steps, second.total_frames, second.seconds, second.updates) == (250, 1000, 35.0, 15)
    assert (first.steps_per_second, first.frames_per_second) == (5.0, 20.0)
    assert (second.steps_per_second, second.frames_per_second) == (30.0, 120.0)
    assert (second.td_loss, second.q_value, second.gradient_norm) == (1.0, 2.0, 3.0)
    assert second.lr == pytest.approx(0.5 * 0.75)
    assert (second.epsilon_min, second.epsilon_max) == pytest.approx((0.5 + 0.5 * 0.4**8, 0.5 + 0.5 * 0.4))
    assert second.phases == pytest.approx(dict.fromkeys(PHASES, 1e6 / 150))
    assert (second.exchange_bytes_per_step, second.exchange_seconds, second.staleness_steps) == (6.0, 0.5, 4.0)
    assert second.exchange_share == pytest.approx(1.0 / (5.0 * 2))
    clock.seconds.side_effect = [35.0]
    nothing = meter.read(EpisodeStatistics(), 3, 1)
    assert math.isnan(nothing.td_loss) and math.isnan(nothing.steps_per_second) and nothing.phases == {}


def test_a_network_of_ones_own_acts_and_learns_in_its_training_mode() -> None:
    """As --network says."""
    worker, _ = make_worker(Config(env="CartPole-v1", workers=1, network="tests.networks:dropping"))
    observation = torch.ones(8, 4)
    passes = worker._parts.passes
    assert not torch.equal(passes(observation), passes(observation))
    assert not torch.equal(passes.forward(observation[None]), passes.forward(observation[None]))


def test_the_clock_of_a_resumed_run_goes_on() -> None:
    assert 1000.0 <= Clock(1000.0).seconds() < 1100.0
