"""What the fork server does before it forks the first worker: whatever it imports and makes is there for all of them.

A new emulator costs 70 ms of processor time, nearly all of it for a table of mixed colours that is never used, and 5
MiB of memory. As forks of ready ones those of 16 workers with eight each cost next to nothing: all step 6.6 seconds
after the start of the command instead of 11.4, and a worker's unique memory is 30 MiB instead of 75 (2 cores of a Zen 5
EPYC).

Nothing imports this module but the fork server.
"""

import contextlib
import gc
import importlib
import os
import signal
from collections.abc import Mapping
from multiprocessing import spawn
from typing import Any

from async_rl.fork_server import LAUNCHER_VARIABLE, OTHERS_VARIABLE, PREFIX, PRELOAD_VARIABLE
from async_rl.parent import fork_server_dies_with, patient

if launcher := os.environ.pop(LAUNCHER_VARIABLE, None):
    fork_server_dies_with(int(launcher))

gc.disable()  # all that is made here stays: to look for what does not would take 0.35 of 3.6 seconds

from async_rl import kernels
from async_rl.ahead import compile_published
from async_rl.config_file import from_text
from async_rl.envs import make_ready
from async_rl.signals import STOPPING
from async_rl.worker import worker_process  # noqa: F401  with torch, OpenCV and all the rest


def _prepare(data: Mapping[str, Any]) -> None:
    """As multiprocessing does in a process that has been started; one of the user's own gets all signals."""
    if not data["name"].startswith(PREFIX):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
    _as_usual(data)


_as_usual, spawn.prepare = spawn.prepare, _prepare
os.fork = patient(os.fork)
kernels.compile_all()
for other in filter(None, os.environ.get(OTHERS_VARIABLE, "").split(",")):
    with contextlib.suppress(Exception, SystemExit):  # who needs it will meet it again
        importlib.import_module(other)
with contextlib.suppress(Exception):  # the workers will meet it again, and report it
    config = from_text(os.environ[PRELOAD_VARIABLE])
    make_ready(config)
    compile_published(config)
gc.freeze()  # nor do workers look for it, or they would copy the pages that they share
gc.enable()
