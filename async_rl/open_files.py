"""How many files a process may have open (ulimit -n), of which each worker takes some of its launcher's."""

import os
import resource
from contextlib import suppress

_FILES, _SPARE_FILES, _FILES_PER_PROCESS = 16, 64, 2
"""Files that a launcher opens beside those it has open, some to spare, and how many more it opens for each process."""

_PIPES_OF_A_START = 5
"""Pipes with as many ends as the start of a process opens files."""


def allow(processes: int) -> int:
    """Let this one, and a fork server to come, have the files open that so many processes need, if the system lets it.

    Returns:
        For how many it does.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return processes
    try:
        used = _FILES + len(os.listdir("/dev/fd"))
    except OSError:  # there is no such folder, or no file can be opened any more
        used = _FILES
    wanted = used + _SPARE_FILES + _FILES_PER_PROCESS * processes
    wanted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return max(0, soft - used) // _FILES_PER_PROCESS


def require_some_left() -> None:
    """Raise OSError where files run out in the midst of a start: the fork server would end of half a request."""
    opened = list[int]()
    try:
        for _ in range(_PIPES_OF_A_START):
            opened += os.pipe()
    finally:
        for file in opened:
            os.close(file)
