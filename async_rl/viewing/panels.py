"""The parts beside the game: what the agent prefers, how it values the moment, what it sees.

Each part draws what never changes once, by ``prepare``, and the rest by ``draw``. All scales are those of the whole
recording, so nothing but the quantities themselves moves.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from async_rl.types import EnvSpec
from async_rl.viewing import canvas as draw
from async_rl.viewing.canvas import BLUE, FAINT, GREEN, LINE, ORANGE, PURPLE, RAISED, TEXT, VERMILION, Box, Colour
from async_rl.viewing.play import Moment
from async_rl.viewing.scene import observation_picture

HEADING = 26
"""Rows that the heading of a part takes."""

_NAME, _NUMBER, _ADVANTAGE, _GAP, _LEGEND = 132, 62, 104, 10, 24
_DOT = 5


@dataclass(frozen=True)
class Scales:
    """Ranges of what is shown, over a whole recording.

    Attributes:
        preferences: (lowest, highest) Q with 0 among them; (0, 1) for a policy.
        advantage: |Q - mean Q| of a full bar; the few that are larger are cut.
        value: (lowest, highest) V.
        heat: the saliency that has no colour, and that of full colour; 0 where none is shown.
        rare_rewards: whether so few steps have a reward that each can be marked.
    """

    preferences: tuple[float, float]
    advantage: float
    value: tuple[float, float]
    heat: tuple[float, float] = (0.0, 0.0)
    rare_rewards: bool = True


class Preferences:
    """A row for each action: its name, a bar for Q or pi, the number and, for Q, how far it is from the mean action.

    The values of all actions mostly move together: which one is better shows in the second bar, whose scale is its own.

    Attributes:
        box: where it is.
        bars: (first column, width) of the range of the first bars.
        row: rows from one action to the next.
    """

    def __init__(self, box: Box, spec: EnvSpec, scales: Scales, policy: bool) -> None:
        self.box, self._scales, self._policy = box, scales, policy
        self._names = [draw.shortened(name, draw.SMALL, _NAME - 22) for name in spec.action_names]
        self.row = (box.height - HEADING - _LEGEND) // len(self._names)
        left, right = box.x + _NAME, box.right - (0 if policy else _ADVANTAGE + _GAP)
        self.bars = (left, right - _NUMBER - left)
        self._number_right = right
        self._middle = box.right - _ADVANTAGE // 2
        low, high = scales.preferences
        self._decimals = draw.decimals(high - low)

    @staticmethod
    def height(actions: int) -> int:
        """Rows that the part takes."""
        return HEADING + actions * int(np.clip(220 // actions, 18, 30)) + _LEGEND

    def bar(self, value: float) -> tuple[int, int]:
        """(first column, width) of the bar from 0 to ``value``."""
        low, high = self._scales.preferences
        left, width = self.bars
        ends = sorted(np.clip((end - low) / (high - low), 0, 1) * width for end in (0.0, value))
        return left + round(ends[0]), round(ends[1]) - round(ends[0])

    def prepare(self, canvas: np.ndarray) -> None:
        """Draw headings, names and zero lines."""
        box, (left, _) = self.box, self.bars
        draw.text(canvas, left, box.y, "policy" if self._policy else "Q(s, a)", colour=FAINT)
        self._prepare_legend(canvas)
        zeros = [self.bar(0.0)[0]]
        if not self._policy:
            draw.text(canvas, self._middle, box.y, "Q - mean", colour=FAINT, align="centre")
            zeros.append(self._middle)
        for number, name in enumerate(self._names):
            draw.text(canvas, box.x + 18, self._text_y(number), name, colour=FAINT)
        for zero in zeros:
            draw.fill(canvas, Box(zero - 1, box.y + HEADING - 2, 1, self.row * len(self._names)), LINE)

    def _prepare_legend(self, canvas: np.ndarray) -> None:
        x, y = self.bars[0], self.box.bottom - _LEGEND + 6
        for colour, label in ((ORANGE, "chosen"), (PURPLE, "chosen at random")):
            draw.fill(canvas, Box(x, y + 2, 11, 11), colour)
            draw.text(canvas, x + 18, y, label, colour=FAINT)
            x += 18 + draw.text_width(label, draw.SMALL) + 20

    def _text_y(self, number: int) -> int:
        return self.box.y + HEADING + number * self.row + (self.row - 20) // 2

    def draw(self, canvas: np.ndarray, moment: Moment) -> None:
        """Draw the bars of a moment; the row of the action that was chosen stands out."""
        mean = float(moment.preferences.mean())
        for number, preference in enumerate(moment.preferences.tolist()):
            chosen, y = number == moment.action, self.box.y + HEADING + number * self.row
            colour = (PURPLE if moment.random else ORANGE) if chosen else BLUE
            if chosen:
                draw.text(canvas, self.box.x + 18, self._text_y(number), self._names[number])
                draw.fill(canvas, Box(self.box.x, y + 1, 8, self.row - 6), colour)
            x, width = self.bar(preference)
            draw.fill(canvas, Box(x, y + 1, width, self.row - 6), colour)
            shown = f"{preference:.{self._decimals}f}"
            text_colour = TEXT if chosen else FAINT
            draw.text(canvas, self._number_right, self._text_y(number), shown, colour=text_colour, align="right")
            if not self._policy:
                self._draw_advantage(canvas, y, preference - mean, colour)

    def _draw_advantage(self, canvas: np.ndarray, y: int, advantage: float, colour: Colour) -> None:
        part = float(np.clip(advantage / self._scales.advantage, -1, 1)) if self._scales.advantage else 0.0
        width = round(part * (_ADVANTAGE // 2))
        draw.fill(canvas, Box(self._middle + min(width, 0), y + 1, abs(width), self.row - 6), colour)


class ValueCurve:
    """V(s) over the last seconds; rewards are marked where they are rare.

    Args:
        box: where.
        scales: of the recording.
        steps: the width in steps.
        seconds: the same in seconds of the game.

    Attributes:
        plot: where the curve is.
    """

    def __init__(self, box: Box, scales: Scales, steps: int, seconds: float) -> None:
        self.plot = Box(box.x + 48, box.y + HEADING, box.width - 48, box.height - HEADING - 20)
        self._box, self._scales, self._steps, self._seconds = box, scales, steps, seconds
        low, high = scales.value
        pad = max(0.08 * (high - low), 1e-6)
        self._range = low - pad, high + pad

    def y(self, value: float) -> float:
        """The row, with its fraction, at which ``value`` lies."""
        low, high = self._range
        return self.plot.bottom - (value - low) / (high - low) * self.plot.height

    def prepare(self, canvas: np.ndarray) -> None:
        """Draw the frame, its labels and the lines at round values."""
        plot = self.plot
        draw.fill(canvas, plot, RAISED)
        draw.text(canvas, plot.x, self._box.y, "V(s)", colour=FAINT)
        if self._scales.rare_rewards:
            self._prepare_marks(canvas)
        for tick, label in _ticks(*self._range):
            row = round(self.y(tick))
            draw.fill(canvas, Box(plot.x, row, plot.width, 1), LINE)
            draw.text(canvas, plot.x - 8, row - 9, label, colour=FAINT, align="right")
        draw.text(canvas, plot.x, plot.bottom + 4, f"{self._seconds:.0f} s ago", colour=FAINT)
        draw.text(canvas, plot.right, plot.bottom + 4, "now", colour=FAINT, align="right")

    def _prepare_marks(self, canvas: np.ndarray) -> None:
        x = self.plot.right
        for label, up in (("loss", False), ("gain", True)):
            draw.text(canvas, x, self._box.y, label, colour=FAINT, align="right")
            x -= draw.text_width(label, draw.SMALL) + 12
            draw.triangle(canvas, x, self._box.y + 9, 5, GREEN if up else VERMILION, up)
            x -= 20

    def draw(self, canvas: np.ndarray, recent: Sequence[Moment]) -> None:
        """Draw the curve up to the last moment; a new game begins a new line."""
        plot, last = self.plot, len(recent) - 1
        step = (plot.width - _DOT) / max(self._steps - 1, 1)
        xs = [plot.right - _DOT - (last - number) * step for number in range(len(recent))]
        start = 0
        for number, moment in enumerate(recent):
            if self._scales.rare_rewards and moment.reward:
                up = moment.reward > 0
                y = plot.y + 9 if up else plot.bottom - 9
                draw.triangle(canvas, min(xs[number] + step, plot.right - _DOT), y, 5, GREEN if up else VERMILION, up)
            if number == last or recent[number + 1].game != moment.game:
                points = [(xs[index], self.y(recent[index].value)) for index in range(start, number + 1)]
                draw.curve(canvas, np.array(points), BLUE)
                start = number + 1
        centre = (round(xs[-1] * 16), round(self.y(recent[-1].value) * 16))
        cv2.circle(canvas, centre, (_DOT - 1) * 16, TEXT, -1, cv2.LINE_AA, shift=4)


def _ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Two to five round values between the limits, with their labels."""
    least = (high - low) / 4
    unit = 10.0 ** np.floor(np.log10(least))
    factor = next(factor for factor in (1, 2, 2.5, 5, 10) if factor * unit >= least * (1 - 1e-9))
    step, digits = factor * unit, max(0, (factor == 2.5) - int(np.floor(np.log10(factor * unit))))
    ticks = np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step
    return [(float(tick), f"{tick + 0.0:.{digits}f}") for tick in ticks]


