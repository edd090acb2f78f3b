"""Which published scores a picture shows as lines, and which it only names because they lie far outside."""

from collections.abc import Sequence
from dataclasses import dataclass

from async_rl.published import PUBLISHED, Point

SHOWN_AGENTS = ("DQN", "A3C")
"""Of `async_rl.published.AGENTS`: the replay agent that everybody knows, and the best asynchronous method."""

ROOM = 0.6
"""A line may lie so far outside the curves, in their own height, before it would squash them."""


@dataclass(frozen=True)
class References:
    """Published scores beside curves.

    Attributes:
        lines: (name, score) to draw, the lowest first.
        beyond: (name, score) too far above or below to draw.
        points: of asynchronous one-step Q-learning on its way.
    """

    lines: tuple[tuple[str, float], ...] = ()
    beyond: tuple[tuple[str, float], ...] = ()
    points: tuple[Point, ...] = ()


def references(games: Sequence[str], low: float, high: float) -> References:
    """What is published for the games of curves that lie between the scores ``low`` and ``high``.

    Several games are drawn human-normalised, so only 0 and 1 are known there.
    """
    points: tuple[Point, ...] = ()
    if len(games) > 1:
        known = [("random play", 0.0), ("human", 1.0)]
    elif games[0] in PUBLISHED:
        game = PUBLISHED[games[0]]
        agents = [(name, game.agents[name]) for name in SHOWN_AGENTS if name in game.agents]
        known, points = [("random play", game.random), ("human", game.human), *agents], game.points
    else:
        return References()
    known = sorted(known, key=lambda line: line[1])
    room = ROOM * max(high - low, 1e-9)
    near = [low - room <= score <= high + room for _, score in known]
    return References(
        lines=tuple(line for line, shown in zip(known, near, strict=True) if shown),
        beyond=tuple(line for line, shown in zip(known, near, strict=True) if not shown),
        points=tuple(point for point in points if point.score <= high + room),
    )


def spread(heights: Sequence[float], least: float) -> list[float]:
    """Heights of labels at least ``least`` apart, each as near to its own of ``heights`` (ascending) as that allows.

    Labels that would touch share a block whose middle is the middle of what they belong to.
    """
    blocks: list[list[float]] = []
    for height in heights:
        blocks.append([height])
        while len(blocks) > 1 and _bottom(blocks[-1], least) - _top(blocks[-2], least) < least:
            last = blocks.pop()
            blocks[-1] += last
    return [_bottom(block, least) + index * least for block in blocks for index in range(len(block))]


def _bottom(block: list[float], least: float) -> float:
    return sum(block) / len(block) - least * (len(block) - 1) / 2


def _top(block: list[float], least: float) -> float:
    return sum(block) / len(block) + least * (len(block) - 1) / 2
