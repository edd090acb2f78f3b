"""The text of the live panel.

It is laid out by hand in one `rich.text.Text`: a tree of tables, columns and progress bars looks the same and
takes ten times as long to render.
"""

import math
from typing import NamedTuple

from rich.panel import Panel
from rich.text import Text

from async_rl.reporting.report import Report
from async_rl.reporting.text import ASCII_BLOCKS, BLOCKS, History, Remaining, duration, number, printable, sparkline

WIDEST = 120
"""Columns that the panel takes at most, however wide the terminal is."""

_LABEL_WIDTH = 10
_CELL_WIDTH = 27  # the label and "16 (12 restarted)"


class Cell(NamedTuple):
    """One labelled number."""

    label: str
    value: str
    style: str = ""


class PanelText:
    """Keeps what the panel shows beyond the newest report: the course of the mean score and the speed."""

    def __init__(self, title: str, run_dir: str, profile: bool = False) -> None:
        self._title = title
        self._run_dir = run_dir
        self._profile = profile
        self._scores = History()
        self._remaining = Remaining()
        self._remaining_seconds = float("nan")

    def add(self, report: Report) -> None:
        """Take a report into the course of the score and the remaining time; to be called once for each report."""
        self._scores.add(report.mean_score)
        self._remaining_seconds = self._remaining.update(report)

    def render(self, report: Report, columns: int, encoding: str) -> Panel:
        """The panel for a terminal of that many columns; without UTF-8 it is drawn in ASCII."""
        unicode = encoding.lower().startswith("utf")
        width = min(columns, WIDEST)
        inner = max(1, width - 4)
        text = Text(no_wrap=True, overflow="crop" if not unicode else "ellipsis", end="")
        text.append(_tail(printable(self._run_dir, encoding), inner), style="dim")
        self._append_progress(text, report, inner, unicode)
        self._append_scores(text, inner, unicode)
        _append_cells(text, cells(report), inner)
        if self._profile:
            text.append("\n\nmicroseconds of a worker per step", style="dim")
            phases = [Cell(phase.ljust(12), number(value, ".1f")) for phase, value in report.phases.items()]
            _append_cells(text, phases, inner)
        return Panel(
            text,
            title=Text(printable(self._title, encoding), style="bold"),
            subtitle=Text("Ctrl-C stops and saves", style="dim"),
            border_style="blue",
            width=width,
        )

    def _append_progress(self, text: Text, report: Report, inner: int, unicode: bool) -> None:
        percent = f" {report.progress:6.1%}"
        bar = max(0, inner - len(percent))
        done = int(bar * report.progress)
        text.append("\n" + ("━" if unicode else "=") * done, style="green")
        text.append(("━" if unicode else "-") * (bar - done), style="bright_black")
        text.append(percent, style="bold")
        text.append(f"\n{report.total_steps:,}", style="bold")
        goal, left = f" of {report.steps_goal:,} steps", duration(self._remaining_seconds)
        room = inner - len(f"{report.total_steps:,}{goal}, {left} left")
        text.append(goal + (", " if room >= 0 else "\n"), style="dim")
        text.append(left, style="bold")
        text.append(" left\n", style="dim")

    def _append_scores(self, text: Text, inner: int, unicode: bool) -> None:
        values = self._scores.values
        if len(values) < 2:
            return
        span = f"  {min(values):,.1f} to {max(values):,.1f}"
        width = inner - _LABEL_WIDTH - len(span)
        text.append("\n" + "course".ljust(_LABEL_WIDTH), style="dim")
        text.append(sparkline(values, width, BLOCKS if unicode else ASCII_BLOCKS), style="cyan")
        text.append(span, style="dim")


def cells(report: Report) -> list[Cell]:
    """The numbers of a report in the order in which they fill the columns of the panel, from top to bottom."""
    restarted, dropped = report.workers_restarted, report.dropped_gradients
    return [
        Cell("score", f"{number(report.mean_score, ',.1f')} (last {report.games_averaged})", "bold cyan"),
        Cell("best", number(report.best_score, ",.1f")),
        *_evaluated(report),
        Cell("games", f"{report.games:,}"),
        Cell("length", f"{number(report.mean_length_steps, ',.0f')} steps"),
        Cell("time", duration(report.seconds)),
        Cell("speed", f"{number(report.steps_per_second, ',.0f')} steps/s", "bold"),
        Cell("", f"{number(report.frames_per_second, ',.0f')} frames/s"),
        Cell("updates", f"{report.updates:,}"),
        Cell("targets", f"{report.target_refreshes:,}"),
        Cell(
            "workers",
            f"{report.workers_alive}" + (f" ({restarted:,} restarted)" if restarted else ""),
            "yellow" if restarted else "",
        ),
        Cell("TD loss", number(report.td_loss, ".3g")),
        Cell("mean Q", number(report.q_value, ".3g")),
        Cell(
            "gradient",
            number(report.gradient_norm, ".3g") + (f" ({dropped:,} dropped)" if dropped else ""),
            "red" if dropped else "",
        ),
        Cell("lr", f"{report.lr:.2e}"),
        Cell("epsilon", f"{report.epsilon_min:.3g}-{report.epsilon_max:.3g}"),
        *_exchanged(report),
    ]


def _exchanged(report: Report) -> list[Cell]:
    """Of a cluster: what the exchange between its islands costs, and how old what they send is."""
    if not math.isfinite(report.exchange_seconds):
        return []
    return [
        Cell("exchange", f"{report.exchange_bytes_per_step:,.0f} B/step, {report.exchange_share:.1%}"),
        Cell("staleness", f"{number(report.staleness_steps, ',.0f')} steps"),
    ]


def _evaluated(report: Report) -> list[Cell]:
    if not math.isfinite(report.evaluated_score):
        return []
    return [Cell("evaluated", f"{report.evaluated_score:,.1f} (T {report.evaluated_steps / 1e6:.2f}M)", "bold cyan")]


def _append_cells(text: Text, cells: list[Cell], inner: int) -> None:
    """Lay the cells out in as many equal columns, up to three, as there is room for."""
    columns = min(3, max(1, (inner + 1) // (_CELL_WIDTH + 1)))
    rows = -(-len(cells) // columns)
    width = inner // columns
    for row in range(rows):
        text.append("\n")
        for cell in cells[row::rows]:
            label = cell.label.ljust(_LABEL_WIDTH)
            room = max(0, width - len(label))
            text.append(label, style="dim")
            text.append(cell.value[:room].ljust(room), style=cell.style)


def _tail(text: str, width: int) -> str:
    """The end of a text that is too long: the end of a path says more than its beginning."""
    return text if len(text) <= width else "..." + text[len(text) - max(0, width - 3) :]
