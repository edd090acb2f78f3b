"""A real run of the command, watched and hurt from outside."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from async_rl import checkpoint
from async_rl.checkpoint import Checkpoint
from async_rl.parent import killed_with_parent
from benchmarks import table
from benchmarks.runs import workers_of

HEADER = ("fault", "tried", "survived", "lost")
"""Columns of every table of results."""

SHARED_MEMORY = Path("/dev/shm")
"""Where a shared table is a file for a moment, until it is unlinked; its name has the launcher's process in it."""

_MARK = "ASYNC_RL_ENDURANCE"
PATIENCE_SECONDS = 120.0
"""For whatever is waited for; a run that takes longer has failed."""


@dataclass(frozen=True)
class Options:
    """What all of them have."""

    seed: int = 0
    """Of chance in the benchmark; and of the run, unless that has settings of its own."""
    output: Path | None = None
    """CSV file for the results."""


class Run:
    """A ``launch.async`` process in ``run_dir``, with its output in a file beside it.

    Every process that comes from it inherits a mark in its environment, by which even orphans are found.
    """

    module = "launch.async"

    def __init__(self, run_dir: Path, arguments: Sequence[str]):
        self.run_dir = run_dir
        self.output = run_dir.with_name(run_dir.name + ".out")
        self.output.parent.mkdir(parents=True, exist_ok=True)
        self._mark = uuid.uuid4().hex
        command = [sys.executable, "-m", self.module, *arguments]
        with self.output.open("ab") as output:
            self._output_before = self.output.stat().st_size
            environment = os.environ | {_MARK: self._mark}
            self.process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, env=environment, preexec_fn=killed_with_parent
            )
        self.launcher = psutil.Process(self.process.pid)

    def text(self) -> str:
        """What the run has printed so far."""
        with self.output.open("rb") as output:
            output.seek(self._output_before)
            return output.read().decode("utf-8", "replace")

    def workers(self) -> dict[int, psutil.Process]:
        """Living workers by their index."""
        return workers_of(self.launcher)

    def left(self) -> list[psutil.Process]:
        """Processes of this run that are still there, whoever is their parent now."""
        return [process for process in psutil.process_iter() if self._is_marked(process)]

    def _is_marked(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get(_MARK) == self._mark and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    def require_shared_memory_gone(self) -> None:
        """Require that nothing of it is left in shared memory; for after its end."""
        mine = f"-{self.process.pid}-"
        left = [name for name in os.listdir(SHARED_MEMORY) if mine in name] if SHARED_MEMORY.is_dir() else []
        require(not left, f"nothing is left in {SHARED_MEMORY}: {left}")

    def reports(self) -> list[dict[str, str]]:
        """Rows of ``metrics.csv``."""
        return table.read(self.run_dir / "metrics.csv")

    def steps(self) -> int:
        """T of the last report; 0 before the first."""
        return table.last(self.run_dir / "metrics.csv", "total_steps")

    def wait_for(self, condition: Callable[[], Any], what: str) -> Any:
        """The first true value of ``condition``, as long as the run goes on."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if value := condition():
                return value
            if self.process.poll() is not None:
                raise SystemExit(f"the run ended by itself, with exit code {self.process.returncode}:\n{self.text()}")
            time.sleep(0.05)
        raise SystemExit(f"waited in vain for {what}:\n{self.text()[-2000:]}")

    def end(self, number: signal.Signals) -> int:
        """Stop the run by a signal; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)

    def destroy(self) -> None:
        """Kill whatever is left of it."""
        for process in self.left():
            process.kill()
        self.process.wait(PATIENCE_SECONDS)


def require_exact(run_dir: Path) -> tuple[Checkpoint, list[dict[str, str]], list[dict[str, str]]]:
    """Require that T is exact and that logs and checkpoint of a run agree; checkpoint, reports and games."""
    saved = checkpoint.read(run_dir)
    reports, games = (table.read(run_dir / name) for name in ("metrics.csv", "episodes.csv"))
    counts = [int(report["total_steps"]) for report in reports]
    require(counts == sorted(counts), "T never goes backwards")
    require(saved.progress.total_steps == counts[-1] == saved.arrays["steps"].sum(), "T is exact")
    require(all(np.isfinite(array).all() for array in saved.arrays.values()), "everything in the checkpoint is finite")
    require(int(reports[-1]["games"]) == len(games), "every game is on record once")
    played = sum(int(game["length"]) for game in games)
    require(played <= counts[-1], f"no step is in two games: {played:,} steps of games, T = {counts[-1]:,}")
    return saved, reports, games


def print_row(row: Sequence[object]) -> None:
    """One row of results, as a line."""
    print("  ".join(f"{text!s:>{width}}" for text, width in zip(row, (34, 8, 10, 0), strict=True)), flush=True)


def require(condition: bool, what: str) -> None:
    """Stop with a message unless the condition holds: a promise of the project is broken."""
    if not condition:
        raise SystemExit(f"FAILED: {what}")
