"""A long run of which one worker is killed every minute: does anything grow, is anything lost?"""

import random
import shutil
import signal
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from async_rl import checkpoint
from benchmarks.endurance_run import Options, Run, require, require_exact

MIB = 2**20
SAMPLES = ("seconds", "total_steps", "launcher_mib", "workers_mib", "launcher_files", "workers_files", "run_mib")
"""Columns of the samples: memory is unique memory (USS), workers: mean of those of `Soak.grown_seconds`."""


@dataclass(frozen=True)
class Soak(Options):
    """Train for long, with a killed worker every so often."""

    minutes: float = 60.0
    """Length."""
    kill_seconds: float = 60.0
    """Seconds between two kills."""
    sample_seconds: float = 10.0
    """Seconds between two looks at memory and files."""
    grown_seconds: float = 45.0
    """Age from which the memory of a worker counts."""
    run_dir: Path = Path("runs") / "endurance_soak"
    """Where the run is and stays; must be new."""


def run(options: Soak, settings: Sequence[str]) -> tuple[list[tuple[str, int, int, str]], list[list[float]]]:
    """Train with the settings of ``launch.async`` and kill; a row of results, and the samples."""
    flags = ["--checkpoint-seconds", "60", *settings, "--run-dir", str(options.run_dir)]
    running = Run(options.run_dir, flags)
    try:
        running.wait_for(lambda: running.steps() > 0, "the first steps")
        kills, samples = soak(running, options)
        if running.process.poll() is None:
            require(running.end(signal.SIGTERM) == 143, "the exit code after SIGTERM is 143")
        else:
            require(running.process.returncode == 0, f"the run goes on until its end:\n{running.text()[-2000:]}")
        running.require_shared_memory_gone()
        check(running, kills)
    finally:
        running.destroy()
    check_resume(options.run_dir)
    print_slopes(samples)
    row = ("SIGKILL of a worker every so often", kills, kills, "the worker's running games")
    return [row], samples


def soak(running: Run, options: Soak) -> tuple[int, list[list[float]]]:
    """Kill a worker now and then; how many were killed, and a row of `SAMPLES` now and then."""
    chance = random.Random(options.seed)
    start = time.monotonic()
    kills, samples = 0, list[list[float]]()
    while (now := time.monotonic() - start) < 60 * options.minutes and running.process.poll() is None:
        if now >= (kills + 1) * options.kill_seconds:
            workers = running.workers()
            if workers:
                chance.choice(sorted(workers.items()))[1].kill()
                kills += 1
        if now >= len(samples) * options.sample_seconds:
            samples.append(sample(running, now, options.grown_seconds))
            if len(samples) % 30 == 0:
                print(f"{now / 60:.0f} min, {kills} kills, T = {running.steps():,}", flush=True)
        time.sleep(0.5)
    return kills, samples


def sample(running: Run, seconds: float, grown_seconds: float) -> list[float]:
    """One row of `SAMPLES`; NaN for what cannot be seen at the moment."""
    memory, files = list[float](), list[int]()
    for worker in running.workers().values():
        try:
            if time.time() - worker.create_time() >= grown_seconds:
                memory.append(worker.memory_full_info().uss / MIB)
                files.append(worker.num_fds())
        except psutil.Error:  # it has just been killed
            continue
    try:
        launcher, launcher_files = running.launcher.memory_full_info().uss / MIB, float(running.launcher.num_fds())
    except psutil.Error:
        launcher, launcher_files = float("nan"), float("nan")
    size = sum(file.stat().st_size for file in running.run_dir.rglob("*") if file.is_file()) / MIB
    mean, most = (float(np.mean(memory)), float(max(files))) if memory else (float("nan"), float("nan"))
    return [seconds, running.steps(), launcher, mean, launcher_files, most, size]


def check(running: Run, kills: int) -> None:
    """Require that T is exact and that logs and checkpoint agree."""
    _, reports, _ = require_exact(running.run_dir)
    require(int(reports[-1]["workers_restarted"]) == kills, f"{kills} workers were started again")
    told = running.text().count("died (SIGKILL")
    require(told == kills, f"{kills} deaths are reported, not {told}")


def check_resume(run_dir: Path) -> None:
    """Require that a resume with nothing to do gives the same bits; done with a copy of the run."""
    before = checkpoint.read(run_dir)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "run"
        shutil.copytree(run_dir, copy)
        again = Run(copy, ["--resume", str(copy), "--steps", str(before.progress.total_steps)])
        require(again.process.wait(300) == 0, f"the run can be resumed:\n{again.text()}")
        after = checkpoint.read(copy)
    for name, array in before.arrays.items():
        same = array.sum() == after.arrays[name].sum() if array.ndim == 1 and array.dtype == np.int64 else False
        require(same or np.array_equal(array, after.arrays[name]), f"a resumed run has the same {name}")


def slope(samples: Sequence[Sequence[float]], column: str) -> tuple[float, float]:
    """MiB an hour by least squares, and its standard error, over the last three quarters of the samples.

    Samples in a row resemble each other; by how much (autocorrelation of lag 1, r) the error is longer: (1+r)/(1-r)
    times, squared.
    """
    points = np.array(samples)[len(samples) // 4 :, [0, SAMPLES.index(column)]]
    hours, values = points[~np.isnan(points).any(axis=1)].T / [[3600.0], [1.0]]
    if len(hours) < 3:
        return float("nan"), float("nan")
    line, covariance = np.polyfit(hours, values, 1, cov="unscaled")
    residuals = values - np.polyval(line, hours)
    alike = min(0.99, max(0.0, float(residuals[1:] @ residuals[:-1] / (residuals @ residuals or 1.0))))
    error = np.std(residuals, ddof=2) * (covariance[0, 0] * (1 + alike) / (1 - alike)) ** 0.5
    return float(line[0]), float(error)


def print_slopes(samples: Sequence[Sequence[float]]) -> None:
    """What grew."""
    for column in ("launcher_mib", "workers_mib", "run_mib"):
        gradient, error = slope(samples, column)
        print(f"{column}: {samples[-1][SAMPLES.index(column)]:.1f} at the end, {gradient:+.2f} +- {error:.2f} MiB/hour")
    for column in ("launcher_files", "workers_files"):
        values = np.array(samples)[len(samples) // 4 :, SAMPLES.index(column)]
        print(f"{column}: {np.nanmin(values):.0f} to {np.nanmax(values):.0f}")
