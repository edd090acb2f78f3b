"""The launcher's loop: watch the workers, report, write checkpoints, stop.

Life of a run, seen from here:

    start 16 workers --> [ wait 0.1 s or until one ends --> games --> report --> checkpoint ]* --> stop --> checkpoint
                              |                                              |
                              one died or fell silent: start it again        T reached, Ctrl-C, SIGTERM
"""

import dataclasses
import enum
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import numpy as np

from async_rl import checkpoint
from async_rl.build import GAMES_RING, stored_bytes
from async_rl.checkpoint import Progress
from async_rl.config import Config
from async_rl.evaluation import Evaluation
from async_rl.evaluations import Evaluations
from async_rl.health import Health
from async_rl.meter import Clock, Meter
from async_rl.processes import WorkerProcesses
from async_rl.reporting import Logs, Outage, Report, Terminal
from async_rl.shared import SharedTable
from async_rl.shared.bind import Layout
from async_rl.types import EnvSpec, Game

POLL_SECONDS = 0.1


class Ending(enum.Enum):
    """How a run ended; the value is the exit code of the command."""

    FINISHED = 0
    FAILED = 1
    INTERRUPTED = 128 + signal.SIGINT
    TERMINATED = 128 + signal.SIGTERM


class StopAtOnceError(Exception):
    """A second Ctrl-C or SIGTERM: no more waiting, no checkpoint."""


class Periodic:
    """Something to do every so many seconds of training; `if_due` does it once and sets the next time."""

    def __init__(self, clock: Clock, interval_seconds: float, job: Callable[[], None], first_seconds: float):
        self._clock = clock
        self._interval_seconds = interval_seconds
        self._job = job
        self._due = clock.seconds() + first_seconds

    def if_due(self) -> None:
        """Do it, if the time has come."""
        if self._clock.seconds() >= self._due:
            self._job()
            self._due = self._clock.seconds() + self._interval_seconds


class Supervisor:
    """Runs one training run; everything it needs is handed in."""

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
        self._workers = WorkerProcesses(
            config, table, run_dir / "errors", progress.incarnations, progress.restarted, terminal.say
        )
        self._evaluations = Evaluations(
            config, run_dir, table.total_steps(), self._write, self._evaluated, terminal.say
        )
        self._evaluation: Evaluation | None = None
        self._games_read = np.zeros(config.workers, dtype=np.int64)
        self._log_meter, self._terminal_meter = (
            Meter(config, table, self._clock, spec.frames_per_step) for _ in range(2)
        )
        self._health = Health(config, table, stored_bytes(spec), terminal.say)
        self._checkpoint_outage = Outage("checkpoints", terminal.say, "the last one is kept")
        self._signal: signal.Signals | None = None
        self._diverged = False
        self._updates_and_drops = (0, 0)

    def run(self) -> Ending:
        """Train until T is reached, a signal comes, or no worker is left; every process is gone afterwards."""
        with self._signals():
            try:
                self._workers.start()
                self._loop()
                if self._signal is not None:
                    self._terminal.say(f"{self._signal.name}: stopping and saving; once more stops without saving")
                self._workers.stop()
                self._read_games()
                self._log()
                self._save()
                if self._checkpoint_outage.failing:
                    self._terminal.say(f"T = {self._table.total_steps():,} could not be saved")
                self._evaluations.finish(self._table.total_steps(), lambda: self._signal is not None or self._diverged)
                self._show()
            except StopAtOnceError:
                pass
            finally:
                self._workers.kill()
                self._evaluations.close()
                self._logs.close()
                self._terminal.close()
        if self._signal is not None:
            return Ending(128 + self._signal)
        finished = self._table.total_steps() >= self._config.steps and not self._diverged
        return Ending.FINISHED if finished else Ending.FAILED

    def _loop(self) -> None:
        config = self._config
        jobs = [
            Periodic(self._clock, self._terminal.interval_seconds, self._show, first_seconds=0),
            Periodic(self._clock, config.report_seconds, self._log, first_seconds=config.report_seconds),
            Periodic(self._clock, config.checkpoint_seconds, self._save, first_seconds=config.checkpoint_seconds),
        ]
        while self._signal is None and self._workers.any_alive and not self._diverged:
            self._workers.watch(POLL_SECONDS)
            self._read_games()
            for job in jobs:
                job.if_due()
            self._evaluations.look(self._table.total_steps())

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

    def _show(self) -> None:
        self._terminal.show(self._report(self._terminal_meter))

    def _log(self) -> None:
        report = self._report(self._log_meter)
        self._logs.report(report)
        self._health.look(self._workers.pids)
        updates, drops = self._updates_and_drops
        self._updates_and_drops = (report.updates, report.dropped_gradients)
        all_dropped = report.dropped_gradients > drops and report.updates == updates
        self._diverged = all_dropped or not np.isfinite(self._table["parameters"]).all()

    def _report(self, meter: Meter) -> Report:
        report = meter.read(self._logs.statistics, self._workers.stepping, self._workers.restarted)
        if (last := self._evaluation) is None:
            return report
        return dataclasses.replace(report, evaluated_score=last.mean, evaluated_steps=last.total_steps)

    def _evaluated(self, evaluation: Evaluation) -> None:
        self._evaluation = evaluation
        self._logs.evaluation(evaluation)

    def _save(self) -> None:
        """Write checkpoints/latest, and best if no checkpoint before had a higher mean score of 100 games.

        Where evaluations are made, they pick the best one.
        """
        if self._diverged:
            self._terminal.say("training has diverged: nothing is finite any more, and not saved; try a lower --lr")
            return
        statistics = self._logs.statistics
        score = statistics.mean_score if statistics.games >= 100 else None
        better = score is not None and np.isfinite(score) and (self._best_score is None or score > self._best_score)
        best_before, self._best_score = self._best_score, score if better else self._best_score
        latest, best = self._run_dir / checkpoint.LATEST, self._run_dir / checkpoint.BEST
        try:
            self._write(latest)
            if (better and not self._config.evaluate_every) or not best.exists():
                checkpoint.copy(latest, best)
        except OSError as error:
            self._best_score = best_before
            self._checkpoint_outage.failed(error)
        else:
            self._checkpoint_outage.succeeded()

    def _write(self, path: Path) -> None:
        """Write a checkpoint of now to ``path``; raises OSError."""
        progress = Progress(
            total_steps=self._table.total_steps(),
            seconds=self._clock.seconds(),
            restarted=self._workers.restarted,
            incarnations=self._workers.incarnations,
            best_score=self._best_score,
        )
        checkpoint.save(path, self._table, self._config, self._spec, self._layout, progress)

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
