"""Steps per second of real training runs, for several numbers of workers and emulators.

``python -m benchmarks.throughput``: every shape runs once in a round, round after round, so that a machine whose speed
drifts is unfair to none; the table gives medians over rounds, and each shape's ratio to the first of the same round.
Start-up is left out: the speed of a run is that between its reports from the first one in which all workers take steps.
"""

import signal
import statistics
import subprocess
import sys
import tempfile
import time
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


def measure(settings: dict[str, object], seconds: float) -> float:
    """Steps per second of all workers of one run of the command, which is stopped with Ctrl-C.

    ``settings`` maps long flags without their dashes to values; "workers" must be among them.
    """
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        flags = [text for name, value in settings.items() for text in (f"--{name}", str(value))]
        flags += ["--report-seconds", "1"]
        run = subprocess.Popen(
            [sys.executable, "-m", "launch.async", *flags, "--run-dir", str(run_dir)], stdout=subprocess.DEVNULL
        )
        try:
            first, last = wait_for_reports(run, run_dir, int(str(settings["workers"])), seconds)
        finally:
            run.send_signal(signal.SIGINT)
            run.wait()
    steps = int(last["total_steps"]) - int(first["total_steps"])
    return steps / (float(last["seconds"]) - float(first["seconds"]))


def wait_for_reports(
    run: subprocess.Popen[bytes], run_dir: Path, workers: int, seconds: float
) -> tuple[dict[str, str], dict[str, str]]:
    """The first report in which all workers take steps, and one that is ``seconds`` later."""
    while run.poll() is None:
        time.sleep(0.5)
        warm = [report for report in table.read(run_dir / "metrics.csv") if int(report["workers_alive"]) == workers]
        if warm and float(warm[-1]["seconds"]) - float(warm[0]["seconds"]) >= seconds:
            return warm[0], warm[-1]
    raise SystemExit(f"the run ended by itself, with exit code {run.returncode}")


def main() -> None:
    """Measure, print the table and write the CSV file."""
    options = tyro.cli(Options, prog="python -m benchmarks.throughput")
    shapes = [tuple(int(number) for number in shape.split("x")) for shape in options.shapes]
    speeds: dict[tuple[int, ...], list[float]] = {shape: [] for shape in shapes}
    for number in range(options.rounds):
        for shape in shapes:
            settings = {"env": options.env, "workers": shape[0], "envs-per-worker": shape[1]}
            speeds[shape].append(measure(settings, options.seconds))
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
