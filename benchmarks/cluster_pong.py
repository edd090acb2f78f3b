"""Islands on Pong, at equal T, beside a single island with as many workers.

``python -m benchmarks.cluster_pong``: runs of ``launch.cluster`` on this machine, several seeds and rules. Each is
trained once, gone on with where it was cut off, and stays in its directory; the table and the picture are made of
whatever is there.
"""

import signal
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from async_rl.config_file import from_toml
from async_rl.parent import killed_with_parent
from async_rl.run_directory import CONFIG
from async_rl.types import UserError
from benchmarks import command_line, table
from benchmarks.scaling_plot import COLOURS

BIN_STEPS = 200_000
HEADER = ("islands", "workers", "rule", "interval", "seed", "from_steps", "to_steps", "games", "mean_score")


@dataclass(frozen=True)
class Options:
    """Train on Pong with one island and with several, and compare their scores."""

    islands: int = 2
    """Islands with one worker each; beside one island with as many workers."""
    rules: tuple[Literal["downpour", "elastic", "averaging"], ...] = ("downpour", "elastic", "averaging")
    """Rules of the exchange."""
    intervals: tuple[int, ...] = (500, 1_000)
    """Steps of an island between two exchanges; all but the first one for the first rule alone."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of the single island and of the first rule; the others are trained with the first one alone."""
    steps: int = 2_000_000
    """Length of a run, at whose end the learning rate is 0."""
    runs: Path = Path("runs/cluster_pong")
    """Directory of the runs."""
    only_results: bool = False
    """Train nothing."""
    output: Path | None = None
    """Results, with .csv and .png."""


@dataclass(frozen=True)
class Arm:
    """One way to train; ``rule``: empty for a single island."""

    islands: int
    workers: int
    rule: str
    interval: int

    @property
    def name(self) -> str:
        """As in a legend."""
        more = f", {self.rule}, {self.interval:,}" if self.rule else ""
        return f"{self.islands} island{'s' * (self.islands > 1)} x {self.workers}{more}"

    @property
    def setting(self) -> tuple[object, ...]:
        """The first columns of its rows."""
        return (self.islands, self.workers, self.rule, self.interval if self.rule else "")

    def run_dir(self, options: Options, seed: int) -> Path:
        """Where its run is, or will be."""
        rule = f"__{self.rule}__{self.interval}" if self.rule else ""
        return options.runs / f"{self.islands}x{self.workers}{rule}__seed{seed}"


def arms(options: Options) -> list[tuple[Arm, tuple[int, ...]]]:
    """Each with its seeds."""
    one = [(Arm(1, options.islands, "", 0), options.seeds)]
    first = [(Arm(options.islands, 1, rule, n), options.seeds) for rule in options.rules[:1] for n in options.intervals]
    fewer, seeds = options.intervals[:1], options.seeds[:1]
    return one + first + [(Arm(options.islands, 1, rule, n), seeds) for rule in options.rules[1:] for n in fewer]


def train(options: Options, arm: Arm, seed: int) -> None:
    """Begin a run, or go on with it.

    Raises:
        SystemExit: it failed or was stopped, with its exit code.
        UserError: its directory holds a run of another length.
    """
    run_dir = arm.run_dir(options, seed)
    if (run_dir / CONFIG).exists() and (steps := from_toml(run_dir / CONFIG).steps) != options.steps:
        raise UserError(f"{run_dir} holds a run of {steps:,} steps; move it away, or choose another --runs.")
    if table.last(run_dir / "metrics.csv", "total_steps") >= options.steps:
        return
    print(f"{arm.name}, seed {seed}", flush=True)
    if (run_dir / CONFIG).exists():
        flags: Sequence[object] = ("--resume", run_dir)
    else:
        rule = ("--rule", arm.rule, "--exchange-interval", arm.interval) if arm.rule else ()
        many = ("--islands", arm.islands, "--workers", arm.workers, *rule)
        flags = ("--env", "pong", "--steps", options.steps, "--seed", seed, *many, "--run-dir", run_dir)
    command = [sys.executable, "-m", "launch.cluster", *map(str, flags)]
    run = subprocess.Popen(command, preexec_fn=killed_with_parent)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the run gets Ctrl-C, too, and saves before it ends
    try:
        code = run.wait()
    finally:
        signal.signal(signal.SIGINT, before)
        run.terminate()  # where it is still there, as after a SIGTERM for this process, it saves, too
        run.wait()
    if code:
        raise SystemExit(code)


def scores(options: Options, arm: Arm, seed: int) -> Iterable[tuple[object, ...]]:
    """Rows of one run, in the order of `HEADER`: the mean score of all games of every `BIN_STEPS` steps it has made."""
    made = table.last(arm.run_dir(options, seed) / "metrics.csv", "total_steps")
    games = table.read(arm.run_dir(options, seed) / "episodes.csv")
    for start in range(0, options.steps, BIN_STEPS):
        end = start + BIN_STEPS
        own = [float(game["score"]) for game in games if start < int(game["total_steps"]) <= end]
        if own and end <= made:
            yield (*arm.setting, seed, start, end, len(own), round(statistics.mean(own), 2))


def draw(rows: Sequence[tuple[object, ...]], names: Sequence[tuple[str, tuple[object, ...]]], path: Path) -> None:
    """A thin line for each run, a thick one for the mean of those with the same settings."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.2), layout="constrained")
    panel = figure.subplots()
    for (name, setting), colour in zip(names, COLOURS, strict=False):
        own = [row for row in rows if row[:4] == setting]
        if not own:
            continue
        seeds = sorted({int(str(row[4])) for row in own})
        for seed in seeds:
            _line(panel, [row for row in own if row[4] == seed], colour, alpha=0.35, linewidth=1)
        _line(panel, own, colour, linewidth=2.5, label=f"{name} ({len(seeds)} run{'s' * (len(seeds) > 1)})")
    panel.set(xlabel="steps of all workers, million", ylabel="mean score", title="Pong, at equal T")
    panel.grid(alpha=0.3)
    panel.legend(frameon=False)
    figure.savefig(path, dpi=100)


def _line(panel: object, rows: Sequence[tuple[object, ...]], colour: str, **style: object) -> None:
    ends = sorted({int(str(row[6])) for row in rows})
    means = [statistics.mean(float(str(row[8])) for row in rows if row[6] == end) for end in ends]
    middles = [(end - BIN_STEPS / 2) / 1e6 for end in ends]
    panel.plot(middles, means, color=colour, **style)  # type: ignore[attr-defined]


def compare(options: Options) -> None:
    """Train what is not finished, print the table, and write CSV and PNG."""
    runs = [(arm, seed) for arm, seeds in arms(options) for seed in seeds]
    for arm, seed in () if options.only_results else runs:
        train(options, arm, seed)
    rows = [row for arm, seed in runs for row in scores(options, arm, seed)]
    if not rows:
        raise UserError(f"no run in {options.runs} has finished games.")
    print("".join(f"{title:>12}" for title in HEADER))
    for row in rows:
        print("".join(f"{value!s:>12}" for value in row))
    if options.output is not None:
        table.write(options.output, HEADER, rows)
        names = [(arm.name, arm.setting) for arm, _ in arms(options)]
        draw(rows, names, options.output.with_suffix(".png"))


def main() -> None:
    """Run the command."""
    command_line.run(Options, "benchmarks.cluster_pong", compare)


if __name__ == "__main__":
    main()
