"""The worker processes as the supervisor sees them: start, watch, start again, stop."""

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import psutil

from async_rl import errors, fork_server
from async_rl.config import Config
from async_rl.cores import available_cores
from async_rl.fork_server import START_METHOD
from async_rl.listening import Listening
from async_rl.machine_memory import OutOfMemory
from async_rl.shared import SharedTable
from async_rl.signals import signal_name
from async_rl.worker import worker_process

STOP_SECONDS = 8.0
"""Patience with workers that were asked to stop; then they are killed."""

POLL_SECONDS = 0.2

FRUITLESS_STARTS = 5
"""Starts in a row after which a worker is given up that never came far."""

FRUITFUL_GRADIENTS = 10
"""Gradients after which a start has not been in vain; steps that only fill a replay memory are no fruit."""

REFRESHER_SECONDS = 2.0
"""Silence after which another worker refreshes the target; twice as long the next time, as steps may be that slow."""


class Member:
    """One worker: its process, and the history of its slot in the table.

    The life of a slot: started --> ended or killed --> gone from the system, and only then started again. So no two
    incarnations ever write to it at once, not even while a killed fork server takes its workers along.
    """

    def __init__(self, index: int, incarnation: int):
        self.index = index
        self.incarnation = incarnation
        self.fruitless_starts = 0
        self.gradients_at_start = -1  # never started
        self.heartbeat_at_start = float("nan")
        self.process: BaseProcess | None = None  # None: not started, ended, or given up
        self.in_system: psutil.Process | None = None  # the same, or its predecessor, as the system sees it
        self.killed_for = ""  # why the supervisor has killed it
        self.due = False  # to be started as soon as the predecessor is gone
        self.not_before = 0.0  # nor earlier than at this time
        self.error_file = Path()

    @property
    def gone(self) -> bool:
        """Whether the system has no process any more that could write to the slot."""
        try:
            left = self.in_system is not None and self.in_system.is_running()
            return not left or self.in_system.status() == psutil.STATUS_ZOMBIE  # type: ignore[union-attr]
        except psutil.NoSuchProcess:
            return True
        except OSError:  # nobody can tell, as no file can be opened just now
            return False


