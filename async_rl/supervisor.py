"""The launcher's loop: watch the workers, report, write checkpoints, stop.

Life of a run, seen from here:

    start 16 workers --> [ wait 0.1 s or until one ends --> games --> report --> checkpoint ]* --> stop --> checkpoint
                              |                                              |
                              one died or fell silent: start it again        T reached, Ctrl-C, SIGTERM, SIGHUP
"""

import dataclasses
import enum
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from async_rl import checkpoint, storage
from async_rl.build import stored_bytes, unread_games
from async_rl.checkpoint import Progress
from async_rl.config import Config
from async_rl.divergence import Divergence
from async_rl.evaluation import Evaluation
from async_rl.evaluations import Evaluations
from async_rl.health import Health
from async_rl.meter import Clock, Meter
from async_rl.processes import WorkerProcesses
from async_rl.reporting import Logs, Outage, Report, Terminal
from async_rl.reporting.report import GAMES_AVERAGED
from async_rl.shared import SharedTable
from async_rl.shared.bind import Layout
from async_rl.signals import Signals, StopAtOnceError
from async_rl.types import EnvSpec, Game, UserError

POLL_SECONDS = 0.1


class Ending(enum.Enum):
    """How a run ended; the value is the exit code of the command."""

    FINISHED = 0
    FAILED = 1
    INTERRUPTED = 128 + signal.SIGINT
    TERMINATED = 128 + signal.SIGTERM
    DISCONNECTED = 128 + signal.SIGHUP


class Workers(Protocol):
    """What the supervisor has to know of its workers, wherever they run; see `WorkerProcesses`."""

    @property
    def restarted(self) -> int:
        """Workers started again so far."""

    @property
    def incarnations(self) -> tuple[int, ...]:
        """How often each worker has been started, minus one."""

    @property
    def any_alive(self) -> bool:
        """Whether one goes on, or is about to."""

    @property
    def stepping(self) -> int:
        """Number of workers that take steps."""

    @property
    def pids(self) -> Mapping[int, int]:
        """Processes of this machine, by worker."""

    def start(self) -> None:
        """Have all of them started, at once or by `watch`."""

    def watch(self, seconds: float) -> None:
        """Look after them for at most that long."""

    def stop(self) -> None:
        """Let them finish their segments and end."""

    def kill(self) -> None:
        """End them at once."""


MakeWorkers = Callable[[Config, SharedTable, Path, Progress, Callable[[str], None]], Workers]
"""Makes the workers of a run from its settings, table, directory and progress, and what takes a line about them."""


