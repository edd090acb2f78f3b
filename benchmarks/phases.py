"""Where a step's time goes.

``python -m benchmarks.phases``: real runs of the command in several shapes (as in `benchmarks.throughput`), round after
round, and the microseconds of a worker per step in each phase, as the workers' own stopwatches have them. Their sum is
held against the wall-clock time of a step, and the stopwatch's own cost is measured.
"""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from async_rl.cores import available_cores
from async_rl.run_directory import machine
from async_rl.stopwatch import PHASES, Stopwatch
from async_rl.types import UserError
from benchmarks import command_line, table
from benchmarks.runs import observe_together, phases, speed
from benchmarks.throughput import default_shapes, read_shape

COLOURS = ("#0072b2", "#56b4e9", "#e69f00", "#f0e442", "#d55e00", "#009e73", "#999999", "#000000")
"""Okabe and Ito's palette, one for each of `PHASES`."""

LAPS_PER_STEP = 6
"""Five in the environment, and some for a whole batch of steps."""


@dataclass(frozen=True)
class Options:
    """Measure the microseconds of each phase of a step."""

    env: str = "pong"
    """Game."""
    shapes: tuple[str, ...] = default_shapes()
    """Workers x emulators in each x t_max; at most as many workers as cores."""
    precision: str = "auto"
    """Of the runs."""
    seconds: float = 8.0
    """Seconds that each run is measured for."""
    rounds: int = 2
    """Repetitions of all shapes in turn."""
    output: Path | None = None
    """Results, with .csv and .png."""


def measure(options: Options, shape: Sequence[int]) -> dict[str, float]:
    """Microseconds of each phase, their sum, and the wall-clock time of a worker for a step ("whole")."""
    names = ("workers", "envs-per-worker", "t-max")
    flags = dict(zip(names, shape, strict=True)) | {"env": options.env, "precision": options.precision}
    (reports,) = observe_together([flags], options.seconds, [None])
    took = phases(reports)
    return took | {"sum": sum(took.values()), "whole": 1e6 * shape[0] / speed(reports)}


def lap_microseconds() -> float:
    """Cost of one lap of the stopwatch."""
    stopwatch, laps = Stopwatch(), 100_000
    start = time.perf_counter()
    for _ in range(laps):
        stopwatch.lap("act")
    return 1e6 * (time.perf_counter() - start) / laps


def draw(rows: Mapping[str, Mapping[str, float]], title: str, path: Path) -> None:
    """A bar of each shape."""
    from matplotlib.figure import Figure  # not needed without --output

    figure = Figure(figsize=(10, 1.6 + 0.45 * len(rows)))
    axis = figure.subplots()
    for number, took in enumerate(rows.values()):
        left = 0.0
        for phase, colour in zip(PHASES, COLOURS, strict=True):
            axis.barh(number, took[phase], left=left, color=colour, label=phase if number == 0 else None)
            left += took[phase]
        axis.text(left, number, f" {left:,.0f}", va="center", fontsize=13)
    axis.set_yticks(range(len(rows)), list(rows), fontsize=13)
    axis.invert_yaxis()
    axis.set_xlabel("microseconds of a worker for a step; workers x emulators x t_max", fontsize=12)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize=11, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    figure.suptitle(title, fontsize=12, y=1.08)
    figure.savefig(path, dpi=110, bbox_inches="tight")


def measure_all(options: Options) -> None:
    """Measure, print the table and write the CSV file and the picture."""
    shapes = {shape: read_shape(shape) for shape in options.shapes}
    if (most := max(workers for workers, _, _ in shapes.values())) > available_cores():
        raise UserError(f"phases are of workers with a core each: {most} are too many, {available_cores()} can be had.")
    samples: dict[str, list[dict[str, float]]] = {shape: [] for shape in shapes}
    for _ in range(options.rounds):
        for shape, numbers in shapes.items():
            samples[shape].append(measure(options, numbers))
    columns = (*PHASES, "sum", "whole")
    rows = {s: {name: statistics.median(one[name] for one in took) for name in columns} for s, took in samples.items()}
    here = machine()
    title = f"{options.env}, {here['processor']}, {here['cores']} cores, {options.precision}"
    print(f"{title}, medians of {options.rounds} rounds, microseconds of a worker for a step")
    print(f"{'shape':>12}" + "".join(f"{name:>12}" for name in columns))
    for shape, took in rows.items():
        print(f"{shape:>12}" + "".join(f"{took[name]:>12.1f}" for name in columns))
    lap, whole = lap_microseconds(), min(took["whole"] for took in rows.values())
    print(f"a lap takes {lap:.2f}, {LAPS_PER_STEP} a step: {LAPS_PER_STEP * lap / whole:.2%} of the fastest")
    if options.output is not None:
        named = [(options.env, s, *(round(t[n], 2) for n in columns), options.precision) for s, t in rows.items()]
        header = ("env", "shape", *columns, "precision", "processor", "cores")
        machine_columns = (here["processor"], here["cores"])
        table.write(options.output, header, [(*r, *machine_columns) for r in named])
        draw(rows, title, options.output.with_suffix(".png"))


def main() -> None:
    """Run the command."""
    command_line.run(Options, "benchmarks.phases", measure_all)


if __name__ == "__main__":
    main()
