"""The process that workers are forked from, on Linux. Nothing heavy is imported here: the earlier it starts the better.

Start methods: with forkserver one server imports the libraries once, and its forks share that memory and start in
milliseconds. With spawn every worker imports torch for itself, seconds of processor time each. With fork the children
would inherit the supervisor's threads and open files. macOS's own libraries do not survive a fork, hence spawn there.
"""

import functools
import os
import resource
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, process, resource_tracker, util
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from async_rl import temporary
from async_rl.config import Config
from async_rl.config_file import to_toml
from async_rl.signals import STOPPING
from async_rl.values import reason

START_METHOD = "forkserver" if sys.platform == "linux" else "spawn"

PRELOAD_VARIABLE = "ASYNC_RL_PRELOAD"
"""Environment variable by which the fork server, which takes no arguments, gets the configuration, as TOML."""

LAUNCHER_VARIABLE = "ASYNC_RL_LAUNCHER"
"""Environment variable with the process with which the fork server dies. Not set if another thread than the main one
starts it: the kernel would kill it with that thread already, and so it ends when launcher and workers are gone."""

GONE_SECONDS = 5.0
"""Patience with killed processes: one that hangs in the kernel is left to it."""

_FILES, _FILES_PER_WORKER = 64, 2
"""Open files of this process, three times what it needs, and how many more with each worker."""

_server: Any = forkserver._forkserver  # what is done with it here has no public name
_preparing = threading.Lock()


def prepare(config: Config) -> None:
    """Start the fork server, if it does not run; it does what is in `async_rl.preload` while the launcher goes on."""
    _hold_sockets()
    if START_METHOD != "forkserver":
        return
    allow_files(config.workers)
    go_on()
    forkserver.set_forkserver_preload(["async_rl.preload"])
    variables = {PRELOAD_VARIABLE: to_toml(config)}
    if threading.current_thread() is threading.main_thread():
        variables[LAUNCHER_VARIABLE] = str(os.getpid())
    with _preparing:
        os.environ |= variables
        try:
            with signals_blocked():
                forkserver.ensure_running()
        finally:
            for name in variables:
                del os.environ[name]


def prepare_ahead(config: Config) -> None:
    """The same in advance, to save time; where that fails, the first process that is started tries it again."""
    with suppress(OSError):
        prepare(config)


def go_on() -> None:
    """Let the fork server go on where it was stopped (SIGSTOP, Ctrl-Z): else nobody learns that a process has ended."""
    if _server._forkserver_pid is not None:
        with suppress(ProcessLookupError):
            os.kill(_server._forkserver_pid, signal.SIGCONT)


def join(ended: BaseProcess) -> int | None:
    """Take leave of a process that has ended.

    Returns:
        Its exit code, minus the number of the signal if one killed it; None if it was lost with the fork server, which
        alone could have told. What multiprocessing says then, 255, may be a code of its own, too.
    """
    told = select.poll()
    told.register(ended.sentinel, select.POLLIN)
    lost = START_METHOD == "forkserver" and not any(flags & select.POLLIN for _, flags in told.poll(0))
    ended.join()
    code = ended.exitcode
    ended.close()
    return None if lost else code


def kill(processes: Sequence[BaseProcess]) -> None:
    """End processes that were started here, and wait for a while until they have; see `GONE_SECONDS`."""
    for each in processes:
        each.kill()
    go_on()
    left, deadline = {each.sentinel: each for each in processes}, time.monotonic() + GONE_SECONDS
    while left and (patience := deadline - time.monotonic()) > 0:
        for sentinel in wait(list(left), timeout=patience):
            del left[sentinel]  # type: ignore[arg-type]
    for each in left.values():
        process._children.discard(each)  # type: ignore[attr-defined]  # nor will multiprocessing wait, at the end


def allow_files(workers: int) -> int:
    """Let this process and a fork server to come open the files that so many workers need, where the system lets them.

    Returns:
        For how many workers it does.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return workers
    if soft < (needed := _FILES + _FILES_PER_WORKER * workers):
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
            soft = needed
    return max(0, soft - _FILES) // _FILES_PER_WORKER


def not_started(error: EOFError | OSError) -> str:
    """What has become of a process that could not be started, as the end of a sentence."""
    if isinstance(error, EOFError | ConnectionError):
        return "was lost with the fork server while it started"
    return f"could not be started ({reason(error)})"


def _forget() -> None:
    """In a forked child: the fork server is its parent's, it needs one of its own."""
    global _preparing
    _preparing = threading.Lock()
    if _server._forkserver_alive_fd is not None:
        os.close(_server._forkserver_alive_fd)
    _server.__init__()


os.register_at_fork(after_in_child=_forget)


@functools.cache
def _hold_sockets() -> None:
    """Once in the life of this process; multiprocessing removes their folder at its end."""
    temporary.hold(Path(util.get_temp_dir()))


@contextmanager
def signals_blocked() -> Iterator[None]:
    """What is started meanwhile, the fork server included, never gets any of `STOPPING`; the supervisor acts on them.

    They reach the whole process group, and a mask is inherited, so there is no moment in which they could strike.
    """
    resource_tracker.ensure_running()  # starting it unblocks the signals, so it has to run before
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
