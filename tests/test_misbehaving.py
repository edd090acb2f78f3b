"""Environments that break their word: a message that names them and what was expected, and a run that goes on."""

import os
import re
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Run, make_worker, rows, wait_for
from misbehaving import Own

from async_rl import Config, UserError, load, reporting, train
from async_rl.build import make_parts, make_table
from async_rl.checkpoint import read
from async_rl.envs import Streams, describe, make_environment
from async_rl.envs.checked import Checked, check_spec
from async_rl.health import Health
from async_rl.replay.memory import Replay
from async_rl.replay.samplers import Uniform
from async_rl.supervisor import Ending
from async_rl.types import Outcome
from async_rl.worker import Worker

pytestmark = pytest.mark.faults


def env(name: str) -> str:
    return f"tests.misbehaving:{name}"


def play(name: str, steps: int = 12) -> Streams:
    streams = Streams([make_environment(Config(env=env(name)), np.random.default_rng(0))])
    following = np.zeros((1, *streams.spec.observation_shape), streams.spec.observation_dtype)
    for _ in range(steps):
        streams.step(np.zeros(1, np.int64), following)
    return streams


FAULTS = {
    "WrongShape": "gave an observation of shape (1,) and type float32, expected (2,) and float32",
    "WrongDtype": "gave an observation of shape (8, 8, 3) and type float64, expected (8, 8, 3) and uint8",
    "Words": "type <U5, expected (2,) and float32, as its observation_space says",
    "UnknownState": "gave the state -1, expected one of Discrete(3)",
    "MoreActions": "has the action space Discrete(3) now, expected Discrete(2) as before",
    "FailsInReset": "raised RuntimeError: no level in reset()",
    "FailsInStep": "raised KeyError: 'door' in step(0)",
    "OldReset": "gave ndarray in reset(), expected 2: observation, info",
    "OldStep": "gave 4 values in step(), expected 5: observation, reward, terminated, truncated, info",
    "NoReward": "gave the reward None, expected a number",
    "Own": "own gave Outcome(reward=None, discount=1.0, over=False) in step(), expected an Outcome",
    "OwnWrongShape": "own raised ValueError: could not broadcast",
}


@pytest.mark.parametrize(("name", "message"), FAULTS.items(), ids=FAULTS.keys())
def test_a_fault_names_environment_and_what_was_expected(name: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        play(name)
    text = str(error.value)
    assert message in text and "\n" not in text and text.startswith((env(name), "own"))


def test_specs_that_no_network_can_be_made_for_are_refused_by_the_launcher() -> None:
    with pytest.raises(UserError, match=r"OwnBadSpec\(\) has the spec .* expected a name, a tuple of sizes above 0"):
        describe(Config(env=env("OwnBadSpec")))


@pytest.mark.parametrize(
    "changed",
    [
        {"observation_shape": ()},
        {"action_names": (0, 1)},
        {"action_names": ()},
        {"frames_per_step": np.int64(1)},
        {"stack": 0},
        {"stack": 3},  # of an axis of two
        {"observation_dtype": "float64"},
    ],
)
def test_specs_that_a_checkpoint_could_not_hold_are_refused(changed: dict[str, object]) -> None:
    check_spec(Own.spec, "own")
    with pytest.raises(UserError, match=r"own\(\) has the spec"):
        check_spec(replace(Own.spec, **changed), "own")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "cause"), [("NoActions", "AttributeError"), ("OddMeanings", "RuntimeError: no words")]
)
def test_an_environment_that_cannot_say_what_it_is_is_refused(name: str, cause: str) -> None:
    with pytest.raises(UserError, match=cause) as error:
        describe(Config(env=env(name)))
    assert str(error.value).startswith(env(name))


