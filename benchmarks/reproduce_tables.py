"""The tables of the README, made out of the rows of results."""

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from async_rl.card import markdown_table
from async_rl.checking import reason
from async_rl.naming import game_title
from async_rl.published import PUBLISHED
from async_rl.types import UserError
from benchmarks.reproduce_results import Row
from benchmarks.reproduce_studies import OPTIMIZERS, Task


def games_table(rows: Sequence[Row]) -> str:
    """One-step Q beside the paper's 16 threads, in training and evaluated."""
    header = (
        "game",
        "steps",
        "hours",
        "after 1 hour",
        "paper",
        "last 100 games",
        "paper, 10M",
        "ε 0.05",
        "ε 0.01",
        "human = 1",
    )
    lines = []
    for row in rows:
        points = PUBLISHED[row.game].points if row.game in PUBLISHED else ()
        hour = next((point.score for point in points if point.hours), None)
        end = next((point.score for point in points if point.steps), None)
        lines.append(
            (
                _game(row, rows), _millions(row.total_steps), f"{row.hours:.2f}", _after_an_hour(row),
                _about(hour), _score(row.score), _about(end), _with_error(row.evaluation_005, row.error_005),
                _with_error(row.evaluation_001, row.error_001),
                "" if row.human_normalised is None else f"{row.human_normalised:.2f}",
            )
        )  # fmt: skip
    return markdown_table(header, lines)


def _game(row: Row, rows: Sequence[Row]) -> str:
    """With the seed, where it is another one than that of the first row."""
    return game_title(row.game) + ("" if row.seed == rows[0].seed else f", seed {row.seed}")


def methods_table(rows: Sequence[Row]) -> str:
    """Methods side by side."""
    header = (
        "game",
        "method",
        "steps",
        "hours",
        "after 20 minutes",
        "after 1 hour",
        "last 100 games",
        "best, at",
        "ε 0.05 (A3C: its policy)",
        "ε 0.01",
        "memory",
    )
    lines = [
        (
            _game(row, rows), row.method, _millions(row.total_steps), f"{row.hours:.2f}",
            _score(row.score_20_minutes), _score(row.score_1_hour), _score(row.score),
            "" if row.best_steps is None else f"{_score(row.best)}, {_millions(row.best_steps)}",
            _with_error(row.evaluation_005, row.error_005), _with_error(row.evaluation_001, row.error_001),
            "" if row.memory_mib is None else f"{row.memory_mib / 1024:.1f} GiB",
        )
        for row in rows
    ]  # fmt: skip
    return markdown_table(header, lines)


def streams_table(rows: Sequence[Sequence[Any]]) -> str:
    """Steps and time to learn a task, and the paper's factors, whose threads had a stream and a core each."""
    header = (
        "method", "streams", "steps, median (quartiles)", "seconds", "fewer steps", "faster",
        "the paper: fewer steps", "faster",
    )  # fmt: skip
    lines = [
        (
            str(method), f"{streams}", _spread(steps, low, high) + (_missing(runs, reached) if reached else ""),
            _number(seconds, 1), _number(fewer, 2), _number(faster, 2), f"{paper / streams:.2f}", f"{paper:.1f}",
        )
        for method, streams, runs, reached, steps, low, high, seconds, fewer, faster, paper in rows
    ]  # fmt: skip
    return markdown_table(header, lines)


def _spread(middle: float, low: float, high: float) -> str:
    """A median, with the quartiles where there are more runs than one."""
    return f"{_count(middle)}" + (f" ({_count(low)} to {_count(high)})" if low < high else "")


def robustness_table(rows: Sequence[Sequence[Any]], task: Task) -> str:
    """Of each optimiser, how many runs learnt, and over which learning rates."""
    header = ("optimiser", "runs", "median score", f"learnt ({task.score:g})", "learning rates that did")
    lines = []
    for name in OPTIMIZERS:
        own = [row for row in rows if row[0] == name]
        if not own:
            continue
        rates = [row[2] for row in own if row[3] >= task.score]
        span = f"{min(rates):.1e} to {max(rates):.1e}" if rates else ""
        median = statistics.median(row[3] for row in own)
        lines.append((name, f"{len(own)}", f"{median:.2f}", f"{len(rates)}", span))
    return markdown_table(header, lines)


def fill_in(readme: Path, part: str, text: str) -> None:
    """Put a table between ``<!-- reproduce: PART -->`` and the next ``<!-- end -->`` of a file.

    Raises:
        UserError: there are no such lines, or the file cannot be read or written.
    """
    before, after = around(readme, part)
    try:
        readme.write_text(f"{before}{text}\n{after}", encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot fill in {readme}: {reason(error)}.") from None


def around(readme: Path, part: str) -> tuple[str, str]:
    """What stands before and after the place of a table, its two lines included; raises `UserError` as `fill_in`."""
    start, end = f"<!-- reproduce: {part} -->\n", "<!-- end -->"
    try:
        before, found, rest = readme.read_text(encoding="utf-8").partition(start)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {readme}: {reason(error)}.") from None
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise UserError(f"{readme} has no lines {start.strip()} and {end} for the table.")
    return before + start, end + after


def _after_an_hour(row: Row) -> str:
    """The score then, or where training was over before, the last one and when."""
    over = row.score is not None and row.score_1_hour is None and row.evaluation_005 is not None
    return f"{_score(row.score)} at {60 * row.hours:.0f} min" if over else _score(row.score_1_hour)


def _millions(steps: float) -> str:
    return f"{steps / 1e6:.1f}M"


def _count(steps: float) -> str:
    return f"{steps:,.0f}" if math.isfinite(steps) else "never"


def _number(value: float, digits: int) -> str:
    """Of seconds or a ratio; what was never reached has none."""
    return f"{value:.{digits}f}" if 0 < value < math.inf else ""


def _missing(runs: int, reached: int) -> str:
    return "" if runs == reached else f"; {runs - reached} of {runs} not at all"


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.1f}"


def _about(value: float | None) -> str:
    return "" if value is None else f"~{value:,.0f}"


def _with_error(mean: float | None, error: float | None) -> str:
    if mean is None:
        return ""
    return _score(mean) if error is None or math.isnan(error) else f"{_score(mean)} ± {_score(error)}"
