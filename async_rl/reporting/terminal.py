"""The run on the terminal: a live panel for a person, plain lines for a file or a pipe."""

import contextlib
import os
import sys
import time
from collections import deque
from pathlib import Path
from typing import Protocol, TextIO

from rich.console import Console

from async_rl.config import Config
from async_rl.reporting.panel import PanelText
from async_rl.reporting.report import Report
from async_rl.reporting.text import Remaining, duration, number, printable


class Terminal(Protocol):
    """Shows the reports of one run; no method raises when the terminal has gone."""

    interval_seconds: float
    """Seconds between two reports that make sense for this terminal."""

    def show(self, report: Report) -> None:
        """Show the newest report."""

    def say(self, message: str) -> None:
        """Say an event in one line, such as "worker 3 died (SIGKILL), started again"."""

    def close(self) -> None:
        """Show the last state and give the terminal back; a second call does nothing."""


def terminal(config: Config, run_dir: Path, stream: TextIO | None = None) -> Terminal:
    """A `Panel` if ``stream`` (default: standard output, if there is any) can move its cursor, else `Lines`."""
    stream = stream or sys.stdout
    if stream is None:  # a program without a terminal, such as a service
        return Quiet()
    if stream.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown"):
        return Panel(config, run_dir, Console(file=stream, force_terminal=True))
    return Lines(config.report_seconds, stream, config.profile)


class Panel:
    """One live panel that is drawn anew in place; messages scroll by above it."""

    interval_seconds = 1.0

    def __init__(self, config: Config, run_dir: Path, console: Console) -> None:
        from rich.live import Live  # not needed for plain lines

        self._text = PanelText(f"{config.env}  {config.algorithm}", str(run_dir), config.profile)
        self._console = console
        self._live = Live(console=console, auto_refresh=False)
        self._report: Report | None = None
        self._drawn: Report | None = None
        self._draw_after = 0.0
        self._closed = False
        self._gone = False  # the terminal has failed; the console would collect what it cannot write

    def show(self, report: Report) -> None:
        """Take the report and draw it, but at most about once a second: drawing costs milliseconds."""
        self._text.add(report)
        self._report = report
        now = time.monotonic()
        if now >= self._draw_after:
            self._draw_after = now + 0.95 * self.interval_seconds  # a caller a little early is not put off a second
            self._draw()

    def say(self, message: str) -> None:
        """Print one line above the panel, with the time of day."""
        if self._gone:
            return
        text = f"{time.strftime('%H:%M:%S')}  {message}"
        try:
            line = printable(text, self._console.encoding)
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)
        except (OSError, ValueError):
            self._gone = True

    def close(self) -> None:
        """Draw the last report, leave it on the screen and give the cursor back."""
        if self._closed:
            return
        self._closed = True
        if self._report is not self._drawn:
            self._draw()
        with contextlib.suppress(OSError, ValueError):
            self._live.stop()

    def _draw(self) -> None:
        if self._report is None or self._gone:
            return
        self._drawn = self._report
        renderable = self._text.render(self._report, self._console.width, self._console.encoding)
        try:
            self._live.start()
            self._live.update(renderable, refresh=True)
        except (OSError, ValueError):  # the terminal was closed; training does not depend on it
            self._gone = True


class Lines:
    """One plain line for each report, without any escape codes."""

    def __init__(self, interval_seconds: float, stream: TextIO | None = None, profile: bool = False) -> None:
        self.interval_seconds = interval_seconds
        self._profile = profile
        self._stream = stream or sys.stdout
        self._remaining = Remaining()

    def show(self, report: Report) -> None:
        """Print the report as one line."""
        self._print(line(report, self._remaining.update(report)))
        if self._profile and report.phases:
            self._print("  ".join(f"{phase} {value:.0f}" for phase, value in report.phases.items()) + "  us a step")

    def say(self, message: str) -> None:
        """Print the message as one line."""
        self._print(message)

    def close(self) -> None:
        """Nothing is kept back: every line is flushed when it is printed."""

    def _print(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # a closed pipe must not stop the training
            print(printable(text, self._stream.encoding or "ascii"), file=self._stream, flush=True)


def line(report: Report, remaining_seconds: float) -> str:
    """A report as one line of ASCII text; the columns of numbers stay below each other."""
    restarted = f" ({report.workers_restarted} restarted)" if report.workers_restarted else ""
    dropped = f" ({report.dropped_gradients} dropped)" if report.dropped_gradients else ""
    parts = (
        f"T {report.total_steps:>{len(f'{report.steps_goal:,}')},} ({report.progress:5.1%})",
        f"{number(report.steps_per_second, ',.0f'):>6} steps/s",
        f"{number(report.frames_per_second, ',.0f'):>7} frames/s",
        f"score {number(report.mean_score, ',.1f'):>6} (last {report.games_averaged})  games {report.games:,}",
        f"eps {report.epsilon_min:.2f}-{report.epsilon_max:.2f}",
        f"lr {report.lr:.1e}",
        f"loss {number(report.td_loss, '.2g'):>6}",
        f"Q {number(report.q_value, '.2f'):>5}",
        f"|g| {number(report.gradient_norm, '.2g')}{dropped}",
        f"workers {report.workers_alive}{restarted}",
        f"left {duration(remaining_seconds)}",
    )
    return "  ".join(parts)


class Quiet:
    """Shows nothing; what was said last is kept for `explain`."""

    interval_seconds = float("inf")

    def __init__(self) -> None:
        self._said: deque[str] = deque(maxlen=5)

    def show(self, report: Report) -> None:
        """Nothing."""

    def say(self, message: str) -> None:
        """Keep a line."""
        self._said.append(message)

    def explain(self) -> None:
        """Print what was said last, where a run has failed."""
        print(*self._said, sep="\n", file=sys.stderr)

    def close(self) -> None:
        """Nothing."""