def test_streams_are_closed_at_the_end_whatever_that_raises(
    start: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOSED", str(tmp_path / "closed"))
    run = start("--env", env("FailsInClose"), "--workers", "2", "--envs-per-worker", "3", "--steps", "500")
    assert run.wait() == 0, run.text()
    described = 1
    assert len((tmp_path / "closed").read_text(encoding="utf-8")) == described + 2 * 3
    assert not list((run.run_dir / "errors").iterdir())


@pytest.mark.parametrize(
    ("name", "told"),
    [("LeavesInClose", ""), ("HangsInClose", ""), ("DiesInClose", r"worker 0 died \(SIGSEGV.*\), when all was done")],
)
def test_closing_may_leave_hang_or_die(tmp_path: Path, said: list[str], name: str, told: str) -> None:
    config = Config(env=env(name), workers=1, envs_per_worker=1, steps=500, heartbeat_seconds=60)
    assert train(config, tmp_path / "run", quiet=True).ending is Ending.FINISHED
    assert re.fullmatch(told, "\n".join(said))


def test_others_random_numbers_differ_between_workers_and_come_back_with_the_seed(tmp_path: Path) -> None:
    def scores(name: str, workers: int, seed: int) -> list[list[float]]:
        config = Config(env=env("GlobalRandom"), workers=workers, envs_per_worker=1, steps=500, seed=seed)
        games = rows(train(config, tmp_path / name, quiet=True).run_dir / "episodes.csv")
        return [[float(game["score"]) for game in games if game["worker"] == str(worker)] for worker in range(workers)]

    first, second = scores("two", 2, seed=0)
    assert min(len(first), len(second)) > 10 and len(set(first) & set(second)) < 5
    again, other = scores("again", 2, seed=0), scores("other", 1, seed=1)
    assert [one[:10] for one in again] == [first[:10], second[:10]] and other[0][:10] != first[:10]


def test_environments_that_differ_are_refused() -> None:
    config = Config(env=env("Unlike"), workers=1, envs_per_worker=2)
    spec = describe(config)
    assert len(spec.action_names) == 2
    with pytest.raises(UserError, match="has other observations or actions in this worker than it had in the launcher"):
        make_parts(config, 0, 0, make_table(config, spec))
    first = make_environment(Config(env=env("FailsInStep")), np.random.default_rng(0))
    with pytest.raises(UserError, match=r"3 actions in stream 1, expected .* and 2 actions as in stream 0"):
        Streams([first, make_environment(config, np.random.default_rng(0))])


@pytest.mark.parametrize(("name", "odd"), [("OddReward", [4]), ("OddObservation", [4, 5])])
def test_odd_numbers_make_their_steps_worth_nothing(name: str, odd: list[int]) -> None:
    streams = Streams([make_environment(Config(env=env(name)), np.random.default_rng(0))])
    following, rewards = np.zeros((1, *streams.spec.observation_shape), streams.spec.observation_dtype), []
    for _ in range(20):
        streams.step(np.zeros(1, np.int64), following)
        rewards.append(float(streams.reward[0]))
    worthless = [step for step, reward in enumerate(rewards, start=1) if np.isnan(reward)]
    assert worthless == [game + step for game in (0, 10) for step in odd]
    assert streams.odd_steps == 2 * len(odd)
    assert {reward for reward in rewards if not np.isnan(reward)} == {1.0}


@pytest.mark.parametrize("name", ["OddReward", "OddObservation"])
def test_a_worker_drops_and_counts_what_is_not_finite_and_learns_from_the_rest(name: str) -> None:
    config = Config(env=env(name), workers=1, envs_per_worker=2, steps=400)
    worker, table = make_worker(config)
    worker.run()
    per_game = 1 if name == "OddReward" else 2  # both streams play in step
    assert table["odd_steps"][0] == 2 * 20 * per_game
    assert table["dropped"][0] == 20 * per_game and table["updates"][0] == 200 - 20 * per_game
    assert np.isfinite(table["parameters"]).all()


def test_a_replay_memory_gives_out_no_step_that_is_not_finite() -> None:
    config = Config(env=env("OddObservation"), workers=1, envs_per_worker=2, t_max=25, replay=1000)
    table = make_table(config, describe(config))
    parts = make_parts(config, 0, 0, table)
    Worker(config, 0, table, parts)._collect()
    replay = Replay(parts.streams.spec, 200, 2, Uniform(), np.random.default_rng(0))
    assert replay.empty
    replay.add(parts.segment)
    batch = parts.experience._batch  # type: ignore[attr-defined]
    assert len(replay) == 2 * (25 - 3 * 2)  # two odd steps in each of three games
    for _ in range(20):
        replay.sample(batch, 0)
        for tensor in (batch.reward, batch.observation, batch.next_observation):
            assert tensor.isfinite().all()


def test_a_game_without_a_finite_score_counts_but_not_in_the_mean() -> None:
    statistics = reporting.EpisodeStatistics()
    for score in (1.0, float("nan"), 3.0):
        statistics._count(score, 10)
    assert (statistics.games, statistics.mean_score, statistics.best_score) == (3, 2.0, 3.0)
    assert statistics.games_averaged == 2


def test_the_mean_of_a_few_games_with_a_score_makes_no_network_the_best(tmp_path: Path) -> None:
    """120 games of ten steps in a single stream, of which 20 have a score."""
    config = Config(env=env("SeldomFinite"), workers=1, envs_per_worker=1, steps=1200)
    result = train(config, tmp_path / "run", quiet=True)
    assert result.mean_score == 10
    saved = read(tmp_path / "run")
    assert len(rows(tmp_path / "run" / "episodes.csv")) == 120 and saved.progress.best_score is None


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What runs say that are quiet otherwise."""
    lines: list[str] = []

    class Ear(reporting.Quiet):
        def say(self, message: str) -> None:
            lines.append(message)

    monkeypatch.setattr(reporting, "Quiet", Ear)
    return lines


def test_the_run_names_worker_and_environment_and_gives_up(tmp_path: Path, said: list[str]) -> None:
    config = Config(env=env("NoReward"), workers=2, steps=1000)
    assert train(config, tmp_path / "run", quiet=True).ending is Ending.FAILED
    message = f"{env('NoReward')} gave the reward None, expected a number"
    for worker in (0, 1):
        own = [line for line in said if line.startswith(f"worker {worker} failed ({message}; see ")]
        assert len(own) == 5 and "given up" in own[-1] and "started again" in own[0]
    files = sorted((tmp_path / "run" / "errors").iterdir())
    assert len(files) == 10 and "Traceback" in files[0].read_text(encoding="utf-8")


def test_environments_that_are_slow_to_make_and_to_begin_are_no_silence(tmp_path: Path, said: list[str]) -> None:
    config = Config(env=env("SlowToBegin"), workers=1, envs_per_worker=6, steps=1000, heartbeat_seconds=4)
    assert train(config, tmp_path / "run", quiet=True).ending is Ending.FINISHED
    assert not said


def test_streams_that_are_slow_together_are_no_silence(tmp_path: Path, said: list[str]) -> None:
    config = Config(env=env("SlowToStep"), workers=1, envs_per_worker=10, t_max=1, steps=10, heartbeat_seconds=4)
    assert train(config, tmp_path / "run", quiet=True).ending is Ending.FINISHED
    assert not said


def test_an_environment_may_start_processes(tmp_path: Path, said: list[str]) -> None:
    config = Config(env=env("StartsAProcess"), workers=1, steps=100)
    assert train(config, tmp_path / "run", quiet=True).ending is Ending.FINISHED
    assert not said


def test_no_learning_rate_is_blamed_for_numbers_of_the_environment(tmp_path: Path, said: list[str]) -> None:
    config = Config(env=env("NeverFinite"), workers=1, envs_per_worker=1, steps=10**6, report_seconds=0.1)
    assert train(config, tmp_path / "run", quiet=True).ending is Ending.FAILED
    assert "the environment has to be mended" in said[-1] and not any("learning rate" in line for line in said)


def test_an_endless_step_is_found_by_its_silence(tmp_path: Path, said: list[str]) -> None:
    config = Config(env=env("Endless"), workers=1, steps=1000, heartbeat_seconds=1)
    assert train(config, tmp_path / "run", quiet=True).ending is Ending.FAILED
    why = "whose step may never end, or need more --heartbeat-seconds"
    assert said[0] == f"worker 0 was silent for 1 s in {env('Endless')}, {why}; started again"


def test_odd_numbers_are_said_and_training_goes_on(tmp_path: Path, said: list[str]) -> None:
    config = Config(env=env("OddReward"), workers=1, envs_per_worker=1, steps=5000, report_seconds=0.1)
    assert train(config, tmp_path / "run", quiet=True).ending is Ending.FINISHED
    dropped, *more = [line for line in said if line.startswith("gradients that are not finite are dropped")]
    about = [line for line in said if f"steps of {env('OddReward')} so far" in line]
    assert dropped and not more and 1 <= len(about) <= 4
    last = rows(tmp_path / "run" / "metrics.csv")[-1]
    assert int(last["dropped_gradients"]) == 500 and int(last["updates"]) == 4500


@pytest.mark.usefixtures("survives_sigterm")
def test_a_leak_is_said(tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("async_rl.health._SPARE_BYTES", 0)
    monkeypatch.setattr("async_rl.health.GROWTH", 1.3)

    def stop_when_said() -> None:
        try:
            wait_for(lambda: any("grown" in line for line in said), "the report of the leak")
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    stopper = threading.Thread(target=stop_when_said)
    stopper.start()
    config = Config(env=env("Leak"), workers=1, steps=10**9, report_seconds=0.2)
    try:
        assert train(config, tmp_path / "run", quiet=True).ending is Ending.TERMINATED
    finally:
        stopper.join()
    line = next(line for line in said if "grown" in line)
    assert line.startswith("worker 0 has grown to ") and line.endswith(f"MiB: {env('Leak')} may leak memory")


def test_threads_that_never_end_are_not_waited_for(tmp_path: Path, said: list[str]) -> None:
    config = Config(env=env("HasAnEndlessThread"), workers=1, steps=500, heartbeat_seconds=5)
    assert train(config, tmp_path / "run", quiet=True).ending is Ending.FINISHED
    assert said == []  # such as that a worker was still busy
    assert load(tmp_path / "run", trust_code=True).evaluate(episodes=2).mean == 10


@pytest.mark.parametrize(("name", "rewards", "told"), [
    ("CliffWalking-v1", "clipped", True), ("CliffWalking-v1", "raw", False), ("CliffWalking-v1", "scaled", False),
    ("catch", "clipped", False), (env("Base"), "clipped", False), ("pong", "clipped", False),
])  # fmt: skip
def test_that_rewards_are_clipped_is_said_once_where_nobody_would_expect_it(
    tmp_path: Path, said: list[str], name: str, rewards: Any, told: bool
) -> None:
    """Falling off the cliff is -100."""
    config = Config(env=name, rewards=rewards, workers=1, steps=1600, report_seconds=0.1)
    table = make_table(config, describe(config))
    parts = make_parts(config, 0, 0, table)
    Worker(config, 0, table, parts).run()
    if name == "pong":
        table["largest_reward"].fill(7.0)
    health = Health(config, table, 50.0, said.append)
    for _ in range(2):
        health.look({})
    sentence = (
        "rewards of up to 100 are learnt from as on Atari, clipped to [-1, 1]; --rewards raw takes them as they are"
    )
    assert said == [sentence] * told


def test_growth_is_measured_from_the_first_looks_and_said_once_a_doubling(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(env="catch", workers=2)
    table = make_table(config, describe(config))
    said: list[str] = []
    health = Health(config, table, 50.0, said.append)
    size = {10: 100 << 20, 11: 100 << 20}
    monkeypatch.setattr("async_rl.health.private_bytes", size.get)
    for mib in (100, 300, 300, 800, 860, 900, 1700, 1800):
        size[11] = mib << 20
        health.look({0: 10, 1: 11})
    assert [line.split(":")[0] for line in said] == ["worker 1 has grown to 860 MiB", "worker 1 has grown to 1,800 MiB"]
    monkeypatch.setattr("async_rl.health.limits", lambda _: [(1000 << 20, 960 << 20)])
    for _ in range(3):
        health.look({0: 10, 1: 11})
    assert said[2:] == [
        "40 MiB are left of the 1,000 MiB of this container; the largest worker on catch, 1, has 1,800 MiB"
    ]
    health.look({0: 12, 1: 11})  # one that has just been started, and one that has just ended
    size.clear()
    health.look({0: 12, 1: 11})


def test_a_first_observation_that_is_not_finite_makes_the_first_step_worth_nothing() -> None:
    class OddAtFirst(Own):
        def reset(self, observation: np.ndarray) -> None:
            observation[:] = np.nan

        def step(self, action: int, observation: np.ndarray) -> Outcome:
            observation[:] = 0
            return Outcome(1.0, 1.0, False)

    environment, observation = Checked(OddAtFirst()), np.zeros(2, np.float32)
    environment.reset(observation)
    rewards = [environment.step(0, observation).reward for _ in range(3)]
    assert np.isnan(rewards[0]) and rewards[1:] == [1.0, 1.0] and environment.odd_steps == 1
