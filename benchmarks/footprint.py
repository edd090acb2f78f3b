"""What a run costs besides its steps: start-up, memory of a worker, processor time of the launcher.

``python -m benchmarks.footprint`` starts the real command for each number of workers, and reads from outside:
seconds until all workers take steps, unique memory (USS) and proportional memory (PSS, Linux) of
the workers, and the launcher's processor time as a share of one core.
"""

import signal
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from async_rl.config import Config
from async_rl.run_directory import machine
from benchmarks import command_line, table
from benchmarks.runs import start, workers_of

MIB = 2**20


@dataclass(frozen=True)
class Options:
    """Measure start-up, memory and the launcher's share."""

    env: str = "pong"
    """Game."""
    workers: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    """Numbers of workers."""
    envs_per_worker: int = Config().envs_per_worker
    """Emulators in each."""
    seconds: float = 20.0
    """Seconds of training after which memory and processor time are read."""
    output: Path | None = None
    """Results, with .csv and .png."""


def measure(options: Options, workers: int) -> dict[str, float]:
    """One run of the command."""
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        flags = {"env": options.env, "workers": workers, "envs-per-worker": options.envs_per_worker}
        started = time.monotonic()
        run = start(flags | {"report-seconds": 0.2}, run_dir, None)
        try:
            launcher = psutil.Process(run.pid)
            while table.last(run_dir / "metrics.csv", "workers_alive") < workers:
                if run.poll() is not None:
                    raise SystemExit(f"the run ended by itself, with exit code {run.returncode}")
                time.sleep(0.05)
            start_seconds = time.monotonic() - started
            before, since = sum(launcher.cpu_times()[:2]), time.monotonic()
            time.sleep(options.seconds)
            launcher_share = (sum(launcher.cpu_times()[:2]) - before) / (time.monotonic() - since)
            memory = [worker.memory_full_info() for worker in workers_of(launcher).values()]
        finally:
            run.send_signal(signal.SIGINT)
            run.wait()
    return {
        "workers": workers,
        "envs_per_worker": options.envs_per_worker,
        "start_seconds": round(start_seconds, 1),
        "uss_mib": round(statistics.median(m.uss for m in memory) / MIB, 1),
        "pss_mib": round(statistics.median(getattr(m, "pss", float("nan")) for m in memory) / MIB, 1),
        "launcher_percent": round(100 * launcher_share, 2),
    }


def draw(rows: Sequence[Mapping[str, float]], title: str, path: Path) -> None:
    """Memory and start-up against the number of workers."""
    from matplotlib.figure import Figure  # not needed without --output

    figure = Figure(figsize=(10, 4))
    memory, start = figure.subplots(1, 2)
    workers = [str(row["workers"]) for row in rows]
    memory.plot(workers, [row["uss_mib"] for row in rows], "o-", color="#0072b2", label="unique")
    memory.plot(workers, [row["pss_mib"] for row in rows], "s--", color="#e69f00", label="proportional")
    memory.set_ylabel("MiB of a worker", fontsize=13)
    memory.legend(fontsize=12)
    start.plot(workers, [row["start_seconds"] for row in rows], "o-", color="#0072b2")
    start.set_ylabel("seconds until all workers step", fontsize=13)
    for axis in (memory, start):
        axis.set_ylim(0, None)
        axis.set_xlabel("workers", fontsize=13)
        axis.grid(alpha=0.3)
    figure.suptitle(title, fontsize=13)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def measure_all(options: Options) -> None:
    """Measure, print the table and write the CSV file."""
    print(f"{machine()['processor']}, {machine()['cores']} cores, {options.env}")
    rows: list[dict[str, float]] = []
    for workers in options.workers:
        rows.append(measure(options, workers))
        if len(rows) == 1:
            print(" ".join(f"{title:>16}" for title in rows[0]))
        print(" ".join(f"{value:>16}" for value in rows[-1].values()), flush=True)
    if options.output is not None:
        named = [(*row.values(), machine()["processor"], machine()["cores"]) for row in rows]
        table.write(options.output, (*rows[0], "processor", "cores"), named)
        title = f"{options.env}, {options.envs_per_worker} emulators a worker, {machine()['processor']}"
        draw(rows, f"{title}, {machine()['cores']} cores", options.output.with_suffix(".png"))


def main() -> None:
    """Run the command."""
    command_line.run(Options, "benchmarks.footprint", measure_all)


if __name__ == "__main__":
    main()
