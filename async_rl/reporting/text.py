"""Numbers as text for the terminal: durations, the remaining time, and a curve in one line."""

import itertools
import math
from collections.abc import Sequence

from async_rl.reporting.report import Report

MISSING = "-"
BLOCKS = "▁▂▃▄▅▆▇█"
ASCII_BLOCKS = "_.-=+*%#"


def duration(seconds: float) -> str:
    """Seconds as text with two units: ``45 s``, ``3 min 05 s``, ``1 h 02 min``, ``2 d 03 h``; ``-`` if not finite."""
    if not math.isfinite(seconds):
        return MISSING
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    minutes = round(whole / 60)
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    hours = round(whole / 3600)
    return f"{hours // 24} d {hours % 24:02} h"


def number(value: float, spec: str) -> str:
    """``value`` formatted by ``spec``; ``-`` if it is not finite."""
    return format(value, spec) if math.isfinite(value) else MISSING


def printable(text: str, encoding: str) -> str:
    """``text`` with what ``encoding`` does not know replaced by question marks, in one line and without controls."""
    line = "".join(letter if letter.isprintable() else " " for letter in text)
    return line.encode(encoding, "replace").decode(encoding)


class Remaining:
    """Seconds to the end of the run, from the speed of about the last ``memory_seconds``."""

    def __init__(self, memory_seconds: float = 60.0) -> None:
        self._memory_seconds = memory_seconds
        self._steps = 0.0
        self._seconds = 0.0
        self._last_seconds = math.nan

    def update(self, report: Report) -> float:
        """Take in a report and return the seconds that remain; NaN while no speed is known."""
        first = math.isnan(self._last_seconds)
        elapsed = 1.0 if first else report.seconds - self._last_seconds
        self._last_seconds = report.seconds
        if elapsed > 0 and (report.steps_per_second > 0 or self._steps > 0):  # not while the workers start
            kept = math.exp(-elapsed / self._memory_seconds)
            self._steps = kept * self._steps + elapsed * report.steps_per_second
            self._seconds = kept * self._seconds + elapsed
        left = max(0, report.steps_goal - report.total_steps)
        if left == 0:
            return 0.0
        return left * self._seconds / self._steps if self._steps > 0 else math.nan


class History:
    """A whole curve in bounded memory: when it is full every second value goes, and only every second one comes."""

    def __init__(self, capacity: int = 512) -> None:
        self._capacity = capacity
        self._stride = 1
        self._offered = 0
        self.values: list[float] = []

    def add(self, value: float) -> None:
        """Add the next value; one that is not finite is passed over."""
        if not math.isfinite(value):
            return
        if self._offered % self._stride == 0:
            self.values.append(value)
            if len(self.values) == self._capacity:
                del self.values[1::2]
                self._stride *= 2
        self._offered += 1


def sparkline(values: Sequence[float], width: int, blocks: str = BLOCKS) -> str:
    """The curve of ``values`` as at most ``width`` characters, the lowest and highest block at its least and most."""
    count = min(len(values), max(0, width))
    edges = [index * len(values) // count for index in range(count + 1)] if count else []
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    if not means:
        return ""
    low, span = min(means), max(means) - min(means)
    top = len(blocks) - 1
    return "".join(blocks[round((mean - low) / span * top) if span > 0 else 0] for mean in means)
