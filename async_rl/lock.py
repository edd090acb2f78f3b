"""One launcher at a time in a run directory.

The lock is the kernel's (flock): it ends with the process that holds it, however that dies. The file stays, but means
nothing, so nothing stale ever keeps a run from being resumed.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

from async_rl.types import UserError

FILE = "lock"

_held: set[FileIO] = set()


@contextlib.contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Hold the lock of an existing run directory; where the file system has none, or is full, go on without.

    Raises:
        UserError: another process holds it.
    """
    with contextlib.ExitStack() as stack:
        try:
            # Not inherited by the fork server or by workers: the file is closed where another program begins.
            file = stack.enter_context((run_dir / FILE).open("ab", buffering=0))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _held.add(file)
            stack.callback(_release, file)
        except BlockingIOError:
            raise UserError(
                f"{run_dir} is in use by {_holder(run_dir)}; stop it first, or choose another run."
            ) from None
        except OSError:
            yield
            return
        with contextlib.suppress(OSError):
            file.truncate(0)
            file.write(f"{os.getpid()}\n".encode())
        yield


def _release(file: FileIO) -> None:
    """A forked child that began just before has it open, too."""
    _held.discard(file)
    with contextlib.suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_UN)


def _forget() -> None:
    """In a forked child, which would hold the lock as long as it lives."""
    while _held:
        _held.pop().close()


os.register_at_fork(after_in_child=_forget)


def _holder(run_dir: Path) -> str:
    with contextlib.suppress(OSError, ValueError):
        return f"another launcher, process {int((run_dir / FILE).read_text(encoding='utf-8'))}"
    return "another launcher"
