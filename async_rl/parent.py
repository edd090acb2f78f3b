"""Dying with one's parent, however it dies: no process of a run is left behind.

    launcher --SIGKILL--> x     the kernel kills the fork server with it, and the workers with the fork server;
    fork server --------> x     it reaches processes that are stopped (SIGSTOP), too
    workers ------------> x

Where the kernel does not offer that (macOS), a thread of each worker looks twice a second.
"""

import ctypes
import errno
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing import util
from multiprocessing.connection import wait
from multiprocessing.process import current_process, parent_process
from typing import NoReturn

FORK_SECONDS = 5.0
"""Patience with a system that has no room for another process."""

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_fork_server: int | None = None  # in it, and in what it forks


def killed_with_parent() -> None:
    """Have the kernel kill this process with the thread that started it; nothing where it cannot (not Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))


def fork_server_dies_with(launcher: int) -> None:
    """For the fork server: end it with the process ``launcher``, whose main thread has started it."""
    global _fork_server
    killed_with_parent()
    if os.getppid() != launcher:  # it was gone before the kernel knew
        os._exit(1)
    _fork_server = os.getpid()


def patient(fork: Callable[[], int]) -> Callable[[], int]:
    """``os.fork`` that waits for a while where the system has no room for another process.

    Else the fork server would end of it, and all its workers with it.
    """

    def fork_in_time() -> int:
        """See `patient`."""
        until = time.monotonic() + FORK_SECONDS
        while True:
            try:
                return fork()
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.ENOMEM) or time.monotonic() > until:
                    raise
            time.sleep(0.1)

    return fork_in_time


def allow_children() -> None:
    """For a worker: let its environments start processes, which multiprocessing denies to daemons."""
    current_process()._config["daemon"] = False  # type: ignore[attr-defined]


def leave() -> NoReturn:
    """End a worker as multiprocessing does, but without waiting for threads of others' code that never end."""
    util._exit_function()  # type: ignore[attr-defined]
    util._flush_std_streams()  # type: ignore[attr-defined]
    os._exit(0)


def worker_dies_with_parents() -> None:
    """For a worker: end it as soon as the launcher or the fork server is gone."""
    killed_with_parent()
    launcher, fork_server = parent_process(), os.getppid()
    if _fork_server is not None and fork_server != _fork_server:  # as above
        os._exit(1)
    if launcher is None:
        return

    def watch() -> None:
        """End this process once one of the two is gone."""
        while not wait([launcher.sentinel], timeout=0.5) and os.getppid() == fork_server:
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
