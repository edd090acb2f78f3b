"""Runs of a study: each trained once, gone on with where it was cut off, and never trained again.

Every run has a directory of its own, so whatever is made of them (tables, pictures) can be made at any time out of what
is there.
"""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from async_rl import Config, resuming, train
from async_rl.config_file import from_toml
from async_rl.run_directory import CONFIG
from async_rl.supervisor import Ending
from async_rl.types import UserError
from benchmarks import table
from benchmarks.runs import saved_progress

MEMORY = "memory_mib.csv"
"""In a run's directory: memory of all its processes, a line every `MEMORY_SECONDS`."""

MEMORY_SECONDS = 10.0


@dataclass(frozen=True)
class Experiment:
    """One run of a study.

    Attributes:
        name: of its directory, below that of the study: ``games/pong__one-step-q__seed0``.
        config: what is trained.
        method: what tables and pictures call it.
    """

    name: str
    config: Config
    method: str


class Study:
    """The runs below one directory."""

    def __init__(self, folder: Path):
        self.folder = folder

    def run_dir(self, experiment: Experiment) -> Path:
        """Where its run is, or will be."""
        return self.folder / experiment.name

    def steps_done(self, experiment: Experiment) -> int:
        """T of its last report; 0 where there is none."""
        return table.last(self.run_dir(experiment) / "metrics.csv", "total_steps")

    def finished(self, experiments: Sequence[Experiment]) -> list[Experiment]:
        """Those that have been trained to their end."""
        return [each for each in experiments if self.steps_done(each) >= each.config.steps]

    def saved(self, experiments: Sequence[Experiment]) -> list[Experiment]:
        """Those of which the final network is there, too: one that is killed between the two has only been reported."""
        runs = self.finished(experiments)
        return [each for each in runs if saved_progress(self.run_dir(each)).total_steps >= each.config.steps]

    def require_same(self, experiments: Sequence[Experiment]) -> None:
        """Raise `UserError` where a directory holds a run with other settings than its experiment, or another length.

        A run that was planned for fewer steps has annealed by them, and is not what a longer one would have been.
        """
        for experiment in experiments:
            run_dir = self.run_dir(experiment)
            if not (run_dir / CONFIG).exists():
                continue
            if not resuming.is_run_of(experiment.config, run_dir):
                raise UserError(f"{run_dir} holds a run with other settings; move it away, or choose another --runs.")
            if (steps := from_toml(run_dir / CONFIG).steps) != experiment.config.steps:
                raise UserError(
                    f"{run_dir} holds a run of {steps:,} steps, asked for are {experiment.config.steps:,}; move it "
                    "away, or choose another --runs."
                )

    def train_all(self, experiments: Sequence[Experiment]) -> None:
        """Train what is not finished, one after the other, and say what is left before each.

        Raises:
            UserError: a directory holds a run with other settings, or of another length.
            SystemExit: a run failed, or was stopped by a signal, with the exit code of `launch.async`.
        """
        self.require_same(experiments)
        for experiment in experiments:
            if self.saved([experiment]):
                continue
            left = sum(max(0, each.config.steps - self.steps_done(each)) for each in experiments)
            finished = len(self.finished(experiments))
            state = f"{finished} of {len(experiments)} runs are finished, {left:,} steps are left"
            print(f"{experiment.name}: {state}", flush=True)
            self._train(experiment)

    def _train(self, experiment: Experiment) -> None:
        run_dir, config = self.run_dir(experiment), experiment.config
        quiet = config.env == "catch"  # over before anything could be seen
        with memory_recorded(run_dir / MEMORY):
            if (run_dir / CONFIG).exists():
                result = train(resuming.continued(config, run_dir), resume=run_dir, quiet=quiet)
            else:
                result = train(config, run_dir, quiet=quiet)
        if result.ending is not Ending.FINISHED:
            raise SystemExit(result.ending.value)


@contextlib.contextmanager
def memory_recorded(path: Path) -> Iterator[None]:
    """Append to a file, as long as its folder is there, the MiB that this process and those it starts take together."""
    over = threading.Event()

    def record() -> None:
        """Until it is over."""
        while not over.wait(MEMORY_SECONDS):
            if path.parent.exists():
                begun = path.exists()
                with contextlib.suppress(OSError), path.open("a", encoding="utf-8") as file:
                    file.write(("" if begun else "mib\n") + f"{memory_mib():.1f}\n")

    thread = threading.Thread(target=record, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def memory_mib() -> float:
    """Memory of this process and all below it; what they share counts once (on Linux; elsewhere not at all)."""
    total, me = 0, psutil.Process()
    for process in (me, *me.children(recursive=True)):
        with contextlib.suppress(psutil.Error):  # it has just ended
            memory = process.memory_full_info()
            total += getattr(memory, "pss", memory.uss)
    return total / 2**20
