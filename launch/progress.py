"""Progress of what takes longer than a few seconds, on standard error."""

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

_PATIENCE_SECONDS = 2.0
_LINE_SECONDS = 10.0


class Progress:
    """A bar for what is told of last, once two seconds have passed; without a terminal a line every ten seconds."""

    def __init__(self) -> None:
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._started = False
        terminal = self._bars.console.is_terminal
        self._due = time.monotonic() + (_PATIENCE_SECONDS if terminal else _LINE_SECONDS)

    def tell(self, what: str, done: int, total: int, note: str = "") -> None:
        """``what`` is being done, and has come to ``done`` of ``total``; ``note`` says more of it."""
        if what not in self._tasks:
            for task in self._tasks.values():
                self._bars.remove_task(task)
            self._tasks = {what: self._bars.add_task(what, total=total, note=note)}
        self._bars.update(self._tasks[what], completed=done, note=note)
        if self._started or time.monotonic() < self._due:
            return
        if self._bars.console.is_terminal:
            self._started = True
            self._bars.start()
        else:
            self._due = time.monotonic() + _LINE_SECONDS
            print(f"{what}: {done:,} of {total:,}  {note}".rstrip(), file=sys.stderr, flush=True)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        if self._started:
            self._bars.stop()
