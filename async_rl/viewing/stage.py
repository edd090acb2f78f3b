"""The whole picture: the game in colour at the left, beside it what the agent thinks. From numbers to pixels."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from async_rl.types import EnvSpec
from async_rl.viewing import canvas as draw
from async_rl.viewing.canvas import BACKGROUND, FAINT, Box
from async_rl.viewing.panels import HEADING, Inputs, Preferences, Scales, ValueCurve
from async_rl.viewing.play import Moment

_MARGIN, _TITLE, _PANEL, _SPACE = 24, 44, 460, 22
_NUMBERS = 62
_LARGEST = (720, 630)
"""Columns and rows that the game may take; it is enlarged by the whole number that fits."""
_CURVE_SECONDS = 10.0
_LEAST_CURVE = 150


_HEAT = (np.linspace(0, 1, 256)[:, None] ** np.array((0.9, 1.5, 4.0)) * (255, 200, 60)).astype(np.uint8)
"""Colours of heat: black, red, orange, yellow; they are added to the picture."""


@dataclass(frozen=True)
class Titles:
    """What stands above the picture.

    Attributes:
        game: its name.
        agent: how it was trained.
        note: something to be known about this recording.
    """

    game: str
    agent: str
    note: str = ""


def overlay(picture: np.ndarray, heat: np.ndarray, scale: tuple[float, float]) -> np.ndarray:
    """``picture`` [height, width, 3] in dark grey, with ``heat`` [any height, any width] over it from red to yellow.

    ``scale`` is (the heat up to which there is no colour, the heat of full colour).
    """
    height, width = picture.shape[:2]
    low, high = scale
    part = np.clip((heat - low) / max(high - low, 1e-12), 0, 1)
    smooth = cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR)
    colours = _HEAT[(smooth * 255).astype(np.uint8)]
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    shown = cv2.cvtColor(cv2.convertScaleAbs(grey, alpha=0.6), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(shown, 1.0, colours, 0.85, 0)


def enlarged(picture: np.ndarray) -> tuple[int, int]:
    """(width, height) at which ``picture`` is shown: a multiple of its own, or the largest that fits."""
    height, width = picture.shape[:2]
    scale = min(_LARGEST[0] / width, _LARGEST[1] / height)
    scale = int(scale) if scale >= 1 else scale
    return max(1, round(width * scale)), max(1, round(height * scale))


class Stage:
    """Puts pictures together; the same numbers give the same pixels.

    Args:
        titles: what stands above.
        spec: of the environment.
        scales: of the recording.
        picture: any picture of the game, for its size.
        steps_per_second: of the game.
        policy: whether the agent has a policy instead of values of actions.

    Attributes:
        size: (width, height) of the whole, both even as videos need them.
        game: where the game is shown.
        preferences, curve, inputs: the parts at the right.
    """

    def __init__(
        self, titles: Titles, spec: EnvSpec, scales: Scales, picture: np.ndarray, steps_per_second: float, policy: bool
    ) -> None:
        self._steps_per_second = steps_per_second
        self.steps_shown = max(2, round(_CURVE_SECONDS * steps_per_second))
        width, height = enlarged(picture)
        bars, inputs = Preferences.height(len(spec.action_names)), HEADING + Inputs.SIZE
        fixed = _NUMBERS + bars + inputs + 2 * _SPACE
        content = max(height, fixed + _LEAST_CURVE)
        top, x = _MARGIN + _TITLE, _MARGIN + width + _SPACE + 6
        self.game = Box(_MARGIN, top, width, height)
        self._numbers = Box(x, top, _PANEL, _NUMBERS)
        curve = Box(x, top + _NUMBERS + bars + _SPACE, _PANEL, content - fixed)
        self.preferences = Preferences(Box(x, top + _NUMBERS, _PANEL, bars), spec, scales, policy)
        self.curve = ValueCurve(curve, scales, self.steps_shown, _CURVE_SECONDS)
        self.inputs = Inputs(Box(x, curve.bottom + _SPACE, _PANEL, inputs), spec)
        self.size = (_even(x + _PANEL + _MARGIN), _even(top + content + _MARGIN))
        self._background = self._prepare(titles)

    def _prepare(self, titles: Titles) -> np.ndarray:
        canvas = np.empty((self.size[1], self.size[0], 3), np.uint8)
        canvas[:] = BACKGROUND
        draw.text(canvas, _MARGIN, _MARGIN - 8, titles.game, draw.LARGE)
        after = _MARGIN + draw.text_width(titles.game, draw.LARGE) + 16
        subtitle = draw.shortened(titles.agent, draw.NORMAL, self.size[0] - _MARGIN - after)
        draw.text(canvas, after, _MARGIN + 4, subtitle, draw.NORMAL, FAINT)
        draw.text(canvas, _MARGIN, self.size[1] - 20, titles.note, draw.SMALL, FAINT)
        for part in (self.preferences, self.curve, self.inputs):
            part.prepare(canvas)
        for number, label in enumerate(("score", "step", "time", "game")):
            draw.text(canvas, self._column(number), self._numbers.y - 4, label, colour=FAINT)
        return canvas

    def _column(self, number: int) -> int:
        return self._numbers.x + number * _PANEL // 4

    def decision(self, recent: Sequence[Moment]) -> np.ndarray:
        """A new picture of the last of the ``recent`` moments, without the game; the others are for the curve."""
        canvas, now = self._background.copy(), recent[-1]
        self.numbers(canvas, now)
        self.preferences.draw(canvas, now)
        self.curve.draw(canvas, recent[-self.steps_shown :])
        self.inputs.draw(canvas, now.observation)
        return canvas

    def numbers(self, canvas: np.ndarray, now: Moment) -> None:
        """Write score, step, time and game over those that are there."""
        row = Box(self._numbers.x, self._numbers.y + 12, _PANEL, round(1.3 * draw.LARGE))
        draw.fill(canvas, row, BACKGROUND)
        seconds = int(now.step / self._steps_per_second)
        shown = (f"{now.score:,.10g}", f"{now.step:,}", f"{seconds // 60}:{seconds % 60:02}", str(now.game + 1))
        for number, value in enumerate(shown):
            size = draw.LARGE if draw.text_width(value, draw.LARGE) < _PANEL // 4 else draw.NORMAL
            draw.text(canvas, self._column(number), row.y, value, size)

    def place(self, canvas: np.ndarray, picture: np.ndarray) -> None:
        """Show ``picture`` as the game, on a picture that `decision` made."""
        box = self.game
        larger = picture.shape[0] > box.height
        way = cv2.INTER_AREA if larger else cv2.INTER_NEAREST
        canvas[box.y : box.bottom, box.x : box.right] = cv2.resize(picture, (box.width, box.height), interpolation=way)


def _even(size: int) -> int:
    return size + size % 2
