"""States of play laid out on a plane, coloured by value, with pictures of some (Mnih et al. 2015, figure 4)."""

import itertools
from importlib.util import find_spec
from typing import Any, BinaryIO

import numpy as np

from async_rl.types import UserError
from async_rl.viewing.embedding import spread
from async_rl.viewing.sampling import States

_SLOTS = [
    *[(x, 1.17) for x in (0.0, 0.25, 0.5, 0.75, 1.0)],
    *[(1.135, y) for y in (0.86, 0.5, 0.14)],
    *[(x, -0.17) for x in (1.0, 0.75, 0.5, 0.25, 0.0)],
    *[(-0.135, y) for y in (0.14, 0.5, 0.86)],
]
"""Middles of the pictures around the map, clockwise, in parts of its width and height."""

_PICTURE_INCHES = 1.15


def require_matplotlib() -> None:
    """Raise UserError if it is not installed."""
    if find_spec("matplotlib") is None:
        raise UserError("pictures need matplotlib: pip install '.[explain]'.")


def draw_map(file: BinaryIO, title: str, points: np.ndarray, states: States) -> None:
    """Write the map of ``points`` [N, 2], one of each state, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 11.9), facecolor="#fafaf8")
    axes = figure.add_axes((0.155, 0.225, 0.69, 0.575))
    order = np.argsort(states.values)
    dots = axes.scatter(
        points[order, 0],
        points[order, 1],
        c=states.values[order],
        s=14 if len(points) > 500 else 40,
        cmap="viridis",
        linewidths=0,
        zorder=2,
    )
    axes.set(xticks=[], yticks=[], facecolor="#fafaf8")
    axes.margins(0.04)
    axes.spines[:].set_color("#d6d8dc")
    bar = figure.colorbar(dots, cax=figure.add_axes((0.3, 0.032, 0.4, 0.012)), orientation="horizontal")
    bar.outline.set_visible(False)
    bar.ax.set_title("V(s)", fontsize=10, pad=3)
    figure.text(0.03, 0.97, title, fontsize=14, va="center")
    for number, slot in _assign(points, spread(points, len(_SLOTS))):
        _show(axes, points[number], slot, states.picture(number), f"V = {states.values[number]:.2f}")
    figure.savefig(file, format="png", dpi=130, facecolor=figure.get_facecolor())


def _assign(points: np.ndarray, chosen: list[int]) -> list[tuple[int, tuple[float, float]]]:
    """A slot for each of the chosen points, such that exchanging two makes no lines shorter: so none of them cross."""
    low, span = points.min(axis=0), np.ptp(points, axis=0)
    places = (points[chosen] - low) / np.where(span > 0, span, 1)
    slots = np.array(_SLOTS)[np.linspace(0, len(_SLOTS), len(chosen), endpoint=False).astype(int)]
    length = np.linalg.norm(places[:, None] - slots[None], axis=2)
    taken = list(range(len(chosen)))
    shorter = True
    while shorter:
        shorter = False
        for a, b in itertools.combinations(range(len(chosen)), 2):
            now = length[a, taken[a]] + length[b, taken[b]]
            if length[a, taken[b]] + length[b, taken[a]] < now - 1e-9:
                taken[a], taken[b], shorter = taken[b], taken[a], True
    return [
        (number, (float(slots[slot][0]), float(slots[slot][1]))) for number, slot in zip(chosen, taken, strict=True)
    ]


def _show(axes: Any, point: np.ndarray, slot: tuple[float, float], picture: np.ndarray, label: str) -> None:
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage, TextArea, VPacker

    zoom = _PICTURE_INCHES * 72 / max(picture.shape[:2])
    image = OffsetImage(picture, zoom=zoom, interpolation="nearest" if zoom > 1 else "antialiased")
    packed = VPacker(children=[image, TextArea(label, textprops={"size": 10})], align="center", pad=0, sep=2)
    line = {"arrowstyle": "-", "color": "#8a8f98", "linewidth": 0.8, "shrinkB": 0}
    box = {"facecolor": "#fafaf8", "edgecolor": "none"}
    axes.add_artist(
        AnnotationBbox(
            packed, tuple(point), xybox=slot, boxcoords="axes fraction", arrowprops=line, bboxprops=box, pad=0.15
        )
    )
    axes.plot(*point, "o", markersize=6, markerfacecolor="none", markeredgecolor="#1e2024", zorder=3)
