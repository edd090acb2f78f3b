"""Evaluation: the same games however they are played, none left out, and processes that die."""

import contextlib
import errno
import json
import math
import multiprocessing
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import psutil
import pytest
from conftest import ROOT, TIMEOUT_SECONDS, gone, python_m, running, wait_for
from networks import light_run, untrained

from async_rl import Config, UserError, evaluation, fork_server, load, storage
from async_rl.agent import Agent
from async_rl.evaluation import Evaluation, Protocol, make_protocol
from async_rl.match import Match, evaluate
from async_rl.players import Play, environment_config
from async_rl.published import PUBLISHED, human_normalised
from async_rl.traced import write_torchscript
from async_rl.types import Outcome
from launch.evaluate import Options, _run, text

CARTPOLE = Config(env="CartPole-v1")
PONG = Config(env="pong", norm="layer")
SHORT = Protocol(episodes=6, epsilon=0.3, sticky=0.25, max_episode_frames=1200)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "launch.evaluate", *arguments]


def test_a_game_is_the_same_in_whatever_process_and_beside_whatever_games() -> None:
    saved = untrained(CARTPOLE)
    one, two, more = (
        evaluate(saved, Protocol(episodes=episodes, epsilon=0.5), workers)
        for episodes, workers in ((19, 1), (19, 3), (31, 2))
    )
    assert one.scores == two.scores == more.scores[:19]
    assert one.lengths == two.lengths and len(set(one.lengths)) > 5  # and games of many lengths
    assert one.scores == tuple(map(float, one.lengths))  # CartPole gives a point a step
    assert evaluate(saved, Protocol(episodes=19, epsilon=0.5, seed=1), 2).scores != one.scores


def test_a_player_that_is_killed_loses_no_game(tmp_path: Path) -> None:
    saved, said = untrained(Config(env="space_invaders")), list[str]()
    undisturbed = evaluate(saved, SHORT, 2)
    assert len(set(undisturbed.scores)) > 1 and undisturbed.atari
    match = Match(saved, SHORT, 2, tmp_path, said.append)
    try:
        wait_for(lambda: match.steps > 100, "some steps")
        psutil.Process(match.pids[0]).kill()
        wait_for(lambda: not match.watch(0.1), "the end of the games")
    finally:
        match.kill()
    assert match.failure is None and ["SIGKILL" in message for message in said] == [True]
    result = match.evaluation()
    assert (result.scores, result.lengths) == (undisturbed.scores, undisturbed.lengths)


def test_numbers_of_players_and_checkpoints_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    for workers in (0, -1):
        with pytest.raises(UserError, match=f"between 1 and 4096, got {workers}"):
            evaluate(untrained(CARTPOLE), Protocol(episodes=2), workers)
    light_run(CARTPOLE, tmp_path)
    with pytest.raises(UserError, match="checkpoint is latest or best, got 'previous'"):
        load(tmp_path, "previous")  # type: ignore[arg-type]


