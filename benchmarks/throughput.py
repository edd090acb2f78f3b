"""Steps per second of real training runs, for several numbers of workers and emulators.

``python -m benchmarks.throughput``: every shape runs once in a round, round after round, so that a machine whose speed
drifts is unfair to none; the table gives medians over rounds, and each shape's ratio to the first of the same round.
Start-up is left out: the speed of a run is that between its reports from the first one in which all workers take steps.
"""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from async_rl.run_directory import machine
from benchmarks import table


@dataclass(frozen=True)
class Options:
    """Measure steps per second of training runs."""

    env: str = "pong"
    """Game."""
    shapes: tuple[str, ...] = ("1x1", "1x8", "2x1", "2x8")
    """Workers x emulators in each."""
    seconds: float = 15.0
    """Seconds that each run is measured for."""
    rounds: int = 3
    """Repetitions of all shapes in turn."""
    output: Path | None = None
    """CSV file for the results."""


def measure(settings: Mapping[str, object], seconds: float) -> float:
    """Steps per second of all workers of one run of the command, which is stopped with Ctrl-C.

    Args:
        settings: flags of ``launch.async`` by name, without dashes; ``workers`` has to be among them.
        seconds: length of the measurement, after the start-up.
    """
    first, last = observe(settings, seconds)
    steps = int(last["total_steps"]) - int(first["total_steps"])
    return steps / (float(last["seconds"]) - float(first["seconds"]))


def observe(
    settings: Mapping[str, object], seconds: float, cores: Sequence[int] | None = None
) -> tuple[dict[str, str], dict[str, str]]:
    """Rows of ``metrics.csv`` at the start and at the end of `measure`; ``cores`` as in `observe_together`."""
    (rows,) = observe_together([settings], seconds, [cores])
    return rows[0], rows[-1]


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
                runs.append(start(one, run_dir, own))
            return wait_for_reports(runs, run_dirs, [int(str(one["workers"])) for one in settings], seconds)
        finally:
            for run in runs:
                run.send_signal(signal.SIGINT)
            for run in runs:
                run.wait()


def start(settings: Mapping[str, object], run_dir: Path, cores: Sequence[int] | None) -> subprocess.Popen[bytes]:
    """Start the command, and all its processes, on ``cores``."""
    every = {**settings, "report-seconds": 1, "run-dir": run_dir}
    flags = [text for name, value in every.items() for text in (f"--{name}", str(value))]
    pin = (lambda: os.sched_setaffinity(0, cores)) if cores is not None and hasattr(os, "sched_setaffinity") else None
    command = [sys.executable, "-m", "launch.async", *flags]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, preexec_fn=pin)


def wait_for_reports(
    runs: Sequence[subprocess.Popen[bytes]], run_dirs: Sequence[Path], workers: Sequence[int], seconds: float
) -> list[list[dict[str, str]]]:
    """Of each run, the reports from the one at which all workers of all runs take steps to ``seconds`` later."""
    starts: list[int] = []
    while all(run.poll() is None for run in runs):
        time.sleep(0.5)
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


def main() -> None:
    """Measure, print the table and write the CSV file."""
    options = tyro.cli(Options, prog="python -m benchmarks.throughput")
    shapes = [tuple(int(number) for number in shape.split("x")) for shape in options.shapes]
    speeds: dict[tuple[int, ...], list[float]] = {shape: [] for shape in shapes}
    for number in range(options.rounds):
        for shape in shapes:
            speeds[shape].append(
                measure({"env": options.env, "workers": shape[0], "envs-per-worker": shape[1]}, options.seconds)
            )
            print(f"round {number + 1}: {shape[0]} x {shape[1]}: {speeds[shape][-1]:,.0f} steps/s", flush=True)
    rows = []
    for (workers, envs), values in speeds.items():
        ratios = [value / first for value, first in zip(values, speeds[shapes[0]], strict=True)]
        rows.append((options.env, workers, envs, round(statistics.median(values)), f"{statistics.median(ratios):.2f}"))
    header = ("env", "workers", "envs_per_worker", "steps_per_second", "ratio")
    print(f"\n{machine()['processor']}, {machine()['cores']} cores, medians of {options.rounds} rounds")
    print(" ".join(f"{title:>16}" for title in header))
    for row in rows:
        print(" ".join(f"{value!s:>16}" for value in row))
    named = [(*row, machine()["processor"], machine()["cores"]) for row in rows]
    table.write(options.output, (*header, "processor", "cores"), named)


if __name__ == "__main__":
    main()
