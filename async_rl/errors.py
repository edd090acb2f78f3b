"""What a worker leaves behind when it fails: the newest tracebacks, in the run directory.

The file is opened before anything can go wrong, because in a process that has received SIGSEGV nothing can be opened
any more; Python's faulthandler then writes the traceback. Of a worker that ends without an error it stays empty, and
the supervisor removes it.
"""

import contextlib
import faulthandler
import itertools
import os
import traceback
from collections.abc import Iterator
from pathlib import Path

KEPT = 100
"""Files with tracebacks that a run keeps, the newest."""

_PATTERN = "worker*.txt"


@contextlib.contextmanager
def left_in(path: Path) -> Iterator[None]:
    """Leave the traceback of an exception, or of a fault such as SIGSEGV, in a file; the exit code is 1 after the
    former. Where the disk does not let it be written, the end is the same.
    """
    with contextlib.suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        faulthandler.enable(path.open("wb", buffering=0))
    try:
        yield
    except BaseException:  # SystemExit, too: nothing in a worker may end it but its own loop
        with contextlib.suppress(OSError):
            path.write_text(traceback.format_exc(), encoding="utf-8")
        os._exit(1)


def last_line(path: Path) -> str | None:
    """The last line of a traceback: class and text of the exception; None if no exception was written there."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return None
    return lines[-1].removeprefix("async_rl.types.UserError: ") if lines else None


def file_for(folder: Path, worker: int, incarnation: int) -> Path:
    """A file that holds nothing yet. Incarnations of a session that was killed are counted a second time."""
    return free(folder / f"worker{worker}.{incarnation}.txt")


def free(path: Path) -> Path:
    """``path``, or another one with a number if something stands in it."""
    if _holds_something(path):
        path = next(p for n in itertools.count(2) if not _holds_something(p := path.with_suffix(f".{n}.txt")))
    return path


def tidy(ended: Path) -> None:
    """After the worker that could write to ``ended`` is gone: remove an empty file, and all but the `KEPT` newest."""
    with contextlib.suppress(OSError):
        if ended.stat().st_size == 0:
            ended.unlink()
            return
        files = sorted((file.stat().st_mtime_ns, file) for file in ended.parent.glob(_PATTERN) if file.stat().st_size)
        for _, old in files[:-KEPT]:
            old.unlink()


def sweep(folder: Path) -> None:
    """Remove the empty files of a session that was killed with its workers."""
    with contextlib.suppress(OSError):
        for file in folder.glob(_PATTERN):
            if file.stat().st_size == 0:
                file.unlink()


def _holds_something(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:  # there is none, or the directory is gone
        return False
