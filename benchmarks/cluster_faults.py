"""Islands of a real cluster, hurt again and again: what survives, and what is lost.

``python -m benchmarks.cluster_faults``: raylets on this machine play the machines of a cluster, on which two islands
learn the toy. Each fault strikes ten times; after each of them both islands have to go on, and in the end T and the
games on record have to be exact. The partition needs network namespaces, so root on Linux.
"""

import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from async_rl import checkpoint
from benchmarks import command_line, table
from benchmarks.cluster_partition import Partitioned, wait_for, why_not
from benchmarks.cluster_runs import ClusterRun, Machines, toy
from benchmarks.endurance_launcher import lost_seconds
from benchmarks.endurance_run import HEADER, print_row, require, require_exact
from benchmarks.runs import workers_of

GAMES = 100
"""Games that each island has to finish after a fault."""

LOST = {
    "worker": "its running games",
    "island": "its running games, those of its last 0.2 s, its changes since its last push",
    "machine": "its running games, those of its last 0.2 s, its changes since its last push",
    "holder": "nothing",
    "partition": "nothing; of games that an island has finished meanwhile only the newest 4,096 are on record",
}


Fault = Literal["worker", "island", "holder", "machine", "driver", "partition"]


@dataclass(frozen=True)
class Options:
    """Hurt a cluster."""

    faults: tuple[Fault, ...] = ("worker", "island", "holder", "machine", "driver", "partition")
    """Which."""
    times: int = 10
    """How often each."""
    partition_seconds: float = 30.0
    """How long a machine is cut off."""
    seed: int = 0
    """Of chance."""
    output: Path | None = None
    """CSV file for the results."""


class Trial:
    """One run with two islands, on machines that can be hurt."""

    def __init__(self, machines: Machines | Partitioned, folder: Path, chance: random.Random):
        self.machines, self.chance, self.run_dir = machines, chance, folder / "run"
        self.lost_seconds = 0.0  # of training, at most, by a kill of the driver
        self.run = self.start(toy(self.run_dir, "--islands", "2", "--workers", "1", "--exchange-interval", "250"))

    def start(self, arguments: list[str]) -> ClusterRun:
        """Start the command on the machines."""
        return ClusterRun(self.run_dir, [*arguments, "--address", self.machines.address])

    def kill(self, actor: str) -> None:
        """SIGKILL of one of the actors of a class; one that died before is there again first."""
        wait_for(lambda: bool(self.machines.actors(actor)), f"a process of class {actor}")
        self.chance.choice(self.machines.actors(actor)).kill()

    def kill_worker(self) -> None:
        """SIGKILL of a worker process, which an island starts again."""
        island = self.chance.choice(self.machines.actors("Island"))
        self.chance.choice([*workers_of(island).values()]).kill()

    def kill_machine(self) -> None:
        """A machine loses its power, and another one comes."""
        assert isinstance(self.machines, Machines)
        self.machines.kill(self.chance.randrange(len(self.machines.nodes)))
        time.sleep(self.chance.uniform(0, 3))
        self.machines.add(1)

    def kill_driver(self) -> None:
        """SIGKILL of the command; everything ends by itself, and the run is resumed."""
        self.run.process.send_signal(signal.SIGKILL)
        self.run.process.wait()
        deadline = time.monotonic() + 60
        while self.machines.actors("Island") or self.machines.actors("Holder"):
            require(time.monotonic() < deadline, "islands end when their driver is gone")
            time.sleep(0.1)
        saved = checkpoint.read(self.run_dir)
        require(all(np.isfinite(array).all() for array in saved.arrays.values()), "a checkpoint is finite")
        self.lost_seconds = max(self.lost_seconds, lost_seconds(self.run_dir))
        self.run = self.start(["--resume", str(self.run_dir)])

    def partition(self, seconds: float) -> None:
        """Cut a machine off for a while; the other one goes on."""
        assert isinstance(self.machines, Partitioned)
        number = self.chance.randrange(2)
        before = self.run.steps()
        with self.machines.cut_off(number):
            time.sleep(seconds)
            require(self.run.steps() > before, "the other island goes on")

    def finish(self) -> None:
        """Stop the run, and see that what it has left is exact."""
        require(self.run.end(signal.SIGINT) == 130, f"Ctrl-C saves and ends it:\n{self.run.text()[-2000:]}")
        _, reports, _ = require_exact(self.run_dir)
        require(float(reports[-1]["mean_score"]) > 0.5, "the toy is learnt")


def machines_for(fault: str) -> Machines | Partitioned:
    """Two machines of one CPU each."""
    return Partitioned(2) if fault == "partition" else Machines([1, 1])


def strike(trial: Trial, fault: str, options: Options) -> None:
    """Let one fault happen."""
    faults: dict[str, Callable[[], None]] = {
        "worker": trial.kill_worker,
        "island": lambda: trial.kill("Island"),
        "holder": lambda: trial.kill("Holder"),
        "machine": trial.kill_machine,
        "driver": trial.kill_driver,
        "partition": lambda: trial.partition(options.partition_seconds),
    }
    faults[fault]()


def hurt(fault: str, options: Options) -> tuple[str, int, int, str]:
    """One fault, again and again; a row of the table."""
    chance = random.Random(options.seed)
    folder = Path(tempfile.mkdtemp())
    try:
        with machines_for(fault) as machines:
            trial = Trial(machines, folder, chance)
            try:
                trial.run.wait_for_both(GAMES)
                for _ in range(options.times):
                    time.sleep(chance.uniform(0, 2))
                    strike(trial, fault, options)
                    trial.run.wait_for_both(GAMES)
                trial.finish()
            finally:
                trial.run.destroy()
        driver = f"at most {trial.lost_seconds:.1f} s of training" if fault == "driver" else ""
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    end = f" for {options.partition_seconds:.0f} s" if fault == "partition" else ": SIGKILL"
    return (fault + end, options.times, options.times, LOST.get(fault, driver))


def hurt_all(options: Options) -> None:
    """Hurt, print the table and write the CSV file."""
    print_row(HEADER)
    rows = []
    for fault in options.faults:
        if fault == "partition" and (reason := why_not()):
            print(f"partition skipped: {reason}")
            continue
        rows.append(hurt(fault, options))
        print_row(rows[-1])
        table.write(options.output, HEADER, rows)


def main() -> None:
    """Run the command."""
    command_line.run(Options, "benchmarks.cluster_faults", hurt_all)


if __name__ == "__main__":
    main()
