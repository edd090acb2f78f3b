"""The process that workers are forked from, on Linux. Nothing heavy is imported here: the earlier it starts the better.

Start methods: with forkserver one server imports the libraries once, and its forks share that memory and start in
milliseconds. With spawn every worker imports torch for itself, seconds of processor time each. With fork the children
would inherit the supervisor's threads and open files. macOS's own libraries do not survive a fork, hence spawn there.
"""

import functools
import multiprocessing.process
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, resource_tracker, util
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from async_rl import open_files, temporary
from async_rl.checking import reason
from async_rl.config import Config
from async_rl.config_file import to_toml
from async_rl.signals import STOPPING, signal_name
from async_rl.types import UserError

START_METHOD = "forkserver" if sys.platform == "linux" else "spawn"

PRELOAD_VARIABLE = "ASYNC_RL_PRELOAD"
"""Environment variable by which the fork server, which takes no arguments, gets the configuration, as TOML."""

LAUNCHER_VARIABLE = "ASYNC_RL_LAUNCHER"
"""Environment variable with the process with which the fork server dies. Not set if another thread than the main one
starts it: the kernel would kill it with that thread already, and so it ends when launcher and workers are gone."""

GONE_SECONDS = 5.0
"""Patience with killed processes: one that hangs in the kernel is left to it."""

_LOST_CODE = 255
"""What multiprocessing makes of a code that the fork server could not tell; a process may end with it, too."""

_NO_GUARD_CODE = os.EX_CONFIG
"""Of a process that would start others while it imports the main module."""

PREFIX = "async_rl "
"""Begin of the names of processes that are started here."""

PRELOAD = "async_rl.preload"
"""Module that the fork server imports first."""

OTHERS_VARIABLE = "ASYNC_RL_OTHERS"
"""Environment variable with the modules that the user's own processes want imported, between commas."""

_own: int | None = None  # the fork server that was started here
_server: Any = forkserver._forkserver  # what is done with it here has no public name
_preparing = threading.Lock()


