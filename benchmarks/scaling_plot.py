"""The picture of `benchmarks.scaling`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from async_rl.stopwatch import PHASES
from benchmarks.scaling_model import PREDICTED_CORES, SCENARIOS, Model
from benchmarks.scaling_results import Row

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#f0e442", "#000000")
"""Okabe and Ito's palette, which colour-blind people can tell apart; one for each phase."""
ASSUMED = ("bandwidth grows\nwith cores, neighbours as measured", "bandwidth stays,\nall are neighbours, refetching 3x")
"""What `SCENARIOS` assume, in short."""


def draw(rows: Sequence[Row], model: Model, path: Path) -> None:
    """Four panels: where a step's time goes, the prediction, speed against workers, speed against emulators."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 7.5), layout="constrained")
    (phases, prediction), (workers, emulators) = figure.subplots(2, 2)
    sections = [of(rows, section) for section in ("scaling", "independent", "oversubscription")]
    draw_phases(phases, [row for section in sections for row in (*section[:1], *section[1:][-1:])])
    draw_prediction(prediction, of(rows, "scaling"), model)
    draw_workers(workers, of(rows, "scaling"), of(rows, "oversubscription"))
    draw_emulators(emulators, of(rows, "defaults", "emulators"), of(rows, "network"))
    for axis in (phases, prediction, workers, emulators):
        axis.grid(alpha=0.3, axis="y")
    figure.savefig(path, dpi=100)


def of(rows: Sequence[Row], *sections: str) -> list[Row]:
    """The rows of some sections."""
    return [row for row in rows if row["section"] in sections]


def numbers(rows: Sequence[Row], column: str) -> list[float]:
    """One column."""
    return [float(str(row[column])) for row in rows]


def draw_phases(axis: Any, rows: Sequence[Row]) -> None:
    """A stacked bar for each setting, of which there is room for about six: microseconds of a core per step."""
    names = [f"{row['workers']}\non {row['cores_used']}" + ("\nsplit" if row["runs"] != 1 else "") for row in rows]
    shares = [float(str(row["cores_used"])) / float(str(row["workers"])) for row in rows]
    below = [0.0] * len(rows)
    for phase, colour in zip(PHASES, COLOURS, strict=True):
        took = [us * share for us, share in zip(numbers(rows, f"{phase}_microseconds"), shares, strict=True)]
        axis.bar(range(len(rows)), took, bottom=below, color=colour, label=phase, width=0.7)
        below = [low + high for low, high in zip(below, took, strict=True)]
    axis.set_xticks(range(len(rows)), names, fontsize=9)
    axis.set_ylabel("µs of a core per step", fontsize=12)
    axis.set_title("Where a step's time goes: workers on cores\n(split: as independent runs)", fontsize=12)
    axis.set_xlim(-0.6, len(rows) * 1.5)
    axis.legend(fontsize=10, loc="upper right", reverse=True)


def draw_prediction(axis: Any, scaling: Sequence[Row], model: Model) -> None:
    """Speed against cores: measured, linear, and both scenarios."""
    linear = sorted({1, *PREDICTED_CORES})
    axis.plot(linear, [1e6 * n / model.private for n in linear], ":", color="grey", label="linear")
    kinds = zip(SCENARIOS, ("--^", "--v"), COLOURS[2:5:2], ASSUMED, (9, -17), strict=True)
    for scenario, style, colour, assumed, above in kinds:
        speeds = [model.steps_per_second(n, scenario) for n in PREDICTED_CORES]
        axis.plot(PREDICTED_CORES, speeds, style, color=colour, label=f"{scenario.name}: {assumed}")
        end = (PREDICTED_CORES[-1], speeds[-1])
        axis.annotate(f"{speeds[-1]:,.0f}", end, (4, above), textcoords="offset points", ha="right", fontsize=11)
    measured = numbers(scaling, "workers"), numbers(scaling, "steps_per_second")
    axis.plot(*measured, "o", color=COLOURS[0], label="measured")
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.set_ylim(measured[1][0] / 60, 1e6 * linear[-1] / model.private * 4)  # room for the legend and the labels
    axis.set_xticks(linear, [str(n) for n in linear])
    axis.set_xlabel("cores, one worker on each", fontsize=12)
    axis.set_ylabel("steps/s", fontsize=12)
    axis.set_title("From 8 cores on: PREDICTION,\nnot measured, by two sets of assumptions", fontsize=12)
    axis.legend(fontsize=10, loc="lower right")


def draw_workers(axis: Any, scaling: Sequence[Row], crowded: Sequence[Row]) -> None:
    """Speed against workers: up to the cores, and beyond."""
    rows = [*scaling, *crowded]
    axis.plot(numbers(rows, "workers"), numbers(rows, "steps_per_second"), color=COLOURS[0], linewidth=1)
    axis.plot(numbers(scaling, "workers"), numbers(scaling, "steps_per_second"), "o", color=COLOURS[0], label="a core")
    axis.plot(numbers(crowded, "workers"), numbers(crowded, "steps_per_second"), "s", color=COLOURS[4], label="fewer")
    label(axis, "workers", numbers(rows, "workers"))
    axis.set_title("Speed against workers", fontsize=12)
    axis.legend(title="each worker has", fontsize=10, loc="lower right")


def draw_emulators(axis: Any, rows: Sequence[Row], networks: Sequence[Row]) -> None:
    """Speed against emulators in a worker, and that of other networks."""
    rows = sorted(rows, key=lambda row: float(str(row["envs_per_worker"])))
    for points, style, colour in ((rows, "-o", COLOURS[0]), *(([row], "s", COLOURS[4]) for row in networks)):
        name = f"{points[0]['network']}, {int(str(points[0]['parameters'])):,} parameters"
        axis.plot(
            numbers(points, "envs_per_worker"), numbers(points, "steps_per_second"), style, color=colour, label=name
        )
    label(axis, "emulators in each worker", numbers(rows, "envs_per_worker"))
    axis.set_title(f"Speed against emulators, {rows[0]['workers']} workers", fontsize=12)
    axis.legend(fontsize=10, loc="lower right")


def label(axis: Any, x: str, ticks: Sequence[float]) -> None:
    """Steps per second from zero against powers of two."""
    axis.set_xscale("log", base=2)
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_ylim(bottom=0)
    axis.set_xlabel(x, fontsize=12)
    axis.set_ylabel("steps/s", fontsize=12)
