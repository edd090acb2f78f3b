"""The points of curves as a CSV file."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from async_rl import storage
from async_rl.plotting.points import Curve

COLUMNS = ("label", "runs", "total_steps", "total_frames", "seconds", "games", "score", "low", "high")


def write_csv(curves: Sequence[Curve], path: Path) -> None:
    """Write one row for each point; see `async_rl.plotting.points.Curve` for what the columns mean.

    Raises:
        UserError: the file cannot be written.
    """
    epsilons = sorted({epsilon for curve in curves for epsilon in curve.by_epsilon})
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([*COLUMNS, *(f"score_epsilon_{epsilon:g}" for epsilon in epsilons)])
    for curve in curves:
        writer.writerows(_rows(curve, epsilons))
    storage.write_result(path, text.getvalue().encode())


def _rows(curve: Curve, epsilons: Sequence[float]) -> list[list[object]]:
    whole = [curve.total_steps, curve.total_frames, curve.seconds, curve.games]
    scores = [curve.score, curve.low, curve.high, *(curve.by_epsilon[epsilon] for epsilon in epsilons)]
    columns = [[round(value) for value in column.tolist()] for column in whole]
    columns += [[round(value, 4) for value in column.tolist()] for column in scores]
    return [[curve.label, curve.runs, *values] for values in zip(*columns, strict=True)]
