"""What the exchange costs an island: processor time of its process, and speed, beside runs that never exchange.

``python -m benchmarks.cluster_cost``: islands of one worker each, all on this machine, and each interval in turn; round
after round. An island's process exchanges in a thread of its own, so its workers wait for nothing; but on a machine all
of whose cores are busy its processor time is theirs.
"""

import signal
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from async_rl.run_directory import machine
from benchmarks import command_line, table
from benchmarks.cluster_runs import ClusterRun, titled

NEVER = 10**9
HEADER = ("interval", "steps_per_second", "island_percent", "exchange_percent", "exchange_ms", "processor", "cores")


@dataclass(frozen=True)
class Options:
    """Measure what the exchange of parameters costs."""

    env: str = "pong"
    """Game."""
    islands: int = 2
    """Islands with one worker each."""
    intervals: tuple[int, ...] = (500, 1_000)
    """Steps of an island between two exchanges."""
    seconds: float = 20.0
    """Seconds that each run is measured for."""
    rounds: int = 3
    """Repetitions of all intervals in turn."""
    output: Path | None = None
    """CSV file for the results."""


@dataclass(frozen=True)
class Sample:
    """One run: steps per second of all islands, share of a core of an island's own process, seconds of an exchange."""

    speed: float
    share: float
    exchange_seconds: float


def sample(options: Options, interval: int) -> Sample:
    """Run and measure, from when all islands take steps."""
    with tempfile.TemporaryDirectory() as folder:
        flags = f"--env {options.env} --islands {options.islands} --workers 1 --exchange-interval {interval}".split()
        run_dir = Path(folder) / "run"
        run = ClusterRun(run_dir, [*flags, "--report-seconds", "1", "--run-dir", str(run_dir)])
        try:
            metrics = run_dir / "metrics.csv"
            run.wait_for(lambda: table.last(metrics, "workers_alive") == options.islands, "steps of all islands")
            time.sleep(5.0)  # emulators, first passes and first exchanges
            family = run.launcher.children(recursive=True)
            before, processes = run.reports()[-1], [p for p in family if titled(p, "ray::Island")]
            used, start = _processor_seconds(processes), time.monotonic()
            time.sleep(options.seconds)
            share = (_processor_seconds(processes) - used) / (time.monotonic() - start) / options.islands
            after = run.reports()[-1]
            run.end(signal.SIGINT)
        finally:
            run.destroy()
    steps, seconds = (float(after[name]) - float(before[name]) for name in ("total_steps", "seconds"))
    return Sample(steps / seconds, share, float(after["exchange_seconds"]))


def _processor_seconds(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def measure_all(options: Options) -> None:
    """Measure, print the table and write the CSV file."""
    intervals = (NEVER, *options.intervals)
    samples = [[sample(options, interval) for interval in intervals] for _ in range(options.rounds)]
    rows = []
    for interval, of_round in zip(intervals, zip(*samples, strict=True), strict=True):
        speed = statistics.median(s.speed for s in of_round)
        share = statistics.median(s.share for s in of_round)
        more = statistics.median(s.share - first[0].share for s, first in zip(of_round, samples, strict=True))
        seconds = statistics.median(s.exchange_seconds for s in of_round)
        name = "never" if interval == NEVER else interval
        figures = (round(speed), round(100 * share, 2), round(100 * more, 2), round(1e3 * seconds, 1))
        rows.append((name, *figures, machine()["processor"], machine()["cores"]))
    for row in [HEADER, *rows]:
        print("".join(f"{value!s:>18}" for value in row))
    table.write(options.output, HEADER, rows)


def main() -> None:
    """Run the command."""
    command_line.run(Options, "benchmarks.cluster_cost", measure_all)


if __name__ == "__main__":
    main()
