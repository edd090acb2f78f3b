"""Real processes, really killed."""

import contextlib
import errno
import itertools
import json
import os
import pty
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import psutil
import pytest
from conftest import ROOT, TIMEOUT_SECONDS, Run, command, gone, rows, wait_for

from async_rl import Config, checkpoint, fork_server, parent, processes, train
from async_rl.build import make_table
from async_rl.envs import describe
from async_rl.shared import SharedTable
from async_rl.signals import ONE_PRESS_SECONDS
from async_rl.supervisor import Ending

FOREVER = ("--env", "catch", "--steps", "1000000000")

Start = Callable[..., Run]


def shared_memory_of(processes: list[psutil.Process]) -> list[str]:
    """Files of shared memory that bear the number of one of the processes, as multiprocessing names them."""
    numbers = {str(process.pid) for process in processes}
    names = os.listdir("/dev/shm") if os.path.isdir("/dev/shm") else []
    return [name for name in names if numbers & set(name.split("-"))]


def test_one_worker_and_one_seed_give_the_same_bits_twice(tmp_path: Path) -> None:
    saved = []
    for name, seed in [("a", 3), ("b", 3), ("c", 4)]:
        config = Config(env="catch", workers=1, seed=seed, steps=4000, target_interval=500)
        result = train(config, tmp_path / name, quiet=True)
        assert result.ending is Ending.FINISHED
        saved.append(checkpoint.read(result.run_dir).arrays)
    first, again, other = saved
    for name, array in first.items():
        np.testing.assert_array_equal(array, again[name])
    assert not np.array_equal(first["parameters"], other["parameters"])


def test_workers_can_be_spawned_where_they_cannot_be_forked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "START_METHOD", "spawn")
    result = train(Config(env="catch", workers=2, steps=2000), str(tmp_path / "run"), quiet=True)
    assert result.ending is Ending.FINISHED and result.total_steps >= 2000


@pytest.mark.parametrize(("failures", "ending"), [(3, Ending.FINISHED), (1000, Ending.FAILED)])
def test_a_fork_server_that_dies_while_it_is_asked_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], failures: int, ending: Ending
) -> None:
    """Between its death and the moment at which the system tells of it."""
    start, left = BaseProcess.start, [EOFError("unexpected EOF"), ConnectionResetError()] * failures

    def starting(process: BaseProcess) -> None:
        if len(left) > failures:
            raise left.pop()
        start(process)

    monkeypatch.setattr(BaseProcess, "start", starting)
    result = train(Config(env="catch", workers=2, steps=2000), tmp_path / "run")
    assert result.ending is ending
    told = capsys.readouterr().out
    assert told.count("was lost with the fork server while it started; started again") == (3 if failures == 3 else 8)
    assert told.count("given up") == (0 if failures == 3 else 2)


def test_want_of_processes_ends_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare, calls = fork_server.prepare, list[float]()

    def preparing(config: Config) -> None:
        calls.append(time.monotonic())
        if len(calls) <= 1 + 2 * 2:  # the first is in advance
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        prepare(config)

    monkeypatch.setattr(fork_server, "prepare", preparing)
    result = train(Config(env="catch", workers=2, steps=2000), tmp_path / "run")
    assert result.ending is Ending.FINISHED and result.total_steps >= 2000
    told = capsys.readouterr().out
    assert told.count("could not be started (Resource temporarily unavailable); started again") == 2 * 2
    assert calls[3] - calls[2] > 0.9  # there may be room then


def test_a_fork_server_waits_for_room(monkeypatch: pytest.MonkeyPatch) -> None:
    full = [BlockingIOError(errno.EAGAIN, "full"), OSError(errno.ENOMEM, "full")]
    assert parent.patient(Mock(side_effect=[*full, 7]))() == 7
    with pytest.raises(PermissionError):
        parent.patient(Mock(side_effect=[PermissionError(errno.EPERM, "never"), 7]))()
    monkeypatch.setattr(parent, "FORK_SECONDS", 0.0)
    with pytest.raises(BlockingIOError):
        parent.patient(Mock(side_effect=itertools.repeat(full[0])))()
    assert said_after_preload("os.fork.__qualname__").startswith("patient")


def test_collections_are_held_off_until_a_fork_server_is_ready() -> None:
    full_collections = "gc.get_stats()[2]['collections']"
    said = said_after_preload(f"{full_collections}, gc.get_freeze_count() > 100_000, gc.isenabled()")
    assert said == "0 True True\n"