@pytest.mark.parametrize("closed", [">&-", "2>&-", "| true", "> /dev/full"])
def test_an_evaluation_is_written_whoever_listens(closed: str, tmp_path: Path) -> None:
    light_run(CARTPOLE, tmp_path)
    line = " ".join(["PYTHONUNBUFFERED=1", *command(str(tmp_path), "--episodes", "2", "--workers", "1")])
    done = subprocess.run(["bash", "-c", f"{line} {closed}"], cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert "Traceback" not in done.stderr and len(list((tmp_path / "evaluations").iterdir())) == 1


def test_players_that_die_again_and_again_or_fall_silent_are_a_clear_failure(tmp_path: Path) -> None:
    protocol = Protocol(episodes=2)
    match = Match(untrained(PONG), protocol, 1, tmp_path, lambda message: None)

    def kill_and_watch() -> bool:
        for pid in match.pids:
            psutil.Process(pid).kill()
        return not match.watch(0.1)

    wait_for(kill_and_watch, "giving up")
    assert "SIGKILL" in str(match.failure) and "3 times" in str(match.failure) and not match.pids
    silent = Match(untrained(Config(heartbeat_seconds=3)), protocol, 1, tmp_path, lambda message: None)
    wait_for(lambda: silent.steps > 0, "the first step")
    (player,) = map(psutil.Process, silent.pids)
    player.suspend()
    wait_for(lambda: not silent.watch(0.1), "giving up")
    assert "no step was taken for 3 s" in str(silent.failure) and not running(player)


@pytest.mark.parametrize("name", ["HangsInClose", "DiesInClose"])
def test_closing_may_hang_or_die(name: str) -> None:
    """With the last game of a process, and with others left; four processes in the same moment."""
    result = evaluate(untrained(Config(env=f"tests.misbehaving:{name}")), Protocol(episodes=8), workers=4)
    assert result.scores == (10.0,) * 8 and result.lengths == (10,) * 8


def test_an_environment_that_leaves_is_named_by_what_it_said() -> None:
    saved = untrained(Config(env="tests.misbehaving:LeavesInStep"))
    with pytest.raises(UserError, match="a game failed with SystemExit: door"):
        evaluate(saved, Protocol(episodes=2), workers=1)


def test_environments_that_are_slow_to_make_and_to_begin_are_no_silence() -> None:
    saved = untrained(Config(env="tests.misbehaving:SlowToBegin", heartbeat_seconds=5))
    assert evaluate(saved, Protocol(episodes=8), workers=1).scores == (10.0,) * 8


@pytest.mark.parametrize("failures", [2, 3])
def test_a_fork_server_that_dies_while_it_is_asked_for_a_player_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    start, left = BaseProcess.start, [EOFError(), ConnectionResetError(), EOFError()][:failures]

    def starting(process: BaseProcess) -> None:
        if left:
            raise left.pop()
        start(process)

    monkeypatch.setattr(BaseProcess, "start", starting)
    said = list[str]()
    match = Match(untrained(CARTPOLE), Protocol(episodes=2), 1, tmp_path, said.append)
    assert len(left) == failures - 1  # what may have no room now has a moment until the next try
    wait_for(lambda: not match.watch(0.1), "the end")
    assert len(said) == 2 and all("lost with the fork server" in message for message in said)
    assert (match.failure is None) == (failures == 2) and not match.pids


def test_want_of_processes_is_one_try_for_all_players(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare, calls = fork_server.prepare, list[float]()

    def preparing(config: Config, processes: int) -> None:
        calls.append(time.monotonic())
        if len(calls) <= 4:
            raise BlockingIOError
        prepare(config, processes)

    monkeypatch.setattr(fork_server, "prepare", preparing)
    match = Match(untrained(CARTPOLE), Protocol(episodes=4), 4, tmp_path, lambda message: None)
    wait_for(lambda: not match.watch(0.1), "the end")
    assert match.failure is None and calls[4] - calls[3] > 0.9


def test_ctrl_c_while_players_start_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = fork_server.signals_blocked

    @contextlib.contextmanager
    def strikes_afterwards() -> Iterator[None]:
        with blocked():
            yield
        if multiprocessing.active_children():
            raise KeyboardInterrupt

    monkeypatch.setattr(fork_server, "signals_blocked", strikes_afterwards)
    with pytest.raises(KeyboardInterrupt):
        Match(untrained(PONG), Protocol(episodes=4), 2, tmp_path, lambda message: None)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("scores", value) for value in ("[]", '["a"]', "[NaN]", "3", "[" * 100_000, "[1" + "0" * 400 + "]")],
        *[("lengths", value) for value in ("[]", '["a"]', "[1, 2]", "null")],
        *[("total_steps", value) for value in ('"x"', "null", "1.5")],
        *[("game", "[]"), ("seconds", '"x"'), ("seconds", "NaN")],
    ],
)
def test_a_damaged_file_is_no_evaluation(tmp_path: Path, name: str, value: str) -> None:
    path = tmp_path / "evaluation.json"
    evaluation.write(evaluate(untrained(CARTPOLE), Protocol(episodes=1), 1), path)
    assert evaluation.read(path).scores
    text = path.read_text(encoding="utf-8")
    damaged, found = re.subn(rf'"{name}": (\[[^]]*\]|[^,\n]*)', lambda _: f'"{name}": {value}', text)
    assert found == 1
    path.write_text(damaged, encoding="utf-8")
    with pytest.raises(UserError, match="is no evaluation of async_rl"):
        evaluation.read(path)


def test_an_environment_that_fails_is_told_in_one_sentence() -> None:
    saved = untrained(Config(env="tests.networks:failing"))
    with pytest.raises(UserError, match="the pole broke") as error:
        evaluate(saved, Protocol(episodes=3), 2)
    assert "\n" not in str(error.value)


def test_players_die_with_the_command(tmp_path: Path) -> None:
    light_run(PONG, tmp_path / "run")
    process = subprocess.Popen(command(str(tmp_path / "run"), "--workers", "2"), cwd=ROOT, stderr=subprocess.DEVNULL)
    launcher = psutil.Process(process.pid)
    family = wait_for(lambda: (found := launcher.children(recursive=True)) and len(found) >= 4 and found, "two players")
    process.send_signal(signal.SIGKILL)
    process.wait(TIMEOUT_SECONDS)
    wait_for(lambda: gone(family), "their end")


