"""Real faults, in small numbers; ``python -m benchmarks.endurance`` makes them by the hundreds."""

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import psutil
import pytest
from conftest import ROOT, Run, gone, python_m, rows, wait_for

from async_rl import Config, checkpoint, errors, recovery, resuming, run_directory, storage, train
from async_rl.build import make_table
from async_rl.checkpoint import Checkpoint, Progress
from async_rl.config_file import to_toml
from async_rl.divergence import Divergence
from async_rl.envs import describe
from async_rl.lock import locked
from async_rl.processes import FRUITLESS_STARTS, WorkerProcesses
from async_rl.seeding import stream_generators
from async_rl.signals import Signals, StopAtOnceError, signal_name
from async_rl.supervisor import Ending, on_this_machine
from async_rl.training import _Run
from async_rl.types import UserError
from benchmarks import endurance_chaos, endurance_launcher
from benchmarks.endurance_chaos import FAULTS, Chaos
from benchmarks.endurance_launcher import Launcher

pytestmark = pytest.mark.faults
FOREVER = ("--env", "catch", "--steps", "1000000000")

Start = Callable[..., Run]


def test_faults_of_workers_cost_nothing_but_their_games(tmp_path: Path) -> None:
    options = Chaos(faults=8, workers=3, interval_seconds=0.5, learn_steps=60_000, run_dir=tmp_path / "run")
    results = endurance_chaos.run(options)
    assert [(tried, survived) for _, tried, survived, _ in results] == [(2, 2)] * len(FAULTS)
    last = rows(tmp_path / "run" / "metrics.csv")[-1]
    assert (last["workers_restarted"], last["workers_alive"]) == ("8", "0")


def test_a_killed_launcher_leaves_a_run_that_goes_on(tmp_path: Path) -> None:
    results = endurance_launcher.run(Launcher(kills=4, workers=2, longest_seconds=3, run_dir=tmp_path / "run"))
    assert sum(survived for _, _, survived, _ in results) == 4


