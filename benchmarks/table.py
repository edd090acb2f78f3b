"""Results as CSV files."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


def write(path: Path | None, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write ``path``, with the ending .csv, and the directory it is in if need be; nothing if ``path`` is None."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def last(path: Path, column: str) -> int:
    """The whole number in a column of the last row; 0 where there is none."""
    rows = read(path)
    return int(rows[-1][column]) if rows else 0


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file by column; none if it is not there."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
