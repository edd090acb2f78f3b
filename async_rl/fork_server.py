"""The process that workers are forked from, on Linux. Nothing heavy is imported here: the earlier it starts the better.

Start methods: with forkserver one server imports the libraries once, and its forks share that memory and start in
milliseconds. With spawn every worker imports torch for itself, seconds of processor time each. With fork the children
would inherit the supervisor's threads and open files. macOS's own libraries do not survive a fork, hence spawn there.
"""

import functools
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, resource_tracker, util
from pathlib import Path

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


def prepare(config: Config) -> None:
    """Start the fork server, if it does not run; it does what is in `async_rl.preload` while the launcher goes on."""
    if START_METHOD != "forkserver":
        return
    _hold_sockets()
    forkserver.set_forkserver_preload(["async_rl.preload"])
    variables = {PRELOAD_VARIABLE: to_toml(config)}
    if threading.current_thread() is threading.main_thread():
        variables[LAUNCHER_VARIABLE] = str(os.getpid())
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


def not_started(error: EOFError | OSError) -> str:
    """What has become of a process that could not be started, as the end of a sentence."""
    if isinstance(error, EOFError | ConnectionError):
        return "was lost with the fork server while it started"
    return f"could not be started ({reason(error)})"


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
