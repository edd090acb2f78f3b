"""The process that workers are forked from, on Linux. Nothing heavy is imported here: the earlier it starts the better.

Start methods: with forkserver one server imports the libraries once, and its forks share that memory and start in
milliseconds. With spawn every worker imports torch for itself, seconds of processor time each. With fork the children
would inherit the supervisor's threads and open files. macOS's own libraries do not survive a fork, hence spawn there.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker

from async_rl.config import Config
from async_rl.config_file import to_toml

START_METHOD = "forkserver" if sys.platform == "linux" else "spawn"

PRELOAD_VARIABLE = "ASYNC_RL_PRELOAD"
"""Environment variable by which the fork server, which takes no arguments, gets the configuration, as TOML."""


def prepare(config: Config) -> None:
    """Let the fork server do what is in `async_rl.preload` while the launcher imports torch; once."""
    if START_METHOD == "forkserver":
        forkserver.set_forkserver_preload(["async_rl.preload"])
        os.environ[PRELOAD_VARIABLE] = to_toml(config)
        with signals_blocked():
            forkserver.ensure_running()
        del os.environ[PRELOAD_VARIABLE]


@contextmanager
def signals_blocked() -> Iterator[None]:
    """What is started meanwhile, the fork server included, never gets Ctrl-C or SIGTERM; the supervisor acts on them.

    Both reach the whole process group, and a mask is inherited, so there is no moment in which they could strike.
    """
    resource_tracker.ensure_running()  # starting it unblocks the signals, so it has to run before
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