def prepare(config: Config, processes: int | None = None) -> None:
    """Start the fork server, if it does not run; it does what is in `async_rl.preload` while the launcher goes on.

    ``processes`` are to be started with it; default: the workers. A process that is itself just being started, and
    imports a main module without a guard, ends at once, see `told`.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        os._exit(_NO_GUARD_CODE)
    if START_METHOD != "forkserver":
        _hold_sockets()
        return
    open_files.allow(config.workers if processes is None else processes)
    go_on()
    variables = {PRELOAD_VARIABLE: to_toml(config)}
    if threading.current_thread() is threading.main_thread():
        variables[LAUNCHER_VARIABLE] = str(os.getpid())
    with _preparing:
        address = _server._forkserver_address or "\0"  # one with \0 is no file
        lost = address[0] != "\0" and not os.path.exists(address)
        if lost or _server._forkserver_pid not in (None, _own):
            _leave()
        if lost and not os.path.exists(folder := os.path.dirname(address)):
            os.mkdir(folder, 0o700)  # multiprocessing knows no other
            _hold_sockets.cache_clear()
        _hold_sockets()
        _ensure_running(variables)


def _ensure_running(variables: dict[str, str]) -> None:
    """Start the fork server with these environment variables, if it does not run."""
    global _own
    wanted = _server._preload_modules
    variables |= {OTHERS_VARIABLE: ",".join(name for name in wanted if name != "__main__")}
    os.environ |= variables
    _server._preload_modules = [PRELOAD]
    try:
        with signals_blocked():
            try:
                forkserver.ensure_running()
            except ChildProcessError:  # it has died, and somebody else has taken note
                _leave()
                forkserver.ensure_running()
        _own = _server._forkserver_pid
    finally:
        _server._preload_modules = wanted
        for name in variables:
            del os.environ[name]


def prepare_ahead(config: Config) -> None:
    """The same in advance, to save time; where that fails, the first process that is started tries it again.

    Raises:
        UserError: this program cannot start processes.
    """
    require_possible()
    with suppress(OSError):
        prepare(config)


def start(process: BaseProcess) -> None:
    """Start a process; where a second Ctrl-C interrupts that, which another thread can have caught, it is ended.

    Raises:
        EOFError, OSError: it could not be started.
    """
    open_files.require_some_left()
    try:
        with signals_blocked(), _going_on():
            process.start()
    except BaseException:
        if process.pid is not None:
            kill([process])
        raise


@contextmanager
def _going_on() -> Iterator[None]:
    """Meanwhile `go_on`, now and then: whoever waits for the fork server does so without an end."""
    over = threading.Event()

    def nudge() -> None:
        """Until it is over."""
        while not over.wait(0.5):
            go_on()

    with suppress(RuntimeError):  # no thread can be started any more
        threading.Thread(target=nudge, daemon=True).start()
    try:
        yield
    finally:
        over.set()


def go_on() -> None:
    """Let the fork server go on where it was stopped (SIGSTOP, Ctrl-Z): else nobody learns that a process has ended."""
    if _server._forkserver_pid is not None:
        with suppress(OSError):
            os.kill(_server._forkserver_pid, signal.SIGCONT)


def join(ended: BaseProcess) -> int | None:
    """Take leave of a process that has ended.

    Returns:
        Its exit code, minus the number of the signal if one killed it; None if it was lost with the fork server, which
        alone could have told.
    """
    told = select.poll()
    told.register(ended.sentinel, select.POLLIN)
    lost = START_METHOD == "forkserver" and not any(flags & select.POLLIN for _, flags in told.poll(0))
    ended.join()
    code = ended.exitcode
    ended.close()
    return None if lost and code == _LOST_CODE else code


def kill(processes: Sequence[BaseProcess]) -> list[BaseProcess]:
    """End processes that were started here, and wait for them; those that have ended in time, see `GONE_SECONDS`."""
    over = set(wait([each.sentinel for each in processes], timeout=0))  # their numbers may be others' by now
    for each in processes:
        if each.sentinel not in over:
            each.kill()
    go_on()
    left, deadline = {each.sentinel: each for each in processes}, time.monotonic() + GONE_SECONDS
    while left and (patience := deadline - time.monotonic()) > 0:
        for sentinel in wait(list(left), timeout=patience):
            del left[sentinel]  # type: ignore[arg-type]
    for each in left.values():
        multiprocessing.process._children.discard(each)  # type: ignore[attr-defined]  # nor is it waited for at the end
    return [each for each in processes if each not in left.values()]


def not_started(error: EOFError | OSError) -> str:
    """What has become of a process that could not be started, as the end of a sentence."""
    if isinstance(error, EOFError | ConnectionError):
        return "was lost with the fork server while it started"
    shorter = "; set TMPDIR to a shorter path" if "AF_UNIX" in str(error) else ""
    return f"could not be started ({reason(error)}{shorter})"


def told(code: int | None) -> str:
    """How a process has ended whose code `join` has returned, as the end of a sentence."""
    if code is None:
        return "was lost with the fork server"
    if code == _NO_GUARD_CODE:
        return """imported the main module, which would begin anew but for a guard, 'if __name__ == "__main__":'"""
    return f"died ({signal_name(-code)})" if code < 0 else f"ended with exit code {code}"


def require_possible() -> None:
    """Raise UserError where this program cannot start processes."""
    main = sys.modules["__main__"]
    file = None if getattr(main, "__spec__", None) else getattr(main, "__file__", None)
    before = multiprocessing.process.ORIGINAL_DIR or ""  # type: ignore[attr-defined]  # a relative name counts from it
    if file is not None and not os.path.exists(os.path.join(before, file)):
        raise UserError(
            f"processes that are started import the main module, and its file {file} is not there, as where it comes "
            "from standard input: put it into a file."
        )
    if multiprocessing.current_process().daemon:
        raise UserError(
            "this process may not start others, as none of a multiprocessing.Pool may, or any that is a daemon: use "
            "concurrent.futures.ProcessPoolExecutor, or a process with daemon=False."
        )


def _forget() -> None:
    """In a forked child: the fork server is its parent's, it needs one of its own."""
    global _preparing
    _preparing = threading.Lock()
    if _server._forkserver_alive_fd is not None:
        os.close(_server._forkserver_alive_fd)
    _leave()
    multiprocessing.current_process()._config.pop("tempdir", None)  # type: ignore[attr-defined]
    _hold_sockets.cache_clear()


def _leave() -> None:
    """Do without the fork server that there is, and with another one from now on.

    It was started otherwise than here, or its socket is lost, or itself. As long as this process lives it stays, and
    tells how the processes that it has forked have ended.
    """
    wanted = _server._preload_modules
    _server.__init__()
    _server._preload_modules = wanted


os.register_at_fork(after_in_child=_forget)


@functools.cache
def _hold_sockets() -> None:
    """Once in the life of this process; multiprocessing removes their folder at its end."""
    if multiprocessing.parent_process() is not None:  # whose folder this process knows, and would think its own
        multiprocessing.current_process()._config.pop("tempdir", None)  # type: ignore[attr-defined]
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
