"""Curves as a picture, by matplotlib: colours that colour-blind people can tell apart, legible at half its size."""

import dataclasses
import io
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from async_rl import storage
from async_rl.naming import game_title
from async_rl.plotting.points import Curve
from async_rl.plotting.references import References, references, spread
from async_rl.published import Point
from async_rl.types import UserError

Axis = Literal["steps", "frames", "time"]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's palette; from the seventh line on it comes again, see `DASHES`."""

DASHES = ("-", "--", ":", "-.")

ENDINGS = (".png", ".svg")
SIZE_INCHES = {1: (10.0, 7.0), 2: (16.0, 7.0), 3: (22.0, 7.0)}
DPI = 100
POINT_ERROR = 0.3
"""Of a published point that was read off a figure by eye."""
FONT_POINTS = 17

LEGEND_ROWS, LEGEND_ROW_INCHES = 3, 1.6 * FONT_POINTS / 72
"""Rows that are within `SIZE_INCHES`, and the height that a picture grows for each further one."""


@dataclass(frozen=True)
class Scale:
    """The unit of an x axis."""

    unit: str
    size: float


def check_output(path: Path) -> None:
    """Raise `UserError` if no picture can be made for ``path``: its ending is another, or matplotlib is missing."""
    if path.suffix.lower() not in ENDINGS:
        raise UserError(f"--output must end in {' or '.join(ENDINGS)}, got {path}.")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UserError("drawing needs matplotlib: pip install '.[plot]'.") from None


def draw(curves: Sequence[Curve], games: Sequence[str], axes: Sequence[Axis], output: Path) -> None:
    """Draw one panel for each of ``axes`` and write the picture.

    Raises:
        UserError: ``output`` cannot be written.
    """
    import matplotlib
    from matplotlib.figure import Figure

    style: Any = {
        "font.size": FONT_POINTS,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "svg.hashsalt": "curves",
    }
    with matplotlib.rc_context(style):
        figure = Figure(SIZE_INCHES[len(axes)], layout="constrained")
        panels = figure.subplots(1, len(axes), sharey=True, squeeze=False)
        low, high = _range(curves)
        known = _reached(references(games, low, high), curves, axes)
        for panel, axis in zip(panels[0], axes, strict=True):
            _draw_panel(panel, curves, axis, known)
            if axis == "steps" and "frames" not in axes:
                _add_frames(panel, curves)
        _frame(figure, panels[0], curves, games, known, (low, high))
        kind = output.suffix.lower().removeprefix(".")
        content = io.BytesIO()
        figure.savefig(content, format=kind, dpi=DPI, metadata={"Date": None} if kind == "svg" else None)
    storage.write_result(output, content.getvalue())


def _x(curve: Curve, axis: Axis) -> np.ndarray:
    return {"steps": curve.total_steps, "frames": curve.total_frames, "time": curve.seconds}[axis]


def _scale(curves: Sequence[Curve], axis: Axis) -> Scale:
    most = max(_x(curve, axis)[-1] for curve in curves)
    if axis == "time":
        return (
            Scale("hours", 3600) if most >= 2 * 3600 else Scale("minutes", 60) if most >= 120 else Scale("seconds", 1)
        )
    return Scale(f"million {axis}", 1e6) if most >= 1e6 else Scale(f"thousand {axis}", 1e3)


def _range(curves: Sequence[Curve]) -> tuple[float, float]:
    """The lowest and highest score that is drawn."""
    lines = [line for curve in curves for line in (curve.low, curve.high, curve.score, *curve.by_epsilon.values())]
    return min(float(np.nanmin(line)) for line in lines), max(float(np.nanmax(line)) for line in lines)


