"""Progress on the terminal, for what takes longer than a few seconds."""

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

_PATIENCE_SECONDS = 2.0


class Progress:
    """A bar on standard error for each thing that is told of, once two seconds have passed, if a person sees it."""

    def __init__(self) -> None:
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._shown_from = time.monotonic() + _PATIENCE_SECONDS
        self._started = False

    def tell(self, what: str, done: int, total: int) -> None:
        """``what`` is being done, and has come to ``done`` of ``total``."""
        if what not in self._tasks:
            for task in self._tasks.values():
                self._bars.remove_task(task)
            self._tasks = {what: self._bars.add_task(what, total=total)}
        self._bars.update(self._tasks[what], completed=done)
        if not self._started and time.monotonic() > self._shown_from and self._bars.console.is_terminal:
            self._started = True
            self._bars.start()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        if self._started:
            self._bars.stop()
