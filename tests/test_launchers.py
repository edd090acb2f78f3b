"""Programs that train, in whatever state: stopped and continued, short of files, in threads, as forked children."""

import errno
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from unittest.mock import Mock

import psutil
import pytest
from conftest import ROOT, TIMEOUT_SECONDS, Run, gone, mounted, running, wait_for
from networks import untrained

from async_rl import Config, checkpoint, fork_server, machine_memory, train
from async_rl.build import make_table
from async_rl.envs import describe
from async_rl.evaluation import Protocol
from async_rl.evaluations import Evaluations
from async_rl.listening import DEAF_SECONDS, Listening
from async_rl.lock import locked
from async_rl.match import Match
from async_rl.processes import WorkerProcesses
from async_rl.reporting import csv_log
from async_rl.signals import Signals, StopAtOnceError
from async_rl.supervisor import Ending, Supervisor

FOREVER = ("--env", "catch", "--steps", "1000000000")

Start = Callable[..., Run]


def program(tmp_path: Path, text: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a script that trains, in a process of its own."""
    script = tmp_path / "script.py"
    script.write_text(text, encoding="utf-8")
    return subprocess.run(
        [*command, sys.executable, str(script), str(tmp_path)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )


def fork_server_of(run: Run) -> psutil.Process:
    (server,) = {worker.ppid() for worker in run.workers()}
    return psutil.Process(server)


# --- Stopped


def test_a_stopped_fork_server_goes_on(start: Start) -> None:
    """As after Ctrl-Z, if only the launcher is continued."""
    run = start(*FOREVER, "--workers", "2")
    run.wait_for_steps(1000)
    victim, server = run.workers()[0], fork_server_of(run)
    server.suspend()
    victim.kill()
    wait_for(lambda: "died (SIGKILL" in run.text(), "the report of the death")
    wait_for(lambda: len(run.workers()) == 2, "the next incarnation")
    family = run.family()
    server.suspend()
    run.signal(signal.SIGINT)
    assert run.wait() == 130
    wait_for(lambda: gone(family), "the end of all processes")


def test_a_stopped_fork_server_does_not_make_workers_late(tmp_path: Path) -> None:
    config = Config(env="catch", workers=2, steps=10**9)
    table, said = make_table(config, describe(config)), list[str]()
    workers = WorkerProcesses(config, table, tmp_path / "errors", (), 0, said.append)
    try:
        workers.start()
        wait_for(lambda: workers.watch(0.1) or workers.stepping == 2, "the first steps")
        psutil.Process(psutil.Process(workers.pids[0]).ppid()).suspend()
        workers.stop()
        assert not said and not workers.any_alive
    finally:
        workers.kill()


def test_who_cannot_be_ended_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that hangs in the kernel; here one that pays no attention."""
    monkeypatch.setattr(fork_server, "GONE_SECONDS", 0.2)
    context = multiprocessing.get_context(fork_server.START_METHOD)
    lasting = context.Process(target=signal.pause)  # type: ignore[attr-defined]
    lasting.start()
    end = lasting.kill
    monkeypatch.setattr(lasting, "kill", lambda: None)
    try:
        assert fork_server.kill([lasting]) == [] and lasting not in multiprocessing.active_children()
    finally:
        end()
    assert fork_server.join(lasting) == -signal.SIGKILL


def test_an_exit_code_is_known_whoever_has_asked_for_it_before() -> None:
    """As multiprocessing does whenever it starts another process."""
    context = multiprocessing.get_context(fork_server.START_METHOD)
    process = context.Process(target=os._exit, args=(7,))  # type: ignore[attr-defined]
    process.start()
    wait_for(lambda: process not in multiprocessing.active_children(), "its end")
    assert fork_server.join(process) == 7


def test_a_process_whose_start_is_interrupted_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread than the one that blocks the signals can have caught it."""
    begin = BaseProcess.start

    def start_and_be_interrupted(process: BaseProcess) -> None:
        begin(process)
        raise StopAtOnceError

    monkeypatch.setattr(BaseProcess, "start", start_and_be_interrupted)
    process = multiprocessing.get_context(fork_server.START_METHOD).Process(target=signal.pause)  # type: ignore[attr-defined]
    with pytest.raises(StopAtOnceError):
        fork_server.start(process)
    assert fork_server.join(process) == -signal.SIGKILL


def test_silence_counts_only_while_somebody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    listening = Listening()
    for now[0] in (101.0, 101.0 + DEAF_SECONDS):
        assert listening.listen() == now[0] and listening.since == 100.0
    now[0] += DEAF_SECONDS + 0.1
    assert listening.listen() == now[0] == listening.since


def test_ctrl_z_is_no_silence_of_players(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(Match, "_start", lambda match, games: None)
    match = Match(untrained(Config(env="catch", heartbeat_seconds=20)), Protocol(episodes=2), 1, tmp_path, print)
    match._processes[Mock()] = (0, 1)
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    match._listening, match._changed = Listening(), now[0]
    for now[0] in (104.0, 1000.0, 1004.0, 1008.0, 1012.0, 1016.0, 1020.0):
        match._end_silent()
        assert match.failure is None
    now[0] = 1024.0
    match._end_silent()
    assert match.failure == "no step was taken for 20 s."


# --- Short of files


def test_as_many_files_as_the_workers_need_are_allowed(tmp_path: Path) -> None:
    train = [sys.executable, "-m", "launch.async", "--env", "catch", "--envs-per-worker", "1", "--steps", "3000",
             "--workers", "24", "--run-dir"]  # fmt: skip
    line = 'ulimit -{}n 48 && exec "$@"'
    soft, hard = (
        subprocess.run(["sh", "-c", line.format(kind), "sh", *train, str(tmp_path / f"run{kind}")], cwd=ROOT, text=True,
                       capture_output=True, timeout=TIMEOUT_SECONDS)
        for kind in ("S", "")
    )  # fmt: skip
    assert soft.returncode == 0 and "started again" not in soft.stdout, soft.stdout + soft.stderr
    assert hard.returncode == 2 and "Traceback" not in hard.stderr
    assert "24 workers need more open files than a process may have here (ulimit -n), enough for 1" in hard.stderr


def test_players_and_what_is_open_already_count_for_the_limit_of_files(tmp_path: Path) -> None:
    text = """
import os
import resource
from async_rl import Config, fork_server

limit = lambda: resource.getrlimit(resource.RLIMIT_NOFILE)[0]
resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
fork_server.prepare(Config(env="catch"), 2)
few = limit()
fork_server.prepare(Config(env="catch"), 400)
players = limit()
kept = [os.open(os.devnull, os.O_RDONLY) for _ in range(players - 50)]
fork_server.prepare(Config(env="catch"), 400)
print(few == 256, players > 800, limit() > players + 700)
"""
    assert program(tmp_path, text).stdout == "True True True\n"


def test_the_size_of_a_process_that_cannot_be_read_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psutil.Process", Mock(side_effect=OSError(24, "Too many open files")))
    assert machine_memory.private_bytes(os.getpid()) is None


# --- Out of reach


def test_a_run_directory_that_has_gone_is_not_made_anew_by_an_evaluation(start: Start) -> None:
    flags = ("--config", "configs/catch.toml", "--evaluate-every", "1000", "--evaluate-episodes", "2000")
    run = start(*flags, "--workers", "1", "--steps", "1000000000")
    wait_for(lambda: len(run.workers()) == 2, "a process that plays")
    moved = run.run_dir.rename(run.run_dir.with_name("moved"))
    wait_for(lambda: "cannot keep the evaluation: No such file or directory" in run.text(), "its end")
    assert not run.run_dir.exists() and not (run.run_dir.parent / "evaluations").exists()
    moved.rename(run.run_dir)
    wait_for(lambda: list((run.run_dir / "evaluations").glob("*.json")), "another one")


def test_a_run_directory_that_has_gone_is_not_made_anew_by_players(tmp_path: Path) -> None:
    saved = untrained(Config(env="tests.misbehaving:LeavesInStep"))
    match = Match(saved, Protocol(episodes=2), 1, tmp_path / "gone" / "errors", lambda message: None)
    wait_for(lambda: not match.watch(0.1), "giving up")
    assert "exit code 1, 3 times" in str(match.failure) and not (tmp_path / "gone").exists()


def test_nobody_goes_back_to_checkpoints_that_are_out_of_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_supervisor = Supervisor.run

    def run_and_lose(supervisor: Supervisor) -> Ending:
        ending = run_supervisor(supervisor)
        shutil.rmtree(tmp_path / "run")
        return ending

    monkeypatch.setattr(Supervisor, "run", run_and_lose)
    config = Config(env="catch", workers=1, steps=10**9, report_seconds=0.2, lr_schedule="constant", lr=1e38)
    assert train(config, tmp_path / "run").ending is Ending.FAILED
    assert "training has diverged while its directory is out of reach" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("failures", "ending"), [(1, Ending.FINISHED), (1000, Ending.FAILED)])
def test_a_run_that_could_not_be_saved_has_not_finished(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    failures: int,
    ending: Ending,
) -> None:
    save, left = checkpoint.save, [OSError(28, "No space left on device")] * failures

    def saving(path: Path, content: bytes, first: Path | None = None) -> None:
        if left:
            raise left.pop()
        save(path, content, first)

    monkeypatch.setattr(checkpoint, "save", saving)
    assert train(Config(env="catch", workers=1, steps=1000), tmp_path / "run").ending is ending
    told = capsys.readouterr().out
    assert told.count("could not be saved") == (0 if ending is Ending.FINISHED else 1)
    assert told.count("checkpoints can be written again") == (1 if ending is Ending.FINISHED else 0)


def test_a_lock_on_a_full_disk_is_held_and_hides_no_error(tmp_path: Path, may_mount: None) -> None:
    text = """
import sys
from pathlib import Path
from async_rl.lock import locked

run_dir = Path(sys.argv[1]) / "full"
(run_dir / "lock").touch()
with (run_dir / "fill").open("wb", buffering=0) as file:
    try:
        while True:
            file.write(bytes(4096))
    except OSError:
        pass
with locked(run_dir):
    print("held")
"""
    (tmp_path / "full").mkdir()
    done = program(tmp_path, text, *mounted(tmp_path / "full", "1m"))
    assert (done.stdout, done.stderr) == ("held\n", "")


def test_rows_are_written_once_whatever_interrupts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, append = csv_log.CsvLog(tmp_path / "a.csv", ("total_steps", "x"), csv_log.NEW_RUN, print), csv_log._append

    def interrupted(*arguments: object) -> None:
        append(*arguments)  # type: ignore[arg-type]
        raise StopAtOnceError

    monkeypatch.setattr(csv_log, "_append", interrupted)
    with pytest.raises(StopAtOnceError):
        log.write([(1, 2.0)])
    monkeypatch.undo()
    log.close()
    assert (tmp_path / "a.csv").read_text(encoding="utf-8") == "total_steps,x\n1,2\n"


# --- In threads and children


TRAINS = """
import multiprocessing, signal, sys, threading, time
from pathlib import Path
from async_rl import Config, train

def go(name, steps=2000):
    result = train(Config(env="catch", workers=1, steps=steps), Path(sys.argv[1]) / name, quiet=True)
    print(name, result.ending.name, flush=True)

if __name__ == "__main__":
"""


def test_a_training_in_a_daemon_thread_ends_with_its_program_and_is_saved(tmp_path: Path) -> None:
    text = """
    config = Config(env="catch", workers=1, steps=10**9, report_seconds=0.1)
    run_dir = Path(sys.argv[1]) / "run"
    threading.Thread(target=train, args=(config, run_dir), kwargs={"quiet": True}, daemon=True).start()
    rows, lines = run_dir / "metrics.csv", []
    while len(lines) < 3 or lines[-2].startswith("0,"):
        time.sleep(0.1)
        lines = rows.read_text().split("\\n") if rows.is_file() else []
"""
    done = program(tmp_path, TRAINS + text)
    assert (done.returncode, done.stderr) == (0, "")
    assert checkpoint.read(tmp_path / "run").progress.total_steps > 0


def test_a_script_without_a_guard_is_told_of_it(tmp_path: Path) -> None:
    done = program(tmp_path, TRAINS.replace('if __name__ == "__main__":', 'go("run")'))
    assert done.stdout == "run FAILED\n"
    told = """imported the main module, which would begin anew but for a guard, 'if __name__ == "__main__":'"""
    assert f"worker 0 {told}; started again\n" in done.stderr and "Traceback" not in done.stderr


def test_a_forked_child_of_a_program_that_has_trained_can_train(tmp_path: Path) -> None:
    text = """
    go("first")
    child = multiprocessing.get_context("fork").Process(target=go, args=("second",))
    child.start()
    child.join()
    go("third")
"""
    done = program(tmp_path, TRAINS + text)
    assert done.stdout == "first FINISHED\nsecond FINISHED\nthird FINISHED\n", done.stderr


def test_children_of_a_program_that_has_trained_can_train_one_after_the_other(tmp_path: Path) -> None:
    text = """
    go("first")
    for name, method in (("second", "spawn"), ("third", "forkserver")):
        child = multiprocessing.get_context(method).Process(target=go, args=(name,))
        child.start()
        child.join()
    go("fourth")
"""
    done = program(tmp_path, TRAINS + text)
    names = ("first", "second", "third", "fourth")
    assert (done.stdout, done.stderr) == ("".join(f"{name} FINISHED\n" for name in names), "")


def test_processes_of_the_users_own_get_signals_and_what_they_want_imported(tmp_path: Path) -> None:
    """Though they are forked from the process that the workers are forked from."""
    text = """
    from multiprocessing import forkserver
    forkserver.set_forkserver_preload(["wave"])
    go("first")
    context = multiprocessing.get_context("forkserver")
    own = context.Process(target=signal.pause)
    own.start()
    own.terminate()
    own.join(60)
    with context.Pool(1) as pool:
        print(own.exitcode, pool.apply(eval, ('"wave" in __import__("sys").modules',)))
"""
    done = program(tmp_path, TRAINS + text)
    assert (done.stdout, done.stderr) == ("first FINISHED\n-15 True\n", "")


def test_programs_that_environments_start_can_be_ended(tmp_path: Path) -> None:
    text = f"""
    import os
    from async_rl import load
    sys.path.append({str(ROOT / "tests")!r})
    os.environ["PROGRAMS"] = sys.argv[1] + "/programs"
    config = Config(env="misbehaving:StartsAProgram", workers=1, envs_per_worker=2, steps=200)
    print(train(config, Path(sys.argv[1]) / "run", quiet=True).ending.name)
    print(load(Path(sys.argv[1]) / "run", trust_code=True).evaluate(episodes=2).mean)
"""
    done = program(tmp_path, TRAINS + text)
    assert (done.stdout, done.stderr) == ("FINISHED\n10.0\n", "")
    programs = [int(line) for line in (tmp_path / "programs").read_text().split()]
    assert len(programs) >= 4
    left = [process for process in psutil.process_iter() if process.pid in programs]
    wait_for(lambda: gone(left), "the end of all programs")


WORKS = """
    import os, shutil
    from async_rl import fork_server
    from async_rl.build import make_table
    from async_rl.envs import describe
    from async_rl.processes import WorkerProcesses

    config = Config(env="catch", workers=1, steps=10**9)
    said = []
    workers = WorkerProcesses(config, make_table(config, describe(config)), Path(sys.argv[1]), (), 0, said.append)
    workers.start()

    def wait_for_steps():
        until = time.monotonic() + 120
        while not (said and "given up" in said[-1]) and workers.stepping == 0 and time.monotonic() < until:
            workers.watch(0.1)
"""


def test_a_program_may_lose_the_folder_of_its_sockets(tmp_path: Path) -> None:
    """As some systems tidy up /tmp."""
    text = """
    wait_for_steps()
    shutil.rmtree(os.path.dirname(fork_server._server._forkserver_address))
    os.kill(workers.pids[0], signal.SIGKILL)
    workers.watch(60)
    wait_for_steps()
    print(workers.stepping, *said)
    workers.kill()
"""
    done = program(tmp_path, TRAINS + WORKS + text)
    assert done.stdout.startswith("1 worker 0 died (SIGKILL") and done.stdout.count("worker") == 1, done.stderr
    assert done.stderr == ""


def test_a_program_that_loses_its_script_gives_workers_up_and_goes_on(tmp_path: Path) -> None:
    text = """
    wait_for_steps()
    os.remove(sys.argv[0])
    os.kill(workers.pids[0], signal.SIGKILL)
    workers.watch(60)
    wait_for_steps()
    print(said[-1])
    workers.kill()
"""
    done = program(tmp_path, TRAINS + WORKS + text)
    assert done.stdout.startswith("worker 0 ended with exit code 1") and "given up" in done.stdout, done.stderr


def test_workers_are_not_forked_from_a_server_of_the_users_own(tmp_path: Path) -> None:
    """That one would pass signals on to them, and dies with nobody."""
    text = """
    own = multiprocessing.get_context("forkserver").Process(target=signal.pause)
    own.start()
    server = fork_server._server._forkserver_pid
    wait_for_steps()
    blocked = next(line for line in open(f"/proc/{workers.pids[0]}/status") if line.startswith("SigBlk"))
    print(bool(int(blocked.split()[1], 16) & 1 << signal.SIGINT - 1), fork_server._server._forkserver_pid != server)
    workers.kill()
    own.terminate()
    own.join(60)
    print(own.exitcode)
"""
    done = program(tmp_path, TRAINS + WORKS + text)
    assert (done.stdout, done.stderr) == ("True True\n-15\n", "")


def test_a_start_for_which_files_run_out_does_no_harm_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    fork_server.prepare(Config(env="catch"))
    server, pipes = fork_server._server._forkserver_pid, list[None]()
    context, pipe = multiprocessing.get_context(fork_server.START_METHOD), os.pipe

    def last_ones() -> tuple[int, int]:
        if pipes:
            raise OSError(errno.EMFILE, "too many open files")
        pipes.append(None)
        return pipe()

    with monkeypatch.context() as patch:
        patch.setattr(os, "pipe", last_ones)
        with pytest.raises(OSError, match="too many open files"):
            fork_server.start(context.Process(target=signal.pause))  # type: ignore[attr-defined]
    next_one = context.Process(target=signal.pause)  # type: ignore[attr-defined]
    fork_server.start(next_one)
    assert fork_server._server._forkserver_pid == server
    assert fork_server.kill([next_one]) == [next_one]


def test_a_forked_child_does_not_hold_the_lock_of_a_run(tmp_path: Path) -> None:
    text = """
    import os
    from async_rl.lock import locked
    os.mkdir(sys.argv[1] + "/run")
    for end in (lambda: None, lambda: os.kill(os.getpid(), signal.SIGKILL)):
        with locked(Path(sys.argv[1]) / "run"):
            child = os.fork()
            if child == 0:
                os.closerange(0, 3)
                signal.pause()
            with open(sys.argv[1] + "/children", "a") as file:
                print(child, file=file)
            end()
"""
    done = program(tmp_path, TRAINS + text)
    children = [int(line) for line in (tmp_path / "children").read_text().split()]
    try:
        assert (done.returncode, done.stderr) == (-signal.SIGKILL, "") and len(children) == 2
        with locked(tmp_path / "run"):
            assert all(running(psutil.Process(child)) for child in children)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)


def test_a_program_that_ends_does_not_wait_for_an_evaluation_in_a_thread(tmp_path: Path) -> None:
    text = """
    from async_rl import load
    from async_rl.match import Match
    go("run")
    agent, watch, begun = load(Path(sys.argv[1]) / "run"), Match.watch, threading.Event()

    def watched(match, seconds):
        begun.set()
        return watch(match, seconds)

    Match.watch = watched
    threading.Thread(target=agent.evaluate, kwargs={"episodes": 1_000_000}, daemon=True).start()
    begun.wait()
"""
    done = program(tmp_path, TRAINS + text)
    assert (done.returncode, done.stdout, done.stderr) == (0, "run FINISHED\n", "")


def test_a_program_out_of_which_no_process_can_be_started_is_told_of_it(tmp_path: Path) -> None:
    pool = """
    with multiprocessing.Pool(1) as pool:
        pool.apply(go, ("run",))
"""
    done = program(tmp_path, TRAINS + pool)
    assert "UserError: this process may not start others" in done.stderr
    from_input = subprocess.run(
        [sys.executable, "-", str(tmp_path)], input=TRAINS + '    go("run")\n', cwd=ROOT, capture_output=True, text=True
    )
    assert "UserError: processes that are started import the main module, and its file" in from_input.stderr
    assert not (tmp_path / "run").exists()
    assert "shorter path" in fork_server.not_started(OSError("AF_UNIX path too long"))


def test_a_child_that_outlives_the_program_it_was_forked_from_can_train(tmp_path: Path) -> None:
    text = """
    import os
    go("first")
    parent = os.getpid()
    if os.fork() == 0:
        while os.getppid() == parent:
            time.sleep(0.1)
        go("second")
"""
    done = program(tmp_path, TRAINS + text)
    assert done.stdout == "first FINISHED\nsecond FINISHED\n", done.stderr


def test_a_forked_child_does_not_wait_for_a_thread_that_only_its_parent_has(monkeypatch: pytest.MonkeyPatch) -> None:
    signals = Signals()
    monkeypatch.setattr(signals._left, "wait", Mock())
    monkeypatch.setattr(os, "getpid", lambda: -1)
    signals._end_with_program()
    assert signals.received is None and not signals._left.wait.called  # type: ignore[attr-defined]


def test_trainings_may_begin_in_several_threads_at_once() -> None:
    failed, begin = list[Exception](), threading.Barrier(2)

    def prepare() -> None:
        begin.wait()
        try:
            for _ in range(2000):
                fork_server.prepare(Config(env="catch"))
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=prepare) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


# --- Said


def test_an_exit_code_is_not_taken_for_the_loss_of_the_fork_server(start: Start) -> None:
    run = start("--env", "tests.misbehaving:Code255", "--workers", "1", "--steps", "1000000")
    assert run.wait() == 1
    assert "worker 0 ended with exit code 255; started again" in run.text() and "fork server" not in run.text()


def test_where_an_environment_wanders_off_to_is_not_where_paths_begin(tmp_path: Path) -> None:
    here = os.getcwd()
    assert describe(Config(env="tests.misbehaving:Wandering")).action_names
    assert os.getcwd() == here


def test_what_fails_elsewhere_leaves_its_traceback_in_the_run(tmp_path: Path) -> None:
    text = """
from async_rl import Config, train

if __name__ == "__main__":
    train(Config(env="tests.misbehaving:WanderingAndFailing", workers=1, steps=10**9), "run")
"""
    done = program(tmp_path, text)
    assert "raised ValueError: nothing here" in done.stdout and "see run/errors/worker0.0.txt)" in done.stdout
    assert len(list((tmp_path / "run" / "errors").iterdir())) == 5


def test_nobody_says_that_he_waits_who_does_not(tmp_path: Path) -> None:
    config, said = Config(env="catch", evaluate_every=1000), list[str]()
    evaluations = Evaluations(config, tmp_path, 0, Mock(side_effect=OSError), print, said.append)
    evaluations.finish(1000, lambda: True)
    assert not said
    evaluations.finish(1000, lambda: False)
    assert said[0] == "the training is done; waiting for the evaluation"


def test_errors_of_an_earlier_evaluation_are_not_taken_for_its_own(tmp_path: Path) -> None:
    (tmp_path / "evaluation_game0.txt").write_text("a game failed with ValueError: long ago.", encoding="utf-8")
    match = Match(untrained(Config(env="tests.misbehaving:Code1")), Protocol(episodes=1), 1, tmp_path, print)
    wait_for(lambda: not match.watch(0.1), "giving up")
    assert match.failure == "a process that plays ended with exit code 1, 3 times without a finished game."
