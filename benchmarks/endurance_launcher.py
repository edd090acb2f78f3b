"""The launcher of one run of the toy is killed at random moments, again and again, and the run resumed each time."""

import random
import re
import signal
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil

from async_rl import checkpoint, resuming, run_directory
from benchmarks import table
from benchmarks.endurance_run import Options, Run, require, require_exact
from benchmarks.runs import saved_progress

GONE_SECONDS = 5.0
"""What the workers of a killed launcher have to be gone within."""

REPORT_SECONDS, CHECKPOINT_SECONDS = 0.5, 1
"""Of the run."""


@dataclass(frozen=True)
class Launcher(Options):
    """Kill the launcher at random moments, its start-up included, and resume the run."""

    kills: int = 50
    """How many."""
    workers: int = 4
    """Worker processes."""
    longest_seconds: float = 5.0
    """Most seconds before a kill: every other time after the start of the command, else after the first report."""
    run_dir: Path = Path("runs") / "endurance_launcher"
    """Where the run is kept; must be new."""


def run(options: Launcher) -> list[tuple[str, int, int, str]]:
    """Kill, check everything that is promised, and return a row for each phase in which it was killed."""
    chance = random.Random(options.seed)
    tried = {"during start-up": 0, "in training": 0}
    gone_after, lost = [0.0], [0.0]
    for number in range(options.kills):
        saved_steps = saved_progress(options.run_dir).total_steps
        training, seconds = kill(options, chance, after_first_report=bool(number % 2))
        tried["in training" if training else "during start-up"] += 1
        gone_after.append(seconds)
        check_readable(options.run_dir, saved_steps)
        lost.append(lost_seconds(options.run_dir))
        if (number + 1) % 10 == 0:
            print(f"{number + 1} kills, T = {saved_progress(options.run_dir).total_steps:,}", flush=True)
    check_end(options)
    print(f"all gone after {max(gone_after):.2f} s at most")
    told = {"during start-up": "nothing", "in training": f"at most {max(lost):.1f} s"}
    return [(f"SIGKILL of the launcher {when}", count, count, told[when]) for when, count in tried.items()]


def lost_seconds(run_dir: Path) -> float:
    """Training that a kill has lost: what was reported after the last checkpoint, and the time to the next report."""
    reports = table.read(run_dir / "metrics.csv")
    beyond = float(reports[-1]["seconds"]) - saved_progress(run_dir).seconds if reports else 0.0
    return beyond + REPORT_SECONDS if beyond > 0 else 0.0


def kill(options: Launcher, chance: random.Random, after_first_report: bool) -> tuple[bool, float]:
    """Start or resume, and kill; whether workers took steps already, and seconds until no process was left."""
    running = start(options)
    try:
        if after_first_report:
            running.wait_for(lambda: takes_steps(running), "the first report")
        time.sleep(chance.uniform(0, options.longest_seconds))
        if chance.random() < 0.2:  # stopped processes get no signal but SIGKILL
            for worker in running.workers().values():
                worker.suspend()
        require(running.process.poll() is None, f"the run goes on:\n{running.text()}")
        training = takes_steps(running)
        running.process.send_signal(signal.SIGKILL)
        seconds = seconds_until_gone(running)
        running.process.wait()
        running.require_shared_memory_gone()
        return training, seconds
    finally:
        running.destroy()


def takes_steps(running: Run) -> bool:
    """Whether a worker took steps at the last report."""
    return re.search(r"steps/s.* workers [1-9]", running.text()) is not None


def start(options: Launcher, *more: str) -> Run:
    """Begin the run, or go on with it."""
    run_dir = str(options.run_dir)
    if (options.run_dir / run_directory.CONFIG).exists():
        return Run(options.run_dir, ["--resume", run_dir, *more])
    flags = (
        f"--config configs/catch.toml --workers {options.workers} --steps 1000000000 --lr-schedule constant "
        f"--seed {options.seed} --report-seconds {REPORT_SECONDS} --checkpoint-seconds {CHECKPOINT_SECONDS}"
    )
    return Run(options.run_dir, [*flags.split(), "--run-dir", run_dir, *more])


def seconds_until_gone(running: Run) -> float:
    """Seconds until no process of a killed launcher is left."""
    start = time.monotonic()
    while left := running.left():
        took = time.monotonic() - start
        require(took < GONE_SECONDS, f"workers are gone after {GONE_SECONDS} s: {list(map(describe, left))}")
        time.sleep(0.02)
    return time.monotonic() - start


def describe(process: psutil.Process) -> str:
    """A process in a few words."""
    try:
        return f"{process.pid} {process.status()} {' '.join(process.cmdline())[:80]}"
    except psutil.Error:
        return f"{process.pid} gone"


def check_readable(run_dir: Path, saved_steps: int) -> None:
    """Require that the run can be resumed, and not from before ``saved_steps``."""
    if not (run_dir / run_directory.CONFIG).exists():
        return
    resuming.settings(run_dir)
    if resuming.has_only_begun(run_dir):
        require(saved_steps == 0, "a checkpoint never gets lost")
        return
    saved = checkpoint.read(run_dir)
    require(saved.progress.total_steps >= saved_steps, "the last checkpoint is never an older one")
    require(all(np.isfinite(array).all() for array in saved.arrays.values()), "a checkpoint is finite")


def check_end(options: Launcher) -> None:
    """Require that the run can be brought to an end, and that its logs agree with its checkpoint."""
    goal = saved_progress(options.run_dir).total_steps + 5000
    last = start(options, "--steps", str(goal))
    require(last.process.wait(300) == 0, f"the run comes to its end:\n{last.text()}")
    saved, reports, games = require_exact(options.run_dir)
    require(saved.progress.total_steps >= goal, "the run has come to its end")
    for column in ("total_steps", "seconds", "games"):
        values = [float(report[column]) for report in reports]
        require(all(a <= b for a, b in pairwise(values)), f"{column} of metrics.csv never goes backwards")
    rows = [tuple(game.values()) for game in games]
    require(len(set(rows)) == len(rows), "no row of episodes.csv is there twice")
