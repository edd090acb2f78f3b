"""Append-only CSV files that survive a kill, a resume and a full disk.

Every call opens the file, appends its rows and closes it again, so that nothing waits in a buffer of this
process and a directory that comes back (a remounted disk) is found again. At a report every few seconds the
price, some 50 microseconds, does not matter.
"""

import contextlib
import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from async_rl import storage
from async_rl.reporting.outage import Outage

PENDING_ROWS = 10_000
"""Rows kept in memory while the file cannot be written; beyond that the oldest are given up."""

_LONGEST_LINE = 10_000  # characters; beyond it a line of a damaged file is no row
NEW_RUN = -1
"""``last_step`` of a run that has trained nothing: whatever the file holds belongs to another run."""


def readable_rows(file: TextIO) -> Iterator[dict[str, str]]:
    """The rows of a CSV file that may be damaged; a line too long to be one is left out."""
    lines = (line.replace("\0", "") for line in file if len(line) < _LONGEST_LINE)
    yield from csv.DictReader(lines, quoting=csv.QUOTE_NONE)


class CsvLog:
    """One CSV file with a header; its first column is T, ``total_steps``.

    When it is opened, rows beyond ``last_step`` are moved to ``<name>.discarded.csv``: the run goes on from that
    step and will log them again. No method raises when the file cannot be written: that is told to ``say`` once,
    and the rows are tried again with the next ones.
    """

    def __init__(self, path: Path, columns: Sequence[str], last_step: int, say: Callable[[str], None]) -> None:
        self._path = path
        self._header = ",".join(columns)
        self._last_step = last_step
        self._cut_is_due = True
        self._pending: list[str] = []
        self._outage = Outage(path.name, say)
        self._flush()

    def write(self, rows: Iterable[Sequence[float]]) -> None:
        """Append rows, each with one number for every column; they are in the file when this returns."""
        self._pending.extend(",".join(map(_number, row)) for row in rows)
        if self._pending:
            self._flush()

    def close(self) -> None:
        """Try once more to write what could not be written; each row written before is in the file already."""
        if self._pending:
            self._flush()

    def _flush(self) -> None:
        rows, self._pending = self._pending, []  # so that a second Ctrl-C in between repeats none
        try:
            if self._cut_is_due:
                cut(self._path, self._header, self._last_step)
                self._cut_is_due = False
            _append(self._path, self._header, rows)
        except OSError as error:
            self._pending = rows[-PENDING_ROWS:]
            self._outage.failed(error)
        else:
            self._outage.succeeded()


def cut(path: Path, header: str, last_step: int) -> None:
    """Move the rows of a CSV file with T > ``last_step`` to ``<name>.discarded.csv``, atomically.

    A torn last line, or another row that does not hold a number for each column, is dropped. Where the header is
    not ``header`` the rows have other columns, so all of them are moved, with their header. A kill in the middle can
    repeat rows in the discarded file, never in the log itself.

    Raises:
        OSError: the file cannot be read, or one of the two cannot be written.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    lines = content.decode("utf-8", "replace").split("\n")[:-1]  # what follows the last newline is torn, or nothing
    if lines and lines[0] != header:
        keep, discard = [], lines
    else:
        rows = [(step, line) for line in lines[1:] if (step := _step(line, header)) is not None]
        keep = lines[:1] + [line for step, line in rows if step <= last_step]
        discard = [line for step, line in rows if step > last_step]
    kept = "".join(line + "\n" for line in keep).encode()
    if kept == content:
        return
    if discard:
        _append(path.with_name(f"{path.stem}.discarded{path.suffix}"), header, discard)
    storage.write(path, kept)


def _append(path: Path, header: str, lines: Iterable[str]) -> None:
    """Append lines, after the header if the file is new or empty; all of them or, where that can be had, none."""
    with path.open("ab", buffering=0) as file:  # no buffer: closing after a failure must not write once more
        start = file.tell()
        text = "".join(line + "\n" for line in ([header] if start == 0 else []) + list(lines))
        rest = memoryview(text.encode())
        try:
            while rest:
                rest = rest[file.write(rest) :]  # a disk that is getting full takes a part only
        except OSError:
            with contextlib.suppress(OSError):
                file.truncate(start)
            raise


def _step(line: str, header: str) -> int | None:
    """T of a row; None if the row is not one number for each column."""
    values = line.split(",")
    if len(values) != header.count(",") + 1:
        return None
    try:
        for value in values:
            float(value)
        return int(values[0])
    except ValueError:
        return None


def _number(value: float) -> str:
    """Integers in full, other numbers with nine digits: enough for every float32."""
    return str(value) if isinstance(value, int) else format(value, ".9g")