def test_what_a_kill_has_lost_is_what_was_reported_after_the_checkpoint(tmp_path: Path, toy_run: Path) -> None:
    run_dir = shutil.copytree(toy_run, tmp_path / "run")
    assert endurance_launcher.lost_seconds(run_dir) == 0
    (*_, last) = lines = (run_dir / "metrics.csv").read_text(encoding="utf-8").splitlines()
    for beyond in (0.4, 0.9):
        cells = last.split(",")
        cells[2] = str(checkpoint.read(run_dir).progress.seconds + beyond)
        lines.append(",".join(cells))
    (run_dir / "metrics.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert endurance_launcher.lost_seconds(run_dir) == pytest.approx(0.9 + endurance_launcher.REPORT_SECONDS)


def test_stopped_workers_die_with_a_killed_launcher(start: Start) -> None:
    run = start(*FOREVER, "--workers", "2")
    run.wait_for_steps(100)
    family = run.family()
    for worker in run.workers():
        worker.suspend()
    run.process.kill()
    run.wait()
    wait_for(lambda: gone(family), "the end of all processes")


def test_a_slot_stays_empty_as_long_as_its_process_is_not_gone(tmp_path: Path) -> None:
    config = Config(env="catch", workers=1, steps=10**9)
    table, said = make_table(config, describe(config)), list[str]()
    workers = WorkerProcesses(config, table, tmp_path / "errors", (), 0, said.append)
    lingering = subprocess.Popen(["sleep", "1000"])  # in the place of one that the system has not ended yet
    try:
        workers.start()
        workers.watch(0)
        (member,) = workers._members
        assert member.in_system is not None
        member.in_system.kill()
        member.in_system = psutil.Process(lingering.pid)
        wait_for(lambda: workers.watch(0.1) or said, "the report of the death")
        for _ in range(5):
            workers.watch(0.05)
        assert member.process is None and workers.any_alive
        lingering.kill()
        wait_for(lambda: workers.watch(0.1) or member.process is not None, "the next incarnation")
        assert workers.incarnations == (1,) and len(said) == 1
    finally:
        lingering.kill()
        lingering.wait()
        workers.kill()


def test_a_killed_fork_server_is_replaced_and_no_slot_has_two_workers(start: Start) -> None:
    run = start(*FOREVER, "--workers", "3")
    run.wait_for_steps(1000)
    before = run.workers()
    (fork_server,) = {worker.parent() for worker in before}
    assert fork_server is not None
    fork_server.kill()
    lost = "was lost with the fork server; started again"
    wait_for(lambda: run.text().count(lost) == 3, "the reports of three deaths")
    wait_for(lambda: len(run.workers()) == 3, "three new workers")
    assert gone(before)
    run.wait_for_steps(run.steps() + 2000)
    assert len(run.workers()) == 3 and run.text().count(lost) == 3
    run.signal(signal.SIGINT)
    assert run.wait() == 130


def test_a_worker_that_leaves_by_itself_is_started_again(start: Start) -> None:
    run = start("--env", "tests.misbehaving:Leaving", "--workers", "1", "--steps", "1000000")
    assert run.wait() == 1
    assert "ended by itself, long before the run; started again" in run.text() and "given up" in run.text()


def test_the_newest_hundred_tracebacks_are_kept(tmp_path: Path) -> None:
    for number in range(errors.KEPT + 20):
        path = errors.file_for(tmp_path, 0, number)
        path.write_text("ValueError: of a test", encoding="utf-8")
        os.utime(path, (number, number))
        errors.tidy(path)
    kept = sorted(tmp_path.iterdir())
    assert len(kept) == errors.KEPT and not (tmp_path / "worker0.19.txt").exists()
    newest = errors.file_for(tmp_path, 0, errors.KEPT + 19)  # counted a second time after a kill of the launcher
    assert newest not in kept
    newest.touch()
    errors.tidy(newest)
    assert sorted(tmp_path.iterdir()) == kept


def test_a_second_launcher_is_refused_and_a_killed_one_blocks_nothing(start: Start) -> None:
    run = start(*FOREVER, "--workers", "1", "--checkpoint-seconds", "1")
    wait_for(lambda: (run.run_dir / checkpoint.LATEST).exists(), "a checkpoint")
    second = start("--resume", str(run.run_dir), name="second")
    assert second.wait() == 2
    assert f"{run.run_dir} is in use by another launcher, process {run.process.pid}" in second.text()
    run.process.kill()
    run.wait()
    third = start("--resume", str(run.run_dir), "--steps", "1", name="third")
    assert third.wait() == 0, third.text()


def test_a_lock_ends_with_its_block_and_needs_no_file_system_that_has_one(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(UserError, match="is in use by another launcher"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass
    with locked(tmp_path / "not there"):
        pass


def test_a_run_that_has_only_begun_starts_with_its_own_settings(tmp_path: Path, start: Start) -> None:
    begun = tmp_path / "begun"
    (begun / "checkpoints").mkdir(parents=True)
    (begun / "checkpoints" / "latest.safetensors.tmp").write_bytes(b"torn")
    (begun / "episodes.csv").write_text("total_steps", encoding="utf-8")
    config = Config(env="catch", workers=1, steps=2000, seed=7)
    (begun / run_directory.CONFIG).write_text(to_toml(config), encoding="utf-8")
    assert resuming.settings(begun) == config
    run = start("--resume", str(begun), name="resumed")
    assert run.wait() == 0, run.text()
    saved = checkpoint.read(begun)
    assert saved.progress.total_steps >= 2000 and saved.config.seed == 7


def test_a_run_from_another_network_does_not_forget_it_before_its_first_checkpoint(
    tmp_path: Path, toy_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("async_rl.supervisor.Supervisor.run", Mock(side_effect=StopAtOnceError))  # killed at once
    config = Config(env="catch", workers=1, steps=6000)
    with pytest.raises(StopAtOnceError):
        train(config, tmp_path / "run", init_from=toy_run, quiet=True)
    saved = checkpoint.read(tmp_path / "run")
    np.testing.assert_array_equal(saved.arrays["parameters"], checkpoint.read(toy_run).arrays["parameters"])
    assert saved.progress.total_steps == 0
    (session,) = run_directory.sessions(tmp_path / "run")
    assert session["init_from"] == {"path": str(toy_run / checkpoint.LATEST), "env": "catch"}
    monkeypatch.undo()
    assert train(config, resume=tmp_path / "run", quiet=True).ending is Ending.FINISHED


def test_resume_auto_means_the_newest_run_of_the_same_settings(tmp_path: Path) -> None:
    base = Config(env="catch", workers=1, steps=1000, lr_range=(1e-4, 1e-2))
    runs = tmp_path / "runs"
    assert resuming.newest(base, runs) is None
    made = [train(base, runs / name, quiet=True).run_dir for name in ("a", "b")]
    train(Config(env="catch", workers=1, steps=1000), runs / "other", quiet=True)
    (runs / "damaged").mkdir()
    (runs / "damaged" / run_directory.CONFIG).write_text("lr = ", encoding="utf-8")
    for age, run_dir in enumerate(made):
        os.utime(run_dir / run_directory.CONFIG, (age, age))
    longer = Config(env="catch", workers=1, steps=3000, lr_range=(1e-4, 1e-2), report_seconds=1.0)
    assert resuming.newest(longer, runs) == made[1]
    assert resuming.newest(Config(env="catch", workers=2, steps=1000, lr_range=(1e-4, 1e-2)), runs) is None
    continued = resuming.continued(longer, made[1])
    assert (continued.steps, continued.report_seconds) == (3000, 1.0) and continued.lr_range is None
    assert train(continued, resume=made[1], quiet=True).total_steps >= 3000


def test_a_run_that_went_back_is_still_of_the_same_settings(tmp_path: Path) -> None:
    run_dir = tmp_path / "runs" / "a"
    run_dir.mkdir(parents=True)
    (run_dir / run_directory.CONFIG).write_text(to_toml(Config(lr=0.5)), encoding="utf-8")
    session = {recovery.KEY: {"lr_before": 1.0, "lr": 0.5}}
    (run_dir / run_directory.RECORD).write_text(json.dumps({"sessions": [{}, session]}), encoding="utf-8")
    assert resuming.newest(Config(lr=1.0), tmp_path / "runs") == run_dir
    assert resuming.newest(Config(lr=0.5), tmp_path / "runs") is None


def test_resume_auto_imports_nothing_that_only_a_checkpoint_names(tmp_path: Path) -> None:
    config = Config(env="catch", workers=1, steps=200)
    run_dir = train(replace(config, env="CartPole-v1"), tmp_path / "runs" / "a", quiet=True).run_dir
    (run_dir / run_directory.CONFIG).write_text(to_toml(config), encoding="utf-8")
    assert resuming.newest(config, tmp_path / "runs") == run_dir
    with pytest.raises(UserError, match=r"has a checkpoint of --env CartPole-v1 .* says --env catch"):
        resuming.continued(config, run_dir)


def test_a_second_ctrl_c_is_none_that_others_code_may_catch() -> None:
    assert not issubclass(StopAtOnceError, Exception)


def test_resume_auto_on_the_command_line(tmp_path: Path) -> None:
    arguments = ["--env", "catch", "--workers", "1", "--resume", "auto"]
    told = []
    for steps in ("1000", "2000"):
        installed = os.environ | {"PYTHONPATH": str(ROOT)}
        done = python_m("launch.async", *arguments, "--steps", steps, cwd=tmp_path, env=installed)
        assert done.returncode == 0, done.stderr
        told.append(done.stdout.splitlines()[0])
    (made,) = (tmp_path / "runs").iterdir()
    assert told == ["--resume auto: a new run", f"--resume auto: going on with runs/{made.name}"]
    assert checkpoint.read(made).progress.total_steps >= 2000


def test_divergence_goes_back_to_the_checkpoint_once_with_half_the_learning_rate(tmp_path: Path) -> None:
    config = Config(env="catch", workers=2, steps=3000, report_seconds=0.5, lr_schedule="constant")
    run_dir = train(config, tmp_path / "run", quiet=True).run_dir
    before = checkpoint.read(run_dir)
    steps = before.progress.total_steps
    hopeless = Config(env="catch", workers=2, steps=10**9, report_seconds=0.5, lr_schedule="constant", lr=1e38)
    result = train(hopeless, resume=run_dir, quiet=True)
    assert result.ending is Ending.FAILED and result.ending.value == 1
    after = checkpoint.read(run_dir)
    for name in ("parameters", "target", "mean_square"):
        np.testing.assert_array_equal(after.arrays[name], before.arrays[name])
    assert after.progress.total_steps == steps and after.config.lr == 5e37
    sessions = run_directory.sessions(run_dir)
    assert [recovery.KEY in session for session in sessions] == [False, False, True]
    note = sessions[-1][recovery.KEY]
    assert (note["lr_before"], note["lr"], note["back_to_steps"]) == (1e38, 5e37, steps)
    assert note["diverged_at_steps"] > steps
    assert (run_dir / "episodes.discarded.csv").exists()
    again = train(hopeless, resume=run_dir, quiet=True)  # once in the life of a run
    assert again.ending is Ending.FAILED and len(run_directory.sessions(run_dir)) == 4


def test_a_recovery_that_cannot_be_recorded_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = run_directory.record

    def on_a_full_disk(*arguments: Any, **notes: Any) -> None:
        if notes:
            raise UserError("cannot write into the run directory: no space left.")
        record(*arguments)

    monkeypatch.setattr(run_directory, "record", on_a_full_disk)
    hopeless = Config(env="catch", workers=1, steps=10**9, report_seconds=0.2, lr_schedule="constant", lr=1e38)
    result = train(hopeless, tmp_path / "run", quiet=True)
    assert result.ending is Ending.FAILED and len(run_directory.sessions(result.run_dir)) == 1


def test_settings_that_do_nothing_are_named_once_though_the_run_starts_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hopeless = Config(
        env="catch", workers=1, steps=10**9, report_seconds=0.2, lr_schedule="constant", lr=1e38, batch_size=7
    )
    train(hopeless, tmp_path / "run")
    told = capsys.readouterr().out
    assert told.count("no effect without --replay or --epochs: --batch-size\n") == 1
    assert "back to the initial parameters, once" in told


def test_a_recovery_that_is_recorded_by_half_is_known_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full between the two files; a run that has only its settings begins anew."""
    config = Config(env="catch", lr=1.0)
    write, written = storage.write, list[Path]()

    def writing(path: Path, content: bytes) -> None:
        if written:
            raise OSError("no space left")
        written.append(path)
        write(path, content)

    monkeypatch.setattr(storage, "write", writing)
    with pytest.raises(UserError, match="no space left"):
        run_directory.record(tmp_path, config, describe(config), {})
    assert resuming.has_only_begun(tmp_path) and resuming.settings(tmp_path) == config
    monkeypatch.undo()
    run_directory.record(tmp_path, config, describe(config), {})
    written.clear()
    monkeypatch.setattr(storage, "write", writing)
    note = {recovery.KEY: {"lr_before": 1.0, "lr": 0.5}}
    with pytest.raises(UserError, match="no space left"):
        run_directory.record(tmp_path, replace(config, lr=0.5), describe(config), {}, **note)
    assert recovery.used(tmp_path) and resuming.is_run_of(config, tmp_path)


def test_a_damaged_record_of_another_run_hinders_no_resume(tmp_path: Path) -> None:
    config = Config(env="catch", workers=1, steps=1000)
    for name in ("damaged", "whole"):
        train(config, tmp_path / name, quiet=True)
    for damaged in ("{}", "[]", '{"lr_before": "x"}', '{"lr_before": null}'):
        text = f'{{"sessions": [{{"recovery": {damaged}}}]}}'
        (tmp_path / "damaged" / "run.json").write_text(text, encoding="utf-8")
        (tmp_path / "damaged" / "config.toml").touch()  # the newer one
        assert resuming.newest(config, tmp_path) == tmp_path / "whole"


def test_divergence_before_the_first_checkpoint_starts_anew_and_then_stops(start: Start) -> None:
    run = start("--config", "configs/catch.toml", "--workers", "2", "--lr", "1e38")
    assert run.wait() == 1
    text = run.text()
    assert text.count("back to the initial parameters, once, with half the learning rate, 5e+37") == 1
    assert "error: training has diverged again, at the learning rate 5e+37" in text
    assert "gradients that are not finite are dropped" in text and "Traceback" not in text
    saved = checkpoint.read(run.run_dir)
    assert saved.progress.total_steps == 0 and np.isfinite(saved.arrays["parameters"]).all()


def test_lr_1_on_the_toy_stays_finite_or_stops(tmp_path: Path) -> None:
    config = Config(env="catch", workers=1, envs_per_worker=8, t_max=2, steps=30_000, lr=1.0, target_interval=500)
    result = train(config, tmp_path / "run", quiet=True)
    saved = checkpoint.read(result.run_dir)
    assert result.ending is Ending.FAILED or saved.progress.total_steps >= 30_000
    assert all(np.isfinite(array).all() for array in saved.arrays.values())


def test_a_checkpoint_that_is_not_finite_is_passed_over(tmp_path: Path) -> None:
    import safetensors.numpy

    run_dir = train(Config(env="catch", workers=1, steps=1000), tmp_path / "run", quiet=True).run_dir
    saved = recovery.last_finite(run_dir)
    assert saved is not None and saved.progress.total_steps >= 1000
    for path in (run_dir / "checkpoints").iterdir():
        content = bytearray(path.read_bytes())
        arrays = safetensors.numpy.load(bytes(content))
        at = content.index(arrays["parameters"][:8].tobytes())
        content[at : at + 4] = np.float32(np.nan).tobytes()
        path.write_bytes(content)
    assert recovery.last_finite(run_dir) is None


def test_a_batch_system_sends_sigterm_more_than_once(start: Start) -> None:
    run = start(*FOREVER, "--workers", "2", "--checkpoint-seconds", "1")
    run.wait_for_steps(1000)
    for _ in range(3):
        os.killpg(run.process.pid, signal.SIGTERM)
    assert run.wait() == 143
    assert checkpoint.read(run.run_dir).progress.total_steps == run.steps() and "Traceback" not in run.text()


def test_every_signal_has_a_name() -> None:
    """Real-time signals have none of their own; whoever dies by one must not take others along."""
    assert (signal_name(9), signal_name(40)) == ("SIGKILL", "signal 40")


def test_a_ctrl_c_that_comes_twice_at_once_is_one(start: Start) -> None:
    """As ``timeout -s INT`` sends it, to the process and to its group: there is a checkpoint."""
    run = start(*FOREVER, "--workers", "2")
    run.wait_for_steps(1000)
    run.signal(signal.SIGINT)
    time.sleep(0.1)  # two that arrive together are one for the kernel
    os.killpg(run.process.pid, signal.SIGINT)
    assert run.wait() == 130
    assert checkpoint.read(run.run_dir).progress.total_steps == run.steps() and "--resume" in run.text()


def test_only_a_second_ctrl_c_interrupts_and_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("async_rl.signals.time.monotonic", lambda: now[0])
    monkeypatch.setattr("async_rl.signals.time.sleep", lambda seconds: None)
    with Signals() as signals:
        for now[0] in (10.0, 10.9):
            signal.raise_signal(signal.SIGINT)
        now[0] = 11.0
        with pytest.raises(StopAtOnceError):
            signal.raise_signal(signal.SIGINT)
    with Signals() as signals:
        for _ in range(2):
            signal.raise_signal(signal.SIGTERM)
        assert signals.received == signal.SIGTERM
        now[0] = 12.0
        with pytest.raises(StopAtOnceError):
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    with Signals() as signals:
        signal.raise_signal(signal.SIGINT)
        signals.interruptible = False
        signal.raise_signal(signal.SIGINT)
    entered = list[Signals]()

    def enter() -> None:
        with Signals() as signals:
            entered.append(signals)

    thread = threading.Thread(target=enter)  # where no signal can be listened to
    thread.start()
    thread.join()
    assert entered[0].received is None


def test_a_second_signal_that_comes_after_a_quick_stop_is_still_of_the_first() -> None:
    late: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: late.append(number))
    try:
        with Signals():
            signal.raise_signal(signal.SIGINT)
            second = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
            second.start()
        second.join()
        assert late == []
        signal.raise_signal(signal.SIGINT)
        assert late == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)


def test_two_resumes_from_one_checkpoint_give_the_same_bits(tmp_path: Path) -> None:
    config = Config(env="catch", workers=1, seed=3, steps=3000, target_interval=500, lr_schedule="constant")
    first = train(config, tmp_path / "first", quiet=True).run_dir
    saved = []
    for name in ("a", "b"):
        shutil.copytree(first, tmp_path / name)
        longer = Config(env="catch", workers=1, seed=3, steps=6000, target_interval=500, lr_schedule="constant")
        train(longer, resume=tmp_path / name, quiet=True)
        saved.append(checkpoint.read(tmp_path / name))
    assert saved[0].progress.total_steps >= 6000
    for name, array in saved[0].arrays.items():
        np.testing.assert_array_equal(array, saved[1].arrays[name])


def test_the_record_is_enough_to_seed_every_stream_again(tmp_path: Path) -> None:
    run_dir = train(Config(env="catch", workers=2, seed=5, steps=500, envs_per_worker=3), tmp_path / "r", quiet=True)
    seeds = run_directory.sessions(run_dir.run_dir)[0]["seeds"]
    assert seeds["incarnations"] == [0, 0] and seeds["seed"] == 5 and seeds["first_step"] == 0
    for worker, incarnation in enumerate(seeds["incarnations"]):
        emulators, policies = stream_generators(5, worker, incarnation, seeds["first_step"], 3)
        for purpose, generators in (("emulator", emulators), ("policy", policies)):
            for stream, generator in enumerate(generators):
                key = [seeds["purposes"][purpose], worker, stream, incarnation, seeds["first_step"]]
                again = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seeds["seed"], spawn_key=key)))
                assert again.bit_generator.state == generator.bit_generator.state
    assert seeds["generators"].endswith("spawn_key=[purpose, worker, stream, incarnation, first_step])))")


def test_a_worker_that_was_started_again_does_not_go_on_with_the_chance_of_the_dead_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(env="catch", workers=2)
    table, started = make_table(config, describe(config)), list[object]()
    workers = WorkerProcesses(config, table, tmp_path, (), 0, print)
    monkeypatch.setattr(workers, "_start", started.append)
    table["random_states"].fill(5)
    dead = workers._members[1]
    dead.gradients_at_start = 0
    workers._let_go(dead, "died")
    workers.watch(0)
    assert started == [dead] and dead.incarnation == 1
    assert (table["random_states"][1] == 2**64 - 1).all() and (table["random_states"][0] == 5).all()


def test_steps_that_only_fill_a_replay_memory_are_no_fruit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that fails at each first batch of its memory would begin again for ever."""
    config = Config(env="catch", workers=1)
    table, said = make_table(config, describe(config)), list[str]()
    workers = WorkerProcesses(config, table, tmp_path, (), 0, said.append)
    monkeypatch.setattr(workers, "_start", lambda member: None)
    (member,) = workers._members
    for row, given_up in (("updates", False), ("dropped", False), ("steps", True)):
        for _ in range(FRUITLESS_STARTS):
            member.gradients_at_start = workers._gradients(member)
            table[row][0] += 5_000
            workers._let_go(member, "died")
        assert ("given up" in said[-1]) is given_up


@pytest.mark.parametrize("row", ["parameters", "target", "mean_square"])
def test_whatever_is_not_finite_is_divergence(row: str) -> None:
    config = Config(env="catch", workers=1)
    table = make_table(config, describe(config))
    divergence = Divergence(config, table, print)
    divergence.look()
    assert not divergence.diverged
    table[row][7] = np.inf
    divergence.look()
    assert divergence.diverged


def test_going_back_takes_the_best_score_along_and_draws_other_chance(tmp_path: Path) -> None:
    config = Config(env="catch", workers=2)
    now = Progress(900, 50.0, restarted=3, incarnations=(2, 1), best_score=7.0)
    then = Progress(500, 30.0, restarted=1, incarnations=(1, 0), best_score=4.0)
    saved = Checkpoint(tmp_path, config, describe(config), {}, then, {})
    assert recovery.progress_after(saved, now) == Progress(500, 50.0, 3, (3, 2), 4.0)
    assert recovery.progress_after(None, now) == Progress(0, 50.0, 3, (3, 2), None)


@pytest.mark.parametrize("trained", [False, True])
def test_a_run_that_went_back_has_its_new_learning_rate_on_disk_and_the_network_it_began_with(
    tmp_path: Path, trained: bool
) -> None:
    donor = train(Config(env="catch", workers=1, steps=500, seed=3), tmp_path / "donor", quiet=True).run_dir
    config, run_dir = Config(env="catch", workers=1, lr=0.5), tmp_path / "run"
    run_dir.mkdir()
    spec, network = describe(config), checkpoint.read_network(donor)
    run = _Run(config, spec, network, True, on_this_machine)
    supervisor = run.session(run_dir, None, Progress())
    if trained:
        run.table["parameters"][:] = 1.0
        run.table["steps"][0] = 300
        supervisor._save()
    expected = run.table["parameters"].copy()
    assert trained or not np.array_equal(expected, make_table(config, spec)["parameters"])
    run.table["parameters"].fill(np.nan)
    run.table["steps"][0] = 400
    again = run.session_after(supervisor, run_dir)
    saved = checkpoint.read(run_dir)
    assert saved.config.lr == 0.25 and saved.progress.total_steps == 300 * trained
    for array in (saved.arrays["parameters"], run.table["parameters"]):
        np.testing.assert_array_equal(array, expected)
    for one in (supervisor, again):
        one._evaluations.close()
    run.logs.close()


def test_another_sigterm_or_sighup_stops_nothing_at_once_however_late_it_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr("async_rl.signals.time.monotonic", lambda: now[0])
    monkeypatch.setattr("async_rl.signals.time.sleep", lambda seconds: None)
    with Signals() as signals:
        for now[0], number in ((10.0, signal.SIGTERM), (20.0, signal.SIGTERM), (30.0, signal.SIGHUP)):
            signal.raise_signal(number)
    assert signals.received == signal.SIGTERM