class WorkerProcesses:
    """All workers of one run.

    Args:
        config: of the run.
        table: handed to each worker; the rows ``stop``, ``refresher`` and the heartbeat of a new worker are written.
        error_dir: where a worker leaves the traceback of the error that ended it.
        incarnations: of workers of former sessions, by index.
        restarted: workers started again in former sessions.
        say: takes a line about each death.
        indices: of the workers that run here; default: all.
    """

    def __init__(
        self,
        config: Config,
        table: SharedTable,
        error_dir: Path,
        incarnations: Sequence[int],
        restarted: int,
        say: Callable[[str], None],
        indices: Iterable[int] | None = None,
    ):
        self.restarted = restarted
        self._config = config
        self._table = table
        self._error_dir, self._absolute_error_dir = error_dir, error_dir.absolute()
        self._say = say
        self._out_of_memory = OutOfMemory()
        first = [*incarnations, *[0] * config.workers]
        here = range(config.workers) if indices is None else indices
        self._members = [Member(index, first[index]) for index in here]
        self._crowded = len(self._members) > available_cores()
        self._first_step = table.total_steps()
        self._patience = REFRESHER_SECONDS
        self._listening = Listening()
        self._context = multiprocessing.get_context(START_METHOD)

    @property
    def incarnations(self) -> tuple[int, ...]:
        """How often each worker here has been started, minus one."""
        return tuple(member.incarnation for member in self._members)

    @property
    def any_alive(self) -> bool:
        """Whether a worker is left, or about to be started again."""
        return any(member.process is not None or member.due for member in self._members)

    @property
    def stepping(self) -> int:
        """Number of workers that run and have taken a step since they were started."""
        heartbeat = self._table["heartbeat"]
        return sum(bool(heartbeat[member.index] > member.heartbeat_at_start) for member, _ in self._alive())

    @property
    def pids(self) -> dict[int, int]:
        """Process of each living worker, by its index."""
        return {member.index: int(process.pid or 0) for member, process in self._alive()}

    def start(self) -> None:
        """Have every worker started by `watch`, as many in each call as there is time for."""
        errors.sweep(self._error_dir)
        for member in self._members:
            member.due = True

    def watch(self, seconds: float) -> None:
        """Wait, at most that long, for workers to end; start what is to be started, again if it died or fell silent."""
        until = time.monotonic() + seconds
        for member in self._ended(0 if any(map(self._can_start, self._members)) else seconds):
            cause = self._cause(member, self._join(member))
            if cause is not None:
                self._let_go(member, cause)
        self._kill_silent()
        for member in self._members:
            member.due &= not self._done
        for member in filter(self._can_start, self._members):
            if member.gradients_at_start >= 0:
                states = self._table["random_states"][member.index]
                states.fill(np.iinfo(states.dtype).max)  # as if never written: the new incarnation draws its own
            self._start(member)
            if time.monotonic() >= until:
                break
        self._appoint_refresher()

    def stop(self) -> None:
        """Ask the workers to end, and give them a few seconds for the segment they are in; then kill them."""
        self._table["stop"][0] = 1
        asked = time.monotonic()
        while self._alive() and self._listening.listen() < max(asked, self._listening.since) + STOP_SECONDS:
            fork_server.go_on()
            for member in self._ended(POLL_SECONDS):
                self._join(member)
        if late := self._alive():
            self._say(f"{len(late)} of {len(self._members)} workers were still busy after {STOP_SECONDS:.0f} s: killed")
        self.kill()

    def kill(self) -> None:
        """End every worker at once."""
        deadline = time.monotonic() + fork_server.GONE_SECONDS
        ended = fork_server.kill([process for _, process in self._alive()])
        for member in self._members:
            member.due = False
            if member.process in ended:
                self._join(member)
            member.process = None
        while not all(member.gone for member in self._members) and time.monotonic() < deadline:
            time.sleep(0.001)

    def _alive(self) -> list[tuple[Member, BaseProcess]]:
        return [(member, member.process) for member in self._members if member.process is not None]

    def _gradients(self, member: Member) -> int:
        """What its slot's workers have made so far, those that were not finite included."""
        return int(self._table["updates"][member.index] + self._table["dropped"][member.index])

    @staticmethod
    def _can_start(member: Member) -> bool:
        return member.due and member.gone and time.monotonic() >= member.not_before

    def _start(self, member: Member) -> None:
        member.due, member.killed_for = False, ""
        member.error_file = errors.file_for(self._error_dir, member.index, member.incarnation)
        member.gradients_at_start = self._gradients(member)
        member.heartbeat_at_start = time.monotonic()
        for name in ("heartbeat", "environments_at"):  # the time to start up counts, too
            self._table[name][member.index] = member.heartbeat_at_start
        own = (member.index, member.incarnation, self._table, self._absolute_error_dir / member.error_file.name)
        process = self._context.Process(  # type: ignore[attr-defined]
            target=worker_process,
            args=(self._config, *own, self._crowded, self._first_step),
            name=f"{fork_server.PREFIX}worker {member.index}",
            daemon=True,
        )
        try:
            fork_server.prepare(self._config)  # in case that it has died
            fork_server.start(process)
            member.process = process
        except (EOFError, OSError) as error:  # what a dying fork server may still have forked dies with it
            self._let_go(member, fork_server.not_started(error))
            member.not_before = time.monotonic() + member.fruitless_starts  # there may be room for it then
            return
        try:
            member.in_system = psutil.Process(process.pid)
        except (psutil.Error, OSError):  # it has ended already, or no file can be opened just now
            member.in_system = None

    def _ended(self, seconds: float) -> list[Member]:
        """Members whose process has ended, after waiting at most that long for one."""
        ready = wait([process.sentinel for _, process in self._alive()], timeout=seconds)
        return [member for member, process in self._alive() if process.sentinel in ready]

    def _join(self, member: Member) -> int | None:
        """Take leave of an ended process; see `fork_server.join`."""
        process, member.process = member.process, None
        assert process is not None
        code = fork_server.join(process)
        errors.tidy(member.error_file)
        return code

    def _kill_silent(self) -> None:
        """Kill workers without a sign of life; silence in which nobody was listening, as after Ctrl-Z, is none."""
        now = self._listening.listen()
        fork_server.go_on()
        for member, process in self._alive():
            signs = (float(self._table[name][member.index]) for name in ("heartbeat", "environments_at"))
            last = max(*signs, self._listening.since)
            if now - last > self._config.heartbeat_seconds and not member.killed_for:
                member.killed_for = f"was silent for {self._config.heartbeat_seconds:.0f} s"
                if ":" in self._config.env:
                    member.killed_for += f" in {self._config.env}, whose step may never end, or need more"
                    member.killed_for += " --heartbeat-seconds"
                process.kill()

    def _cause(self, member: Member, code: int | None) -> str | None:
        """Why a worker died; None if it ended as it should."""
        if member.killed_for:
            return member.killed_for
        if code is None:
            return fork_server.told(code)
        if code == 0:
            return None if self._done else "ended by itself, long before the run"
        last_line = errors.last_line(member.error_file)
        where = f"; see {member.error_file}" if last_line else ""
        if code < 0:
            starved = code == -signal.SIGKILL and self._out_of_memory.has_killed()
            why = ", out of memory: the kernel has killed for want of it" if starved else ""
            return f"died ({signal_name(-code)}{why}{where})"
        return f"failed ({last_line.rstrip('.')}{where})" if last_line else fork_server.told(code)

    @property
    def _done(self) -> bool:
        """Whether nothing is left to do for a worker that would be started again."""
        return bool(self._table["stop"][0]) or self._table.total_steps() >= self._config.steps

    def _let_go(self, member: Member, cause: str) -> None:
        """Report a death, and let the worker be started again, unless it has been started in vain too often."""
        if self._done:
            self._say(f"worker {member.index} {cause}, when all was done")
            return
        fruitless = self._gradients(member) < member.gradients_at_start + FRUITFUL_GRADIENTS
        member.fruitless_starts = member.fruitless_starts + 1 if fruitless else 0
        if member.fruitless_starts >= FRUITLESS_STARTS:
            self._say(f"worker {member.index} {cause}; given up, {FRUITLESS_STARTS} starts in a row were in vain")
            return
        self._say(f"worker {member.index} {cause}; started again")
        self.restarted += 1
        member.incarnation += 1
        member.due = True

    def _appoint_refresher(self) -> None:
        """One worker that takes steps refreshes the target: a single writer, hence one refresh an interval.

        Where it starts again, or hangs, another one takes over; if the first wakes, its copy is a little newer.
        """
        heartbeat, refresher = self._table["heartbeat"], self._table["refresher"]
        members = [member for member, _ in self._alive()]
        last = {m.index: heartbeat[m.index] for m in members if heartbeat[m.index] > m.heartbeat_at_start}
        if not last:
            return
        newest, now = max(last, key=last.__getitem__), time.monotonic()
        if refresher[0] not in last:
            refresher[0] = newest
            return
        heard = max(last[int(refresher[0])], self._listening.since)
        if now - heard > self._patience >= now - last[newest]:
            refresher[0] = newest
            self._patience = min(2 * self._patience, self._config.heartbeat_seconds)