def test_the_command_prints_and_writes_the_figures_of_a_light_run(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    light_run(PONG, run_dir)
    short = ("--episodes", "4", "--max-episode-frames", "800", "--workers", "2")
    result = python_m("launch.evaluate", run_dir, *short)
    assert result.returncode == 0, result.stderr
    (path,) = (run_dir / "evaluations").iterdir()
    values = json.loads(path.read_text(encoding="utf-8"))
    assert values["mean"] == pytest.approx(statistics.fmean(values["scores"])) and len(values["scores"]) == 4
    assert values["human_normalised"] == pytest.approx((values["mean"] + 20.7) / 30)
    assert set(values["lengths"]) <= set(range(193, 201))  # 800 frames less 1 to 30 no-ops
    for word in ("mean score", "standard error", "median", "best", "steps per game", "1: human, 9.3",
                 "protocol: 4 whole", "epsilon 0.05", "1 to 30 no-ops", "no sticky actions", str(path)):  # fmt: skip
        assert word in result.stdout
    assert json.loads(json.dumps(evaluation.read(path).values())) == values


def test_figures_are_printed_even_where_they_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    light_run(CARTPOLE, tmp_path)
    (tmp_path / "scores.json").mkdir()
    with pytest.raises(UserError, match=r"cannot write .*/scores\.json: Is a directory"):
        _run(Options(run=tmp_path, episodes=2, output=tmp_path / "scores.json"))
    with pytest.raises(UserError, match=r"ends in \.json, got scores\.csv"):
        _run(Options(run=tmp_path, episodes=2, output=tmp_path / "scores.csv"))
    with pytest.raises(UserError, match=r"cannot write /proc/nowhere\.json"):
        _run(Options(run=tmp_path, episodes=2, output=Path("/proc/nowhere.json")))
    (tmp_path / "evaluations").touch()
    with pytest.raises(UserError, match=r"cannot write .*/evaluations/T.*: File exists"):
        _run(Options(run=tmp_path, episodes=2))
    assert "mean score" not in capsys.readouterr().out  # no game was played in vain
    monkeypatch.setattr(storage.os, "fsync", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(UserError, match=r"cannot write .*/late\.json: No space left on device"):
        _run(Options(run=tmp_path, episodes=2, output=tmp_path / "late.json"))
    assert "mean score" in capsys.readouterr().out


def test_bad_input_is_one_sentence(tmp_path: Path) -> None:
    saved = light_run(CARTPOLE, tmp_path / "run")
    light_run(Config(env="CartPole-v1", algorithm="a3c"), tmp_path / "a3c")
    (tmp_path / "empty").mkdir()
    (tmp_path / "torn.safetensors").write_bytes(saved.path.read_bytes()[:200])
    write_torchscript(saved, tmp_path / "agent.pt")
    description, arrays = storage.unseal(saved.path.read_bytes())
    for name, settings, others in (
        ("newer", {}, {"format": 9}),
        ("unknown", {"gumma": 0.9}, {}),
        ("other", {"env": "Acrobot-v1"}, {}),
        ("gone", {"env": "tests.nowhere:failing"}, {}),
    ):
        edited = description | {"config": description["config"] | settings} | others
        (tmp_path / f"{name}.safetensors").write_bytes(storage.seal(edited, arrays))
    for options, message in (
        ({"run": "nothing"}, "there is no run or checkpoint at"),
        ({"run": "empty"}, "has no checkpoints/latest.safetensors"),
        ({"run": "run", "checkpoint": "best"}, "has no checkpoints/best.safetensors"),
        ({"run": "torn.safetensors"}, "is not a whole checkpoint of"),
        ({"run": "agent.pt"}, "is an export for programs without async_rl; here a .safetensors is needed"),
        ({"run": "newer.safetensors"}, "has format 9, this version reads format 2"),
        ({"run": "unknown.safetensors"}, "unknown key 'gumma'"),
        ({"run": "other.safetensors"}, "was trained on CartPole-v1"),
        ({"run": "gone.safetensors"}, "names code to import, tests.nowhere:failing"),
        ({"run": "gone.safetensors", "trust_code": True}, "no module 'tests.nowhere'"),
        ({"run": "run", "workers": 0}, "--workers must be between 1"),
        ({"run": "run", "episodes": 0}, "--episodes must be between 1"),
        ({"run": "run", "epsilon": 1.5}, "--epsilon must be between 0 and 1"),
        ({"run": "a3c", "epsilon": 0.1}, "--epsilon has no meaning with a3c"),
    ):
        with pytest.raises(UserError, match=message) as error:
            _run(Options(**options | {"run": tmp_path / options["run"]}))  # type: ignore[arg-type]
        assert "\n" not in str(error.value)


def test_games_are_played_by_the_protocol_and_not_by_the_settings_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    saved = untrained(CARTPOLE)
    greedy, at_random, again = (evaluate(saved, Protocol(episodes=8, epsilon=e), 1).scores for e in (0.0, 1.0, 0.0))
    assert greedy == again != at_random
    trained = Config(env="pong", sticky=0.5, no_ops=7, max_episode_frames=999)
    for protocol in (Protocol(), Protocol(no_ops=3, sticky=0.25, max_episode_frames=800)):
        played = environment_config(trained, protocol)
        for name in ("no_ops", "sticky", "max_episode_frames"):
            assert getattr(played, name) == getattr(protocol, name)
    asked: list[Protocol] = []
    monkeypatch.setattr("async_rl.agent.evaluate", lambda saved, protocol, workers: asked.append(protocol))
    Agent(saved).evaluate(episodes=2, epsilon=0.1, no_ops=3, sticky=0.25, seed=9)
    assert asked == [Protocol(episodes=2, epsilon=0.1, no_ops=3, sticky=0.25, seed=9)]


def test_a3c_draws_its_actions_and_says_so() -> None:
    saved = untrained(Config(env="CartPole-v1", algorithm="a3c"))
    result = evaluate(saved, make_protocol(Config(algorithm="a3c"), episodes=5), 1)
    assert result.protocol.epsilon is None and "drawn from the policy" in text(result, "a3c")


def test_figures_by_hand() -> None:
    scores, protocol = (1.0, 2.0, 6.0), Protocol(episodes=3)
    result = Evaluation("pong", "x", 7, protocol, True, scores, (10, 20, 60), 1.0)
    assert (result.mean, result.median, result.best, result.mean_length_steps) == (3.0, 2.0, 6.0, 30.0)
    assert result.standard_error == pytest.approx(math.sqrt((4 + 1 + 9) / 2 / 3))
    alone = Evaluation("catch", "x", 7, Protocol(episodes=1), False, (1.0,), (9,), 1.0)
    assert math.isnan(alone.standard_error) and alone.values()["standard_error"] is None


def test_published_scores() -> None:
    assert human_normalised("pong", -20.7) == 0 and human_normalised("pong", 9.3) == pytest.approx(1)
    assert human_normalised("breakout", 1.7 + 30.1 / 2) == pytest.approx(0.5)
    assert human_normalised("catch", 1.0) is None
    from async_rl.envs.atari import game_names

    assert len(PUBLISHED) == 57 and set(PUBLISHED) <= set(game_names())
    assert all(published.human > published.random for published in PUBLISHED.values())


CARTPOLE = Config(env="CartPole-v1")


def test_figures_are_printed_by_their_names() -> None:
    result = Evaluation("pong", "x", 7, Protocol(episodes=3), True, (1.0, 2.0, 6.0), (10, 20, 66), 1.0)
    words = " ".join(text(result, "method").split())
    for expected in ("mean score 3.00 (standard error 1.53)", "median 2.00", "best 6.00", "steps per game 32",
                     "human-normalised 0.79"):  # fmt: skip
        assert expected in words


def test_games_are_played_by_the_protocol_of_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    light_run(Config(env="pong"), tmp_path)
    asked: list[Protocol] = []

    def note(saved: object, protocol: Protocol, *rest: object) -> Match:
        asked.append(protocol)
        raise InterruptedError

    monkeypatch.setattr("async_rl.match.evaluate", note)
    given = {"episodes": 3, "epsilon": 0.25, "no_ops": 4, "sticky": 0.5, "max_episode_frames": 600, "seed": 7}
    with pytest.raises(InterruptedError):
        _run(Options(run=tmp_path, **given))  # type: ignore[arg-type]
    assert asked == [Protocol(**given)]  # type: ignore[arg-type]


def test_the_best_checkpoint_is_played_where_it_is_asked_for(tmp_path: Path) -> None:
    latest = light_run(CARTPOLE, tmp_path)
    best = tmp_path / "checkpoints" / "best.safetensors"
    best.write_bytes(latest.path.read_bytes())
    assert Options(run=tmp_path, checkpoint="best").read_network().path == best
    assert Options(run=tmp_path).read_network().path == latest.path


def test_scores_are_the_games_own_points_and_not_clipped(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = Mock()
    environment.step.side_effect = [Outcome(7.0, 1.0, False), Outcome(-0.5, 0.0, False), Outcome(100.0, 0.0, True)]
    monkeypatch.setattr("async_rl.players.make_environment", lambda config, random: environment)
    table: Any = {"score": np.full(2, np.nan), "length": np.full(2, -1)}
    game = Play(1, Config(env="catch"), 0, np.zeros(1), table)
    assert [game.step(0) for _ in range(3)] == [False, False, True]
    assert table["score"][1] == 106.5 and table["length"].tolist() == [-1, 3]
