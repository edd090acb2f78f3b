"""The launcher's loop: start the workers, watch them, report, write checkpoints, stop.

Life of a run, seen from here:

    start 16 workers --> [ wait 0.1 s or until one ends --> games --> report --> checkpoint ]* --> stop --> checkpoint
                              |                                              |
                              one died or fell silent: start it again        T reached, Ctrl-C, SIGTERM
"""

import enum
import multiprocessing
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import FrameType

import numpy as np

from async_rl import checkpoint
from async_rl.build import GAMES_RING
from async_rl.checkpoint import Progress
from async_rl.config import Config
from async_rl.meter import Clock, Meter
from async_rl.reporting import Logs, Report, Terminal
from async_rl.shared import SharedTable
from async_rl.shared.bind import Layout
from async_rl.types import EnvSpec, Game
from async_rl.worker import worker_process

POLL_SECONDS = 0.1
STOP_SECONDS = 8.0
"""Patience with workers that were asked to stop; then they are killed."""
FRUITLESS_STARTS = 5
"""Starts in a row without a single step after which a worker is given up."""


class Ending(enum.Enum):
    """How a run ended; the value is the exit code of the command."""

    FINISHED = 0
    FAILED = 1
    INTERRUPTED = 128 + signal.SIGINT
    TERMINATED = 128 + signal.SIGTERM


class StopAtOnceError(Exception):
    """A second Ctrl-C or SIGTERM: no more waiting, no checkpoint."""


class Member:
    """One worker as the supervisor sees it: its process and the history of its slot."""

    def __init__(self, index: int, incarnation: int):
        self.index = index
        self.incarnation = incarnation
        self.fruitless_starts = 0
        self.steps_at_start = -1
        self.process: ForkServerProcess | None = None  # None: ended, or given up


