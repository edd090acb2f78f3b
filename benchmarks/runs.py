"""Real runs of the command, watched through their files; the other benchmarks measure with these.

Start-up is left out: what counts lies between a run's reports from the first one in which all workers take steps.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from async_rl import checkpoint
from async_rl.checkpoint_content import Progress
from async_rl.parent import killed_with_parent
from async_rl.stopwatch import PHASES
from async_rl.types import UserError
from benchmarks import table


def measure(settings: Mapping[str, object], seconds: float) -> float:
    """Steps per second of all workers of one run of the command, which is stopped with Ctrl-C.

    Args:
        settings: flags of ``launch.async`` by name, without dashes; ``workers`` has to be among them.
        seconds: length of the measurement, after the start-up.
    """
    return speed(observe_together([settings], seconds, [None])[0])


def observe_together(
    settings: Sequence[Mapping[str, object]], seconds: float, cores: Sequence[Sequence[int] | None]
) -> list[list[dict[str, str]]]:
    """Rows of ``metrics.csv`` of runs that go on at the same time, from when all workers of all runs take steps.

    Args:
        settings: of each run, as in `measure`.
        seconds: length of the measurement, after the start-up of the last one.
        cores: for each run, the cores that its processes may use; None, or a system that cannot do so: any.
    """
    with tempfile.TemporaryDirectory() as folder:
        run_dirs = [Path(folder) / f"run{number}" for number in range(len(settings))]
        runs: list[subprocess.Popen[bytes]] = []
        try:
            for one, run_dir, own in zip(settings, run_dirs, cores, strict=True):
                runs.append(start({**one, "report-seconds": min(1.0, max(0.1, seconds / 4))}, run_dir, own))
            return wait_for_reports(runs, run_dirs, [int(str(one["workers"])) for one in settings], seconds)
        finally:
            for run in runs:
                run.send_signal(signal.SIGINT)
            for run in runs:
                run.wait()


def start(settings: Mapping[str, object], run_dir: Path, cores: Sequence[int] | None) -> subprocess.Popen[bytes]:
    """Start the command, and all its processes, on ``cores``; they end with this process, however that ends (Linux)."""
    every = {**settings, "run-dir": run_dir}
    flags = [text for name, value in every.items() for text in (f"--{name}", str(value))]

    def prepare() -> None:
        """In the new process, before it is the command."""
        killed_with_parent()
        if cores is not None and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, cores)

    command = [sys.executable, "-m", "launch.async", *flags]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, preexec_fn=prepare)


def workers_of(launcher: psutil.Process) -> dict[int, psutil.Process]:
    """Living workers by their index, known by the file for their traceback, which each of them holds open."""
    found = {}
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in launcher.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                for file in process.open_files():
                    if match := re.fullmatch(r"worker(\d+)\..*txt", Path(file.path).name):
                        found[int(match[1])] = process
    return found


def saved_progress(run_dir: Path) -> Progress:
    """That of its last checkpoint; that of the beginning where there is none."""
    try:
        return checkpoint.read(run_dir).progress
    except UserError:
        return Progress()


def wait_for_reports(
    runs: Sequence[subprocess.Popen[bytes]], run_dirs: Sequence[Path], workers: Sequence[int], seconds: float
) -> list[list[dict[str, str]]]:
    """Of each run, the reports from the one at which all workers of all runs take steps to ``seconds`` later."""
    starts: list[int] = []
    while all(run.poll() is None for run in runs):
        time.sleep(min(0.5, seconds / 4))
        reports = [table.read(run_dir / "metrics.csv") for run_dir in run_dirs]
        if not starts:
            if all(
                of_run and int(of_run[-1]["workers_alive"]) == n for of_run, n in zip(reports, workers, strict=True)
            ):
                starts = [len(of_run) - 1 for of_run in reports]
            continue
        measured = [of_run[first:] for of_run, first in zip(reports, starts, strict=True)]
        if all(float(of_run[-1]["seconds"]) - float(of_run[0]["seconds"]) >= seconds for of_run in measured):
            return measured
    ended = next(run.returncode for run in runs if run.poll() is not None)
    raise SystemExit(f"a run ended by itself, with exit code {ended}")


def phases(reports: Sequence[Mapping[str, str]]) -> dict[str, float]:
    """Microseconds of a worker per step in each of `PHASES`, over all ``reports`` but the first."""
    counts = [int(report["total_steps"]) for report in reports]
    took = dict.fromkeys(PHASES, 0.0)
    for before, after, report in zip(counts, counts[1:], reports[1:], strict=False):
        for phase in PHASES if after > before else ():
            took[phase] += (after - before) / (counts[-1] - counts[0]) * float(report[f"{phase}_microseconds"])
    return took


def speed(reports: Sequence[Mapping[str, str]]) -> float:
    """Steps per second of all workers between the first and the last of ``reports``."""
    first, last = reports[0], reports[-1]
    steps = int(last["total_steps"]) - int(first["total_steps"])
    return steps / (float(last["seconds"]) - float(first["seconds"]))