def on_this_machine(
    config: Config, table: SharedTable, run_dir: Path, progress: Progress, say: Callable[[str], None]
) -> Workers:
    """All workers as child processes: what `MakeWorkers` is unless there is a cluster."""
    return WorkerProcesses(config, table, run_dir / "errors", progress.incarnations, progress.restarted, say)


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
        make_workers: MakeWorkers = on_this_machine,
    ):
        self._config, self._spec, self._layout = config, spec, layout
        self._table = table
        self._nothing_left = table.total_steps() >= config.steps
        self._run_dir = run_dir
        self._logs = logs
        self._terminal = terminal
        self._clock = Clock(progress.seconds)
        self._best_score = progress.best_score
        self._workers = make_workers(config, table, run_dir, progress, terminal.say)
        self._evaluations = Evaluations(
            config, run_dir, table.total_steps(), self._write_finite, self._evaluated, terminal.say
        )
        self._evaluation: Evaluation | None = None
        self._evaluation_shown: Evaluation | None = None
        self._games_read = np.zeros(config.workers, dtype=np.int64)
        self._log_meter, self._terminal_meter = (
            Meter(config, table, self._clock, spec.frames_per_step) for _ in range(2)
        )
        self._health = Health(config, table, stored_bytes(spec), terminal.say)
        self._checkpoint_outage = Outage("checkpoints", terminal.say, "the last one is kept")
        self._signals = Signals()
        self.divergence = Divergence(config, table, terminal.say)

    def run(self) -> Ending:
        """Train until T is reached, a signal comes, or no worker is left; every process is gone afterwards."""
        with self._signals as signals:
            try:
                self._workers.start()
                self._loop()
                if signals.received is not None:
                    hint = "; once more stops without saving" if signals.received == signal.SIGINT else ""
                    self._terminal.say(f"{signals.received.name}: stopping and saving{hint}")
                self._workers.stop()
                self._read_games()
                if not self._nothing_left:
                    self._log()
                    self._save()
                self._evaluations.finish(self._table.total_steps(), lambda: self._stopped)
                if self._checkpoint_outage.failing:
                    self._save_at_last()
                signals.interruptible = False
                self._show_last()
            except StopAtOnceError:
                pass
            finally:
                signals.interruptible = False
                self._workers.kill()
                self._evaluations.close()
                self._logs.close()
                self._terminal.close()
        if signals.received is not None:
            return Ending(128 + signals.received)
        done = self._table.total_steps() >= self._config.steps
        finished = done and not self.diverged and not self._checkpoint_outage.failing
        return Ending.FINISHED if finished else Ending.FAILED

    @property
    def diverged(self) -> bool:
        """Whether the numbers are no longer finite; nothing has been saved since."""
        return self.divergence.diverged

    @property
    def progress(self) -> Progress:
        """What the run has done until now."""
        return Progress(
            total_steps=self._table.total_steps(),
            seconds=self._clock.seconds(),
            restarted=self._workers.restarted,
            incarnations=self._workers.incarnations,
            best_score=self._best_score,
        )

    @property
    def _stopped(self) -> bool:
        return self._signals.received is not None or self.diverged

    def _loop(self) -> None:
        config = self._config
        jobs = [
            Periodic(self._clock, self._terminal.interval_seconds, self._show, first_seconds=0),
            Periodic(self._clock, config.report_seconds, self._log, first_seconds=config.report_seconds),
            Periodic(self._clock, config.checkpoint_seconds, self._save, first_seconds=config.checkpoint_seconds),
        ]
        while self._workers.any_alive and not self._stopped:
            self._workers.watch(POLL_SECONDS)
            self._read_games()
            for job in jobs:
                job.if_due()
            self._evaluations.look(self._table.total_steps())

    def _read_games(self) -> None:
        """Take what the workers have put into their rings since the last time."""
        seconds = self._clock.seconds()
        games: list[Game] = []
        for worker, read in enumerate(self._games_read.tolist()):
            new, written = unread_games(self._table, worker, read)
            if lost := written - read - len(new):
                self._terminal.say(f"worker {worker}: {lost} games were overwritten unread")
            for total_steps, stream, score, length, epsilon in new.tolist():
                games.append(Game(int(total_steps), seconds, worker, int(stream), score, int(length), epsilon))
            self._games_read[worker] = written
        if games:
            self._logs.games(sorted(games))

    def _show(self) -> None:
        self._terminal.show(self._report(self._terminal_meter))
        self._evaluation_shown = self._evaluation

    def _show_last(self) -> None:
        """Show how the run has ended, if that has not been shown."""
        if self._table.total_steps() > self._terminal_meter.read_at or self._evaluation is not self._evaluation_shown:
            self._show()

    def _log(self) -> None:
        self._logs.report(self._report(self._log_meter))
        self._health.look(self._workers.pids)
        self.divergence.look()

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
        self.divergence.look()
        if self.diverged:
            return
        statistics = self._logs.statistics
        score = statistics.mean_score if statistics.games_averaged == GAMES_AVERAGED else None
        better = score is not None and np.isfinite(score) and (self._best_score is None or score > self._best_score)
        best_before, self._best_score = self._best_score, score if better else self._best_score
        latest, best = self._run_dir / checkpoint.LATEST, self._run_dir / checkpoint.BEST
        try:
            also = (better and not self._config.evaluate_every) or not best.exists()
            self._write(latest, best if also else None)
        except OSError as error:
            self._best_score = best_before
            self._checkpoint_outage.failed(error)
        else:
            self._checkpoint_outage.succeeded()

    def _save_at_last(self) -> None:
        """Try once more what could not be saved when the workers stopped."""
        self._save()
        if self._checkpoint_outage.failing:
            self._terminal.say(f"T = {self._table.total_steps():,} could not be saved")

    def _write_finite(self, path: Path) -> None:
        """Write a checkpoint to be evaluated; raises OSError, and UserError where the numbers are not finite.

        Where nothing was left to train it is the last one, as it may have been trained with other settings.
        """
        if self._nothing_left:
            storage.write(path, (self._run_dir / checkpoint.LATEST).read_bytes())
            return
        self.divergence.look()
        if self.diverged:
            raise UserError("the numbers are no longer finite.")
        self._write(path)

    def _write(self, path: Path, first: Path | None = None) -> None:
        """Write a checkpoint of now, see `checkpoint.save`; raises OSError."""
        content = checkpoint.encode(self._table, self._config, self._spec, self._layout, self.progress)
        self._read_games()  # of the steps that it counts: they are logged before it is there
        checkpoint.save(path, content, first)