def said_after_preload(expression: str) -> str:
    code = f"import gc, os\nimport async_rl.preload\nprint({expression})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_SECONDS
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_the_fork_server_is_told_stays_in_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fork_server.forkserver, "ensure_running", Mock(side_effect=BlockingIOError))
    fork_server.prepare_ahead(Config(env="catch"))
    assert not {fork_server.PRELOAD_VARIABLE, fork_server.LAUNCHER_VARIABLE} & os.environ.keys()


def test_a_worker_whose_fork_server_is_gone_ends_at_once() -> None:
    code = "from async_rl import parent\nparent._fork_server = -1\nparent.worker_dies_with_parents()\nprint('alive')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=TIMEOUT_SECONDS)
    assert (done.returncode, done.stdout) == (1, b"")


def test_16_workers_lose_no_step_and_refresh_the_target_once_an_interval(start: Start) -> None:
    run = start("--env", "catch", "--workers", "16", "--envs-per-worker", "1", "--t-max", "5", "--seed", "1",
                "--steps", "53000", "--target-interval", "5000", "--lr-schedule", "constant",
                "--report-seconds", "0.2")  # fmt: skip
    assert run.wait() == 0, run.text()
    arrays = checkpoint.read(run.run_dir).arrays
    steps, updates = arrays["steps"], arrays["updates"]
    assert len(steps) == 16 and (steps > 0).all()
    np.testing.assert_array_equal(steps, updates * 5)
    assert 53_000 <= steps.sum() < 53_000 + 16 * 5
    counts = [(int(row["total_steps"]), int(row["target_refreshes"])) for row in rows(run.run_dir / "metrics.csv")]
    assert counts[-1] == (steps.sum(), 10)
    assert all(-1 <= total_steps // 5000 - refreshes <= 3 for total_steps, refreshes in counts)  # late by its turns
    games = rows(run.run_dir / "episodes.csv")
    assert all(game["length"] == "9" for game in games) and len({game["worker"] for game in games}) == 16
    for worker in range(16):  # 9 steps a game: all but the running one are in the log
        played = 9 * sum(game["worker"] == str(worker) for game in games)
        assert 0 <= steps[worker] - played < 9


def test_a_killed_worker_is_noticed_and_replaced(start: Start) -> None:
    """The other kinds of deaths, silence among them: see test_endurance."""
    run = start(*FOREVER, "--workers", "3")
    run.wait_for_steps(1000)
    victim = run.workers()[0]
    victim.kill()
    wait_for(lambda: "worker 0 died (SIGKILL" in run.text(), "the report of the death")
    run.wait_for_steps(run.steps() + 5000)
    assert len(run.workers()) == 3 and victim not in run.workers()
    run.signal(signal.SIGINT)
    assert run.wait() == 130
    last = rows(run.run_dir / "metrics.csv")[-1]
    assert last["workers_restarted"] == "1" and last["workers_alive"] == "0"


def test_a_killed_worker_fills_its_replay_memory_again_and_learns_on(start: Start) -> None:
    run = start(*FOREVER, "--workers", "1", "--replay", "1000")

    def last(name: str) -> int:
        return int(rows(run.run_dir / "metrics.csv")[-1][name])

    run.wait_for_steps(1000)
    run.workers()[0].kill()
    wait_for(lambda: last("workers_restarted") == 1, "the next incarnation")
    updates = last("updates")
    wait_for(lambda: last("updates") > updates + 100, "its updates")
    assert last("workers_restarted") == 1, run.text()


def test_the_refresher_is_replaced(start: Start) -> None:
    run = start(*FOREVER, "--workers", "2", "--target-interval", "2000")

    def refreshes() -> int:
        return int(rows(run.run_dir / "metrics.csv")[-1]["target_refreshes"])

    run.wait_for_steps(4000)
    for stopped in run.workers():  # one of them has the duty
        stopped.suspend()
        before = refreshes()
        wait_for(lambda before=before: refreshes() > before + 2, "refreshes by the one that is not stopped")  # type: ignore[misc]
        stopped.resume()
    for worker in run.workers():
        worker.kill()
        wait_for(lambda: len(run.workers()) == 2, "the next incarnation")
    before = refreshes()
    wait_for(lambda: refreshes() > before + 2, "refreshes of the target")


def two_workers_on_a_clock(
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[processes.WorkerProcesses, SharedTable, list[float]]:
    """Two workers that count as alive and have just been heard, and what time it is."""
    config, clock = Config(env="catch", workers=2), [100.0]
    table = make_table(config, describe(config))
    monkeypatch.setattr("async_rl.processes.time.monotonic", lambda: clock[0])
    workers = processes.WorkerProcesses(config, table, Path(), (), 0, print)
    monkeypatch.setattr(workers, "_alive", lambda: [(member, Mock()) for member in workers._members])
    for member in workers._members:
        member.heartbeat_at_start = table["heartbeat"][member.index] = clock[0]
    return workers, table, clock


@pytest.mark.parametrize("seconds", [0.01, 1.5, 30.0])
def test_the_target_is_refreshed_however_slow_the_steps_are_and_whoever_hangs(
    monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """Two workers take turns, a step in so many seconds, on a clock of the test; then the refresher stops."""
    workers, table, clock = two_workers_on_a_clock(monkeypatch)

    def refreshes(steps: int, hung: int | None = None) -> int:
        done = 0
        for step in range(steps):
            until = clock[0] + seconds / 2
            while clock[0] < until:
                clock[0] += min(0.1, seconds / 2)
                workers._appoint_refresher()
            if (worker := step % 2) != hung:
                done += int(table["refresher"][0]) == worker
                table["heartbeat"][worker] = clock[0]
        return done

    refreshes(20)
    assert refreshes(200) == 100
    hung = int(table["refresher"][0])
    refreshes(20 + int(30 / seconds), hung)
    assert refreshes(20, hung) == 10


def test_a_stall_of_all_workers_makes_nobody_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    workers, table, clock = two_workers_on_a_clock(monkeypatch)
    for member in workers._members:
        member.heartbeat_at_start = 0.0

    def refresher_after(seconds: float, *heard: int) -> int:
        for _ in range(round(10 * seconds)):
            clock[0] += 0.1
            table["heartbeat"][list(heard)] = clock[0]
            workers._appoint_refresher()
        return int(table["refresher"][0])

    assert refresher_after(40) == 0 and refresher_after(1, 0, 1) == 0
    assert refresher_after(1.9, 1) == 0 and refresher_after(0.3, 1) == 1


def test_who_is_to_be_started_again_when_all_is_done_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(env="catch", workers=1, steps=1000)
    table = make_table(config, describe(config))
    workers = processes.WorkerProcesses(config, table, tmp_path, (), 0, print)
    started = list[object]()
    monkeypatch.setattr(workers, "_start", started.append)
    (member,) = workers._members
    member.due, member.not_before = True, time.monotonic() + 1000
    workers.watch(0)
    assert workers.any_alive
    table["steps"][0] = 1000
    workers.watch(0)
    assert not workers.any_alive and not started


def test_many_workers_are_started_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between them the launcher reports, saves and sees to signals."""
    config = Config(env="catch", workers=300)
    table = make_table(config, describe(config))
    workers = processes.WorkerProcesses(config, table, tmp_path, (), 0, print)
    clock, started, waits = [0.0], list[int](), list[float]()

    def start(member: processes.Member) -> None:
        member.due = False
        started.append(member.index)
        clock[0] += 0.04

    monkeypatch.setattr(workers, "_start", start)
    monkeypatch.setattr(workers, "_ended", lambda seconds: waits.append(seconds) or [])
    monkeypatch.setattr(processes.time, "monotonic", lambda: clock[0])
    table["random_states"].fill(5)
    workers.start()
    for calls in range(1, 101):
        assert workers.any_alive
        workers.watch(0.1)
        assert len(started) == 3 * calls
    assert started == list(range(300)) and not workers.any_alive and set(waits) == {0}
    assert (table["random_states"] == 5).all()  # of a resumed run, which goes on with its chance


def test_a_run_is_stopped_while_its_workers_are_being_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started, start = list[int](), processes.WorkerProcesses._start

    def starting(workers: processes.WorkerProcesses, member: processes.Member) -> None:
        if not started:
            os.kill(os.getpid(), signal.SIGTERM)
        started.append(member.index)
        start(workers, member)
        time.sleep(0.2)

    monkeypatch.setattr(processes.WorkerProcesses, "_start", starting)
    result = train(Config(env="catch", workers=8, steps=10**9), tmp_path / "run", quiet=True)
    assert result.ending is Ending.TERMINATED and started == [0]


@pytest.fixture
def _no_nohup() -> Iterator[None]:
    """Runs inherit whether SIGHUP is ignored, as it is where nohup has started the tests."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("_no_nohup")
@pytest.mark.parametrize(
    ("number", "code", "ending"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "terminated"),
        (signal.SIGHUP, 129, "disconnected"),
    ],
)
def test_a_signal_saves_and_leaves_nothing_behind(start: Start, number: signal.Signals, code: int, ending: str) -> None:
    run = start(*FOREVER, "--workers", "4")
    run.wait_for_steps(1000)
    family = run.family()
    run.signal(number)
    assert run.wait() == code
    wait_for(lambda: gone(family), "the end of all processes")
    wait_for(lambda: not shared_memory_of([run.launcher, *family]), "the end of all shared memory")
    saved = checkpoint.read(run.run_dir)
    assert saved.progress.total_steps == run.steps() >= 1000
    assert f"{ending} at T = {run.steps():,}" in run.text() and f"--resume {run.run_dir}" in run.text()
    assert not list((run.run_dir / "errors").iterdir())


@pytest.mark.usefixtures("_no_nohup")
def test_the_end_of_the_terminal_saves(tmp_path: Path) -> None:
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(ROOT)
        os.execv(sys.executable, command(*FOREVER, "--report-seconds", "0.1", "--run-dir", str(tmp_path / "run")))
    report: dict[str, str] = {}
    try:
        while int(report.get("total_steps", 0)) < 1000:
            os.read(terminal, 100_000)  # or it would wait for its panel to be read
            report = [{}, *rows(tmp_path / "run" / "metrics.csv")][-1]
        os.close(terminal)
        wait_for(lambda: os.waitpid(process, os.WNOHANG)[0], "the end of the launcher")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process, signal.SIGKILL)
    steps = int(rows(tmp_path / "run" / "metrics.csv")[-1]["total_steps"])
    assert checkpoint.read(tmp_path / "run").progress.total_steps == steps >= 1000


def test_nohup_goes_on(start: Start) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    run = start(*FOREVER, "--workers", "1")
    signal.signal(signal.SIGHUP, before)
    run.wait_for_steps(1000)
    os.killpg(run.process.pid, signal.SIGHUP)
    run.wait_for_steps(run.steps() + 10_000)
    assert len(run.workers()) == 1 and "died" not in run.text()


@pytest.mark.parametrize("seconds", [0.2, 0.6, 1.0, 1.5, 2.5])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_start_ends_everything_without_a_traceback(
    start: Start, seconds: float, number: signal.Signals
) -> None:
    """Both reach the whole process group, at whatever is going on: imports, the fork server, the first workers."""
    run = start(*FOREVER, "--workers", "4")
    time.sleep(seconds)
    family = run.family()
    os.killpg(run.process.pid, number)
    assert run.wait() in (128 + number, -number)  # the latter before Python has read the first line
    wait_for(lambda: gone(family), "the end of all processes")
    assert "Traceback" not in run.text() and "KeyboardInterrupt" not in run.text()


def test_a_second_signal_stops_at_once(start: Start) -> None:
    run = start(*FOREVER, "--workers", "2")
    run.wait_for_steps(1000)
    family = run.family()
    for worker in run.workers():
        worker.suspend()  # so that the polite stop would take its whole patience
    run.signal(signal.SIGINT)
    wait_for(lambda: "stopping" in run.text(), "the answer to the first Ctrl-C")
    time.sleep(ONE_PRESS_SECONDS)
    run.signal(signal.SIGINT)
    assert run.wait() == 130
    wait_for(lambda: gone(family), "the end of all processes")
    assert not (run.run_dir / checkpoint.LATEST).exists()


def test_workers_die_with_a_killed_launcher(start: Start) -> None:
    run = start(*FOREVER, "--workers", "4")
    run.wait_for_steps(1000)
    family = run.family()
    assert len(run.workers()) == 4
    run.process.kill()
    run.wait()
    wait_for(lambda: gone(family), "the end of all processes")
    wait_for(lambda: not shared_memory_of([run.launcher, *family]), "the end of all shared memory")


def test_what_a_killed_launcher_leaves_in_the_temporary_directory_is_removed_by_the_next(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory() as folder:  # not tmp_path, whose name is too long for sockets
        monkeypatch.setenv("TMPDIR", folder)
        killed = start(*FOREVER, "--workers", "1", name="killed")
        killed.wait_for_steps(1)
        killed.process.kill()
        killed.wait()
        (left,) = os.listdir(folder)
        other = start(*FOREVER, "--workers", "1", name="other")
        other.wait_for_steps(1)
        (of_other,) = os.listdir(folder)
        assert of_other != left
        assert start("--env", "catch", "--steps", "500", "--workers", "1", name="third").wait() == 0
        assert os.listdir(folder) == [of_other]  # which is at work
        other.signal(signal.SIGINT)
        assert other.wait() == 130 and os.listdir(folder) == []


def test_resume_goes_on_with_the_same_bits_and_logs_nothing_twice(start: Start) -> None:
    run = start(*FOREVER, "--workers", "2")
    run.wait_for_steps(3000)
    run.signal(signal.SIGINT)
    run.wait()
    first, games = checkpoint.read(run.run_dir), rows(run.run_dir / "episodes.csv")
    steps = first.progress.total_steps

    again = start(
        "--resume", str(run.run_dir), "--steps", str(steps), name="again"
    )  # nothing left to train, which is no session
    assert again.wait() == 0, again.text()
    second = checkpoint.read(run.run_dir)
    for name in ("parameters", "target", "mean_square", "random_states"):
        np.testing.assert_array_equal(first.arrays[name], second.arrays[name])
    assert second.progress.total_steps == steps and second.progress.seconds >= first.progress.seconds
    assert rows(run.run_dir / "episodes.csv") == games

    further = start("--resume", str(run.run_dir), "--steps", str(steps + 5000), name="further")
    assert further.wait() == 0, further.text()
    last = checkpoint.read(run.run_dir).progress
    assert last.total_steps >= steps + 5000 and last.seconds > first.progress.seconds
    later = rows(run.run_dir / "episodes.csv")
    assert later[: len(games)] == games and len(later) > len(games)
    logged = [int(row["total_steps"]) for row in rows(run.run_dir / "metrics.csv")]
    assert logged == sorted(logged)
    sessions = json.loads((run.run_dir / "run.json").read_text(encoding="utf-8"))["sessions"]
    assert [session["command"].count("--resume") for session in sessions] == [0, 1]
    assert sessions[0]["command"].startswith("python -m launch.async")


def test_resume_after_a_kill_goes_back_to_the_last_checkpoint(start: Start) -> None:
    run = start(*FOREVER, "--workers", "2", "--checkpoint-seconds", "1")
    latest = run.run_dir / checkpoint.LATEST
    wait_for(lambda: latest.exists() and checkpoint.read(latest).progress.total_steps > 0, "a checkpoint with steps")
    run.wait_for_steps(checkpoint.read(run.run_dir).progress.total_steps + 1000)
    run.process.kill()
    run.wait()
    steps = checkpoint.read(run.run_dir).progress.total_steps
    again = start("--resume", str(run.run_dir), "--steps", str(steps), name="again")
    assert again.wait() == 0, again.text()
    kept = [int(row["total_steps"]) for row in rows(run.run_dir / "episodes.csv")]
    discarded = [int(row["total_steps"]) for row in rows(run.run_dir / "episodes.discarded.csv")]
    assert max(kept) <= steps < min(discarded)


def test_a_run_can_be_resumed_with_other_workers(start: Start) -> None:
    run = start("--env", "catch", "--workers", "3", "--steps", "3000")
    assert run.wait() == 0, run.text()
    steps = checkpoint.read(run.run_dir).progress.total_steps
    more = ("--workers", "1", "--envs-per-worker", "2", "--steps", str(steps + 1000))
    again = start("--resume", str(run.run_dir), *more, name="again")
    assert again.wait() == 0, again.text()
    assert steps + 1000 <= checkpoint.read(run.run_dir).progress.total_steps < steps + 1020


def test_what_former_sessions_have_learnt_is_no_fruit_of_a_worker_that_fails_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a resumed run whose environment is broken would start it again for ever."""
    config, said = Config(env="catch", workers=1), list[str]()
    table = make_table(config, describe(config))
    table["updates"][0] = 10**6
    workers = processes.WorkerProcesses(config, table, tmp_path, (7,), 3, said.append)
    assert (workers.incarnations, workers.restarted) == ((7,), 3)
    monkeypatch.setattr(fork_server, "prepare", lambda config: None)
    monkeypatch.setattr(fork_server, "start", Mock(side_effect=EOFError))
    (member,) = workers._members
    for _ in range(processes.FRUITLESS_STARTS):
        assert not said or "given up" not in said[-1]
        workers._start(member)
    assert "given up" in said[-1] and not workers.any_alive
    assert (workers.incarnations, workers.restarted) == ((11,), 7)


def test_only_starts_in_vain_that_follow_each_other_count(tmp_path: Path) -> None:
    config, said = Config(env="catch", workers=1), list[str]()
    table = make_table(config, describe(config))
    workers = processes.WorkerProcesses(config, table, tmp_path, (), 0, said.append)
    (member,) = workers._members
    for fruits in (0, 0, 0, 0, 10, 0, 0, 0, 0):
        member.gradients_at_start = workers._gradients(member)
        table["updates"][0] += fruits
        workers._let_go(member, "died")
    assert not any("given up" in line for line in said) and member.due