def _draw_panel(panel: Any, curves: Sequence[Curve], axis: Axis, known: References) -> None:
    scale = _scale(curves, axis)
    for number, curve in enumerate(curves):
        colour, dashes = COLOURS[number % len(COLOURS)], DASHES[number // len(COLOURS) % len(DASHES)]
        x = _x(curve, axis) / scale.size
        marker = "o" if len(x) == 1 else None  # a line needs two points
        if not curve.by_epsilon:
            panel.fill_between(x, curve.low, curve.high, color=colour, alpha=0.2, linewidth=0 if marker is None else 6)
        panel.plot(x, curve.score, color=colour, linewidth=3, linestyle=dashes, marker=marker, label=_legend(curve))
        for (epsilon, scores), own in zip(curve.by_epsilon.items(), COLOURS[1:], strict=False):
            panel.plot(x, scores, color=own, linewidth=1.8, marker=marker, label=f"final ε {epsilon:g}")
    for _, score in known.lines:
        panel.axhline(score, color="0.35", linestyle=(0, (2, 3)), linewidth=1.3, zorder=1)
    for point in known.points:
        _draw_point(panel, axis, scale, point)
    panel.margins(x=0.01)
    panel.set_xlim(left=0)
    panel.set_xlabel("wall-clock time, " + scale.unit if axis == "time" else scale.unit)
    panel.grid(alpha=0.25)


def _add_frames(panel: Any, curves: Sequence[Curve]) -> None:
    """Frames above a panel of steps."""
    frames_per_step = curves[0].total_frames[0] / curves[0].total_steps[0]
    if frames_per_step > 1:
        above = panel.secondary_xaxis("top", functions=(lambda x: x * frames_per_step, lambda x: x / frames_per_step))
        above.set_xlabel(_scale(curves, "steps").unit.replace("steps", "frames"))


def _draw_point(panel: Any, axis: Axis, scale: Scale, point: Point) -> None:
    """A published point, with how well it is known."""
    where = _where(point, axis)
    if where is not None:
        label = "one-step Q in [1], ±30 %"
        error = POINT_ERROR * abs(point.score)
        panel.errorbar(where / scale.size, point.score, error, fmt="D", color="0.2", capsize=5, label=label)


def _where(point: Point, axis: Axis) -> float | None:
    """Its place on an axis, in the unit of `_x`; None if it has none there."""
    if axis == "time":
        return None if point.hours is None else point.hours * 3600
    return None if point.steps is None else point.steps * (4.0 if axis == "frames" else 1.0)


def _reached(known: References, curves: Sequence[Curve], axes: Sequence[Axis]) -> References:
    """Only those of the points that lie within a panel, or just beyond: a curve ends in the middle of its last bin."""
    most = {axis: 1.05 * max(_x(curve, axis)[-1] for curve in curves) for axis in axes}
    places = {point: [(_where(point, axis), most[axis]) for axis in axes] for point in known.points}
    inside = (point for point, at in places.items() if any(x is not None and x <= end for x, end in at))
    return dataclasses.replace(known, points=tuple(inside))


def _points(score: float) -> str:
    return f"{score:,g}".replace("-", "\N{MINUS SIGN}")


def _legend(curve: Curve) -> str:
    label = curve.label.replace("$", r"\$")  # no formula
    return label if curve.runs == 1 else f"{label} ({curve.runs} runs)"


def _frame(
    figure: Any,
    panels: Sequence[Any],
    curves: Sequence[Curve],
    games: Sequence[str],
    known: References,
    limits: tuple[float, float],
) -> None:
    """Title, the axis of scores, the legend and the names of the reference lines."""
    heights = [*(score for _, score in known.lines), *(point.score * (1 + POINT_ERROR) for point in known.points)]
    low, high = min([limits[0], *heights]), max([limits[1], *heights])
    same = high - low <= 1e-9 * max(1.0, abs(high))
    span = max(1.0, 0.1 * abs(high)) if same else high - low
    room = span if same else 0.04 * span
    panels[0].set_ylim(low - room, high + room)
    panels[0].ticklabel_format(axis="y", style="plain", useOffset=False)
    panels[0].set_ylabel("human-normalised score" if len(games) > 1 else "score of a game, points")
    figure.suptitle(", ".join(map(game_title, games)) + ": scores of training games", fontweight="bold")
    _add_legend(figure, panels, _explanation(curves, known))
    places = spread([score for _, score in known.lines], least=0.075 * span)
    for (name, score), height in zip(known.lines, places, strict=True):
        panels[-1].annotate(
            f"{name} {_points(score)}", (1.01, height), xycoords=("axes fraction", "data"), va="center", color="0.25"
        )


def _add_legend(figure: Any, panels: Sequence[Any], explanation: str) -> None:
    """Below the panels; the picture grows with it, and they stay as large."""
    handles = {label: line for panel in panels for line, label in zip(*panel.get_legend_handles_labels(), strict=True)}
    labels = [textwrap.fill(label, int(6 * figure.get_figwidth())) for label in handles]
    columns = max(1, int(figure.get_figwidth() / (0.9 + 0.14 * max(map(len, handles)))))
    rows = math.ceil(sum(1 + label.count("\n") for label in labels) / columns)
    figure.set_figheight(figure.get_figheight() + max(0, rows - LEGEND_ROWS) * LEGEND_ROW_INCHES)
    legend = figure.legend(
        handles.values(),
        labels,
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        title=textwrap.fill(explanation, int(9 * figure.get_figwidth())),
        title_fontproperties={"size": FONT_POINTS - 3},
    )
    legend.get_title().set_multialignment("center")


def _explanation(curves: Sequence[Curve], known: References) -> str:
    """What line and band are, and what lies outside the picture."""
    bands = not curves[0].by_epsilon and any((curve.low < curve.high).any() for curve in curves if curve.runs == 1)
    single = "mean; band: quartiles of single games" if bands else "mean of all training games"
    several = "interquartile mean of the runs"
    several += "; band: 95 % stratified bootstrap interval" * (not curves[0].by_epsilon)
    numbers = {curve.runs == 1 for curve in curves}
    said = [f"one run: {single}" * (True in numbers), f"several runs: {several}" * (False in numbers)]
    if known.points:
        said.append("[1] Mnih et al. 2016, 16 threads, read by eye by ray-project/rl-experiments")
    if known.beyond:
        said.append("beyond the picture: " + ", ".join(f"{name} {_points(score)}" for name, score in known.beyond))
    return "; ".join(filter(None, said))