class Supervisor:
    """Runs the workers of one training run; everything it needs is handed in."""

    def __init__(
        self,
        config: Config,
        spec: EnvSpec,
        layout: Layout,
        table: SharedTable,
        progress: Progress,
        run_dir: Path,
        logs: Logs,
        terminal: Terminal,
    ):
        self._config, self._spec, self._layout = config, spec, layout
        self._table = table
        self._run_dir = run_dir
        self._logs = logs
        self._terminal = terminal
        self._clock = Clock(progress.seconds)
        self._best_score = progress.best_score
        self._restarted = progress.restarted
        known = progress.incarnations
        self._members = [Member(i, known[i] if i < len(known) else 0) for i in range(config.workers)]
        self._games_read = np.zeros(config.workers, dtype=np.int64)
        self._log_meter, self._terminal_meter = (
            Meter(config, table, self._clock, spec.frames_per_step) for _ in range(2)
        )
        self._signal: signal.Signals | None = None
        self._context = multiprocessing.get_context("forkserver")
        # The server imports the libraries once; its forks share that memory and start in milliseconds.
        self._context.set_forkserver_preload([worker_process.__module__])

    def run(self) -> Ending:
        """Train until T is reached, a signal comes, or no worker is left; every process is gone afterwards."""
        with self._signals():
            try:
                for member in self._members:
                    self._start(member)
                self._loop()
                self._stop()
                self._read_games()
                self._report_to_logs()
                self._save()
                return self._ending()
            except StopAtOnceError:
                return self._ending()
            finally:
                self._kill()
                self._logs.close()
                self._terminal.close()

    def _loop(self) -> None:
        log_due = self._clock.seconds() + self._config.report_seconds
        show_due = self._clock.seconds()
        checkpoint_due = self._clock.seconds() + self._config.checkpoint_seconds
        while self._signal is None and self._alive():
            self._watch()
            self._read_games()
            now = self._clock.seconds()
            if now >= show_due:
                self._terminal.show(self._report(self._terminal_meter))
                show_due = now + self._terminal.interval_seconds
            if now >= log_due:
                self._report_to_logs()
                log_due = now + self._config.report_seconds
            if now >= checkpoint_due:
                self._save()
                checkpoint_due = self._clock.seconds() + self._config.checkpoint_seconds

    # Processes.

    def _alive(self) -> list[Member]:
        return [member for member in self._members if member.process is not None]

    def _start(self, member: Member) -> None:
        member.steps_at_start = int(self._table["steps"][member.index])
        self._table["heartbeat"][member.index] = time.monotonic()  # the time to start up counts, too
        process = self._context.Process(
            target=worker_process,
            args=(self._config, member.index, member.incarnation, self._table, self._error_file(member)),
            name=f"async_rl worker {member.index}",
            daemon=True,
        )
        process.start()
        member.process = process

    def _watch(self) -> None:
        """Wait a moment; deal with workers that have ended or are silent for too long."""
        by_sentinel = {member.process.sentinel: member for member in self._alive() if member.process}
        for sentinel in wait(list(by_sentinel), timeout=POLL_SECONDS):
            self._ended(by_sentinel[sentinel])  # type: ignore[index]
        latest_valid = time.monotonic() - self._config.heartbeat_seconds
        for member in self._alive():
            if self._table["heartbeat"][member.index] < latest_valid and member.process:
                member.process.kill()
                self._ended(member, f"was silent for {self._config.heartbeat_seconds:.0f} s")
        self._appoint_refresher()

    def _ended(self, member: Member, cause: str | None = None) -> None:
        assert member.process is not None
        member.process.join()
        code = member.process.exitcode
        member.process.close()
        member.process = None
        if code == 0 or self._signal is not None:
            return
        self._restart(member, cause or self._cause(member, code))

    def _restart(self, member: Member, cause: str) -> None:
        fruitless = int(self._table["steps"][member.index]) == member.steps_at_start
        member.fruitless_starts = member.fruitless_starts + 1 if fruitless else 0
        if member.fruitless_starts >= FRUITLESS_STARTS:
            self._terminal.say(f"worker {member.index} {cause}; given up, {FRUITLESS_STARTS} starts without a step")
            return
        self._terminal.say(f"worker {member.index} {cause}; started again")
        self._restarted += 1
        member.incarnation += 1
        states = self._table["random_states"][member.index]
        states.fill(np.iinfo(states.dtype).max)  # as if never written: the next incarnation draws its own
        self._start(member)

    def _cause(self, member: Member, code: int | None) -> str:
        if code is not None and code < 0:
            return f"died ({signal.Signals(-code).name})"
        error_file = self._error_file(member)
        if error_file.is_file():
            lines = error_file.read_text(encoding="utf-8").strip().splitlines()
            return f"failed ({lines[-1] if lines else 'no message'}; see {error_file})"
        return f"ended with exit code {code}"

    def _error_file(self, member: Member) -> Path:
        return self._run_dir / "errors" / f"worker{member.index}.{member.incarnation}.txt"

    def _appoint_refresher(self) -> None:
        """One living worker refreshes the target: a single writer, hence exactly one refresh an interval."""
        alive = [member.index for member in self._alive()]
        if alive and self._table["refresher"][0] not in alive:
            self._table["refresher"][0] = alive[0]

    def _stop(self) -> None:
        """Ask the workers to end, and give them a few seconds for the segment they are in."""
        if self._signal is not None:
            self._terminal.say(f"{self._signal.name}: stopping and saving; once more stops at once, without saving")
        self._table["stop"][0] = 1
        deadline = time.monotonic() + STOP_SECONDS
        while (alive := self._alive()) and (left := deadline - time.monotonic()) > 0:
            sentinels = [member.process.sentinel for member in alive if member.process]
            for sentinel in wait(sentinels, timeout=left):
                member = next(m for m in alive if m.process and m.process.sentinel == sentinel)
                assert member.process is not None
                member.process.join()
                member.process = None

    def _kill(self) -> None:
        for member in self._alive():
            assert member.process is not None
            member.process.kill()
            member.process.join()
            member.process = None

    # Periodic jobs.

    def _read_games(self) -> None:
        """Take what the workers have put into their rings since the last time."""
        seconds = self._clock.seconds()
        games: list[Game] = []
        for worker, written in enumerate(self._table["games_written"].tolist()):
            read = int(self._games_read[worker])
            if written - read > GAMES_RING:
                self._terminal.say(f"worker {worker}: {written - read - GAMES_RING} games were overwritten unread")
                read = written - GAMES_RING
            for number in range(read, written):
                total_steps, stream, score, length, epsilon = self._table["games"][worker, number % GAMES_RING].tolist()
                games.append(Game(int(total_steps), seconds, worker, int(stream), score, int(length), epsilon))
            self._games_read[worker] = written
        if games:
            self._logs.games(sorted(games))

    def _report(self, meter: Meter) -> Report:
        return meter.read(self._logs.statistics, len(self._alive()), self._restarted)

    def _report_to_logs(self) -> None:
        self._logs.report(self._report(self._log_meter))

    def _save(self) -> None:
        """Write checkpoints/latest, and best if no checkpoint before had a higher mean score of 100 games."""
        statistics = self._logs.statistics
        score = statistics.mean_score if statistics.games >= 100 else None
        better = score is not None and (self._best_score is None or score > self._best_score)
        if better:
            self._best_score = score
        progress = Progress(
            total_steps=self._table.total_steps(),
            seconds=self._clock.seconds(),
            restarted=self._restarted,
            incarnations=tuple(member.incarnation for member in self._members),
            best_score=self._best_score,
        )
        latest, best = self._run_dir / checkpoint.LATEST, self._run_dir / checkpoint.BEST
        try:
            checkpoint.save(latest, self._table, self._config, self._spec, self._layout, progress)
            if better or not best.exists():
                checkpoint.copy(latest, best)
        except OSError as error:
            self._terminal.say(f"cannot write a checkpoint ({error.strerror or error}); training goes on")

    # Signals.

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM end the loop, a second one everything; only the main thread can listen to them."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._signal is not None:
            raise StopAtOnceError
        self._signal = signal.Signals(number)

    def _ending(self) -> Ending:
        if self._signal is not None:
            return Ending(128 + self._signal)
        return Ending.FINISHED if self._table.total_steps() >= self._config.steps else Ending.FAILED
