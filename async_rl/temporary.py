"""Folders in the system's temporary directory, which a process that is killed cannot remove: another one does later.

Each has a file that its process keeps locked. The lock is the kernel's (flock) and ends with the process, however that
dies, so a folder whose file nobody holds has been left behind.
"""

import contextlib
import fcntl
import shutil
import tempfile
from pathlib import Path
from typing import IO

PREFIX = "async_rl_"
"""Begin of the names of folders that are made here."""

_FILE = "held"
_PATTERNS = (f"{PREFIX}*/{_FILE}", f"pymp-*/{_FILE}")  # the others are multiprocessing's


def hold(folder: Path) -> IO[bytes]:
    """A file in ``folder``, to be kept open for as long as that is needed; it is locked, where the file system can."""
    locked = folder / f"{_FILE}_soon"  # renamed when it is locked, so that no other process takes it for left behind
    file = locked.open("wb")
    with contextlib.suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        locked.rename(folder / _FILE)
    return file


def sweep() -> None:
    """Remove the folders of processes that were killed."""
    for pattern in _PATTERNS:
        for path in Path(tempfile.gettempdir()).glob(pattern):
            with contextlib.suppress(OSError), path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path.parent, ignore_errors=True)