class Inputs:
    """What the network sees: small, the screens of a stack one by one, oldest first.

    Attributes:
        box: where it is.
    """

    SIZE = 84

    def __init__(self, box: Box, spec: EnvSpec) -> None:
        self.box, self._stack = box, spec.stack
        self._shown = spec.stack if len(spec.observation_shape) == 3 else 1
        self._between = (box.width - self.SIZE) / max(self._shown - 1, 1)

    def prepare(self, canvas: np.ndarray) -> None:
        """Draw the heading."""
        heading = "what the network sees" + (", oldest first" if self._stack > 1 else "")
        draw.text(canvas, self.box.x, self.box.y, heading, colour=FAINT)

    def draw(self, canvas: np.ndarray, observation: np.ndarray) -> None:
        """Draw the channels of an observation."""
        for number, picture in enumerate(_channels(observation, self._shown)):
            height, width = picture.shape[:2]
            scale = self.SIZE / max(height, width)
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST)
            x, y = self.box.x + round(number * self._between), self.box.y + HEADING
            canvas[y : y + size[1], x : x + size[0]] = small


def _channels(observation: np.ndarray, count: int) -> list[np.ndarray]:
    if count == 1:
        return [observation_picture(observation)]
    return [observation_picture(observation[:, :, number : number + 1]) for number in range(count)]
