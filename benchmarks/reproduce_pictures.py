"""The pictures of the studies."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from async_rl.plotting.picture import COLOURS
from benchmarks.reproduce_studies import (
    LEARNING_RATES,
    OPTIMIZERS,
    PAPER_SPEED_UP,
    STREAM_METHODS,
    STREAMS,
    TOY,
    Task,
)


def draw_streams(rows: Sequence[Sequence[Any]], task: Task, path: Path) -> None:
    """How many times fewer steps, and how many times less time, than with one stream; the paper's factors beside it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.6), layout="constrained")
    for axis, column, title in zip(
        figure.subplots(1, 2), (8, 9), (f"steps until {task.title} is learnt", "time until it is learnt"), strict=True
    ):
        for method, colour in zip(STREAM_METHODS, COLOURS, strict=False):
            own = [row for row in rows if row[0] == method]
            factors = [row[column] or math.nan for row in own]  # a gap where it never was learnt
            if not any(map(math.isfinite, factors)):
                continue
            axis.plot([row[1] for row in own], factors, "o-", color=colour, label=method)
            if column == 9 and task is not TOY:
                continue  # the streams of one worker share its core; the paper's had one each
            in_time = PAPER_SPEED_UP[method]
            paper = [factor / streams for factor, streams in zip(in_time, STREAMS, strict=True)]
            label = f"{method}, Atari, in the paper"
            axis.plot(STREAMS, paper if column == 8 else in_time, ":", color=colour, label=label)
        if not axis.lines:
            axis.text(
                0.5, 0.5, "not learnt with one stream:\nnothing to compare with", transform=axis.transAxes, ha="center"
            )
        axis.set(xscale="log", yscale="log", xlabel="streams", title=f"{title}: times less")
        axis.set_xticks(STREAMS, [str(count) for count in STREAMS])
        axis.set_yticks([0.25, 0.5, 1, 2, 4, 8, 16], ["0.25", "0.5", "1", "2", "4", "8", "16"])
        axis.set_ylim(0.25, 32)
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path, dpi=100)


def draw_robustness(rows: Sequence[Sequence[Any]], task: Task, path: Path) -> None:
    """Score against learning rate, one point a run, one panel an optimiser."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.8), layout="constrained")
    panels = figure.subplots(1, len(OPTIMIZERS), sharey=True)
    for panel, name, colour in zip(panels, OPTIMIZERS, COLOURS, strict=False):
        own = [row for row in rows if row[0] == name]
        panel.scatter([row[2] for row in own], [row[3] for row in own], color=colour, s=18, alpha=0.8)
        panel.set(xscale="log", xlim=LEARNING_RATES, xlabel="learning rate", title=f"{name}, {len(own)} runs")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel(f"mean score of the last {task.games} games")
    figure.savefig(path, dpi=100)
