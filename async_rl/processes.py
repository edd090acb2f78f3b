"""The worker processes as the supervisor sees them: start, watch, start again, stop."""

import multiprocessing
import signal
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np

from async_rl.config import Config
from async_rl.fork_server import START_METHOD, signals_blocked
from async_rl.memory import OutOfMemory
from async_rl.shared import SharedTable
from async_rl.worker import worker_process

STOP_SECONDS = 8.0
"""Patience with workers that were asked to stop; then they are killed."""

FRUITLESS_STARTS = 5
"""Starts in a row without a single step after which a worker is given up."""


class Member:
    """One worker: its process, and the history of its slot in the table."""

    def __init__(self, index: int, incarnation: int):
        self.index = index
        self.incarnation = incarnation
        self.fruitless_starts = 0
        self.steps_at_start = -1
        self.heartbeat_at_start = float("nan")
        self.process: BaseProcess | None = None  # None: not started, ended, or given up


class WorkerProcesses:
    """All workers of one run.

    Args:
        config: of the run.
        table: handed to each worker; the rows ``stop``, ``refresher`` and the heartbeat of a new worker are written.
        error_dir: where a worker leaves the traceback of the error that ended it.
        incarnations: of workers of former sessions, by index.
        restarted: workers started again in former sessions.
        say: takes a line about each death.
    """

    def __init__(
        self,
        config: Config,
        table: SharedTable,
        error_dir: Path,
        incarnations: Sequence[int],
        restarted: int,
        say: Callable[[str], None],
    ):
        self.restarted = restarted
        self._config = config
        self._table = table
        self._error_dir = error_dir
        self._say = say
        self._out_of_memory = OutOfMemory()
        first = [*incarnations, *[0] * config.workers]
        self._members = [Member(index, first[index]) for index in range(config.workers)]
        self._context = multiprocessing.get_context(START_METHOD)

    @property
    def incarnations(self) -> tuple[int, ...]:
        """How often each worker has been started, minus one."""
        return tuple(member.incarnation for member in self._members)

    @property
    def any_alive(self) -> bool:
        """Whether a worker is left."""
        return bool(self._alive())

    @property
    def stepping(self) -> int:
        """Number of workers that run and have finished a segment since they were started."""
        heartbeat = self._table["heartbeat"]
        return sum(bool(heartbeat[member.index] > member.heartbeat_at_start) for member, _ in self._alive())

    @property
    def pids(self) -> dict[int, int]:
        """Process of each living worker, by its index."""
        return {member.index: int(process.pid or 0) for member, process in self._alive()}

    def start(self) -> None:
        """Start every worker."""
        for member in self._members:
            self._start(member)

    def watch(self, seconds: float) -> None:
        """Wait, at most that long, for workers to end; start those again that died or have been silent for too long."""
        for member in self._ended(seconds):
            cause = self._cause(member, self._join(member))
            if cause is not None:
                self._restart(member, cause)
        latest_valid = time.monotonic() - self._config.heartbeat_seconds
        for member, process in self._alive():
            if self._table["heartbeat"][member.index] < latest_valid:
                process.kill()
                self._join(member)
                hint = f" in {self._config.env}, whose step may never end" if ":" in self._config.env else ""
                self._restart(member, f"was silent for {self._config.heartbeat_seconds:.0f} s{hint}")
        self._appoint_refresher()

    def stop(self) -> None:
        """Ask the workers to end, and give them a few seconds for the segment they are in; then kill them."""
        self._table["stop"][0] = 1
        deadline = time.monotonic() + STOP_SECONDS
        while self._alive() and (left := deadline - time.monotonic()) > 0:
            for member in self._ended(left):
                self._join(member)
        self.kill()

    def kill(self) -> None:
        """End every worker at once."""
        for member, process in self._alive():
            process.kill()
            self._join(member)

    def _alive(self) -> list[tuple[Member, BaseProcess]]:
        return [(member, member.process) for member in self._members if member.process is not None]

    def _start(self, member: Member) -> None:
        member.steps_at_start = int(self._table["steps"][member.index])
        member.heartbeat_at_start = time.monotonic()
        self._table["heartbeat"][member.index] = member.heartbeat_at_start  # the time to start up counts, too
        process = self._context.Process(  # type: ignore[attr-defined]
            target=worker_process,
            args=(self._config, member.index, member.incarnation, self._table, self._error_file(member)),
            name=f"async_rl worker {member.index}",
            daemon=True,
        )
        with signals_blocked():
            process.start()
        member.process = process

    def _ended(self, seconds: float) -> list[Member]:
        """Members whose process has ended, after waiting at most that long for one."""
        ready = wait([process.sentinel for _, process in self._alive()], timeout=seconds)
        return [member for member, process in self._alive() if process.sentinel in ready]

    def _join(self, member: Member) -> int | None:
        """Take leave of an ended process; its exit code, minus the number of the signal if one killed it."""
        process, member.process = member.process, None
        assert process is not None
        process.join()
        code = process.exitcode
        process.close()
        return code

    def _cause(self, member: Member, code: int | None) -> str | None:
        """Why a worker died; None if it ended as it should."""
        if code == 0:
            return None
        if code is not None and code < 0:
            starved = code == -signal.SIGKILL and self._out_of_memory.has_killed()
            why = ", out of memory: the kernel has killed for want of it" if starved else ""
            return f"died ({signal.Signals(-code).name}{why})"
        error_file = self._error_file(member)
        if error_file.is_file():
            lines = error_file.read_text(encoding="utf-8").strip().splitlines()
            last = lines[-1].removeprefix("async_rl.types.UserError: ") if lines else "no message"
            return f"failed ({last.rstrip('.')}; see {error_file})"
        return f"ended with exit code {code}"

    def _restart(self, member: Member, cause: str) -> None:
        fruitless = int(self._table["steps"][member.index]) == member.steps_at_start
        member.fruitless_starts = member.fruitless_starts + 1 if fruitless else 0
        if member.fruitless_starts >= FRUITLESS_STARTS:
            self._say(f"worker {member.index} {cause}; given up, {FRUITLESS_STARTS} starts without a step")
            return
        self._say(f"worker {member.index} {cause}; started again")
        self.restarted += 1
        member.incarnation += 1
        states = self._table["random_states"][member.index]
        states.fill(np.iinfo(states.dtype).max)  # as if never written: the next incarnation draws its own
        self._start(member)

    def _appoint_refresher(self) -> None:
        """One living worker refreshes the target: a single writer, hence exactly one refresh an interval."""
        alive = [member.index for member, _ in self._alive()]
        if alive and self._table["refresher"][0] not in alive:
            self._table["refresher"][0] = alive[0]

    def _error_file(self, member: Member) -> Path:
        return self._error_dir / f"worker{member.index}.{member.incarnation}.txt"
