"""Folders in the system's temporary directory, which a process that is killed cannot remove: another one does later.

Each has a file that its process keeps locked. The lock is the kernel's (flock) and ends with the process, however that
dies, so a folder whose file nobody holds has been left behind.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

PREFIX = "async_rl_"
"""Begin of the names of folders that are made here."""

_FILE = "held"
_PATTERNS = (f"{PREFIX}*/{_FILE}", f"pymp-*/{_FILE}")  # the others are multiprocessing's


def hold(folder: Path) -> int:
    """Remove what killed processes have left, and keep ``folder`` from being removed so, where the file system can.

    Returns:
        The descriptor that keeps it, as long as it is open.
    """
    _sweep()
    locked = folder / f"{_FILE}_soon"  # renamed when it is locked, so that no other process takes it for left behind
    descriptor = os.open(locked, os.O_CREAT | os.O_WRONLY)
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        locked.rename(folder / _FILE)
    return descriptor


def _sweep() -> None:
    for pattern in _PATTERNS:
        for path in Path(tempfile.gettempdir()).glob(pattern):
            with contextlib.suppress(OSError), path.open("r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path.parent, ignore_errors=True)
