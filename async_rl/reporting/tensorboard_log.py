"""TensorBoard events of a run; the x axis is T, the steps of all workers."""

import errno
import math
import shutil
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from async_rl.config import NOTHING_LEARNT
from async_rl.evaluation import Evaluation
from async_rl.reporting.outage import Outage
from async_rl.reporting.report import Report
from async_rl.types import Game

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

PENDING_REPORTS = 1_000
"""Reports kept in memory while events cannot be written; beyond that the oldest are given up."""

LEAST_FREE_BYTES = 1 << 20
"""Free space on the disk below which events wait in memory."""

_METRICS = ("charts/mean_score_100",)
"""Columns of the HPARAMS page beside the settings: the last value of each run."""

_COMPARED = ("algorithm", "env", "lr", "optimizer", "seed")
"""Settings that the HPARAMS page shows without being asked; all others can be ticked there."""


class TensorBoardLog:
    """Writes the scalars of each report and, once, the settings of the run.

    A resumed run starts a new event file in the same directory, which hides all events beyond ``last_step``
    (`csv_log.NEW_RUN`: all that there are). No method raises when events cannot be written: that is told to ``say``
    once, and the reports are tried again with the next one.
    """

    def __init__(
        self, directory: Path, settings: Mapping[str, object], last_step: int, say: Callable[[str], None]
    ) -> None:
        self._directory = directory
        self._settings = settings
        self._last_step = last_step
        self._pending: deque[tuple[int, float, dict[str, float]]] = deque(maxlen=PENDING_REPORTS)
        self._outage = Outage("TensorBoard events", say)
        self._writer: SummaryWriter | None = None
        self._settings_are_due = True
        self._opened_in = 0  # the second of the newest file
        self._flush()

    def report(self, report: Report, games: Sequence[Game]) -> None:
        """Write one point of each curve at T = ``report.total_steps``; ``games`` ended within the interval."""
        self._pending.append((report.total_steps, time.time(), scalars(report, games)))
        self._flush()

    def evaluation(self, evaluation: Evaluation) -> None:
        """Write one point at T = ``evaluation.total_steps``."""
        figures = {name: getattr(evaluation, name) for name in ("mean", "median", "best", "standard_error")}
        finite = {f"evaluation/{name}": value for name, value in figures.items() if math.isfinite(value)}
        self._pending.append((evaluation.total_steps, time.time(), finite))
        self._flush()

    def close(self) -> None:
        """Write what is pending and close the event file."""
        if self._pending:
            self._flush()
        self._abandon()

    def _flush(self) -> None:
        try:
            _check_room(self._directory)
            writer = self._writer = self._writer or self._open()
            if self._settings_are_due:
                _write_settings(writer, self._settings, max(0, self._last_step))
            for step, wall_time, values in self._pending:
                for tag, value in values.items():
                    writer.add_scalar(tag, value, step, walltime=wall_time)
            writer.flush()
        except Exception as error:  # the writer's thread passes on whatever it met: of OSError and of its own classes
            self._outage.failed(error)
            self._abandon()  # a writer that has failed once fails for ever; the next report begins a new file
        else:
            self._settings_are_due = False
            self._pending.clear()
            self._outage.succeeded()

    def _open(self) -> "SummaryWriter":
        from torch.utils.tensorboard import SummaryWriter  # takes two seconds, and no test of other parts needs it

        # Files are read in the order of their names, in which those of one second may stand in any order.
        while int(time.time()) == self._opened_in:
            time.sleep(0.02)
        # Only the first file of a session hides events; one begun after a failure continues this session.
        purge_step = self._last_step + 1 if self._settings_are_due else None
        writer = SummaryWriter(str(self._directory), purge_step=purge_step)
        self._opened_in = int(time.time())
        return writer

    def _abandon(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            try:
                writer.close()
            except Exception as error:
                self._outage.failed(error)


def _check_room(directory: Path) -> None:
    """Raise OSError where a write is bound to fail.

    Left to itself a new writer would create a lost directory anew, and its thread prints a traceback at each failure.
    """
    if shutil.disk_usage(directory).free < LEAST_FREE_BYTES:
        raise OSError(errno.ENOSPC, "no space left on the device")


def scalars(report: Report, games: Sequence[Game]) -> dict[str, float]:
    """The finite numbers of a report by TensorBoard tag; ``games`` ended within the report's interval."""
    values = {
        "charts/episodic_return": sum(game.score for game in games) / len(games) if games else math.nan,
        "charts/episodic_length": sum(game.length for game in games) / len(games) if games else math.nan,
        "charts/mean_score_100": report.mean_score,
        "charts/best_score": report.best_score,
        "charts/games": report.games,
        "charts/steps_per_second": report.steps_per_second,
        "charts/frames_per_second": report.frames_per_second,
        "charts/epsilon_min": report.epsilon_min,
        "charts/epsilon_max": report.epsilon_max,
        "charts/learning_rate": report.lr,
        "losses/td_loss": report.td_loss,
        "losses/q_values": report.q_value,
        "losses/gradient_norm": report.gradient_norm,
        "losses/updates": report.updates,
        "losses/target_refreshes": report.target_refreshes,
        "losses/dropped_gradients": report.dropped_gradients,
        "workers/alive": report.workers_alive,
        "workers/restarted": report.workers_restarted,
        "exchange/bytes_per_step": report.exchange_bytes_per_step,
        "exchange/seconds": report.exchange_seconds,
        "exchange/share": report.exchange_share,
        "exchange/staleness_steps": report.staleness_steps,
        **{f"phases/{phase}_microseconds": value for phase, value in report.phases.items()},
    }
    return {tag: value for tag, value in values.items() if math.isfinite(value)}


def _write_settings(writer: "SummaryWriter", settings: Mapping[str, object], step: int) -> None:
    """The settings as a table of text, and for the HPARAMS page.

    ``SummaryWriter.add_hparams`` would begin a second run in a subdirectory; its summaries go into this one.
    """
    from torch.utils.tensorboard.summary import hparams

    rows = "".join(f"|{name}|{value}|\n" for name, value in settings.items())
    writer.add_text("settings", f"|setting|value|\n|-|-|\n{rows}", step)
    plain = {
        name: value if isinstance(value, bool | int | float) else str(value)
        for name, value in settings.items()
        if name not in NOTHING_LEARNT  # these are in the table of text only
    }
    experiment, *session = hparams(plain, dict.fromkeys(_METRICS, 0))
    _put_first(experiment)
    file_writer: Any = writer.file_writer
    for summary in (experiment, *session):
        file_writer.add_summary(summary)


def _put_first(experiment: Any) -> None:
    """Mark the settings of `_COMPARED`: the page shows five, marked ones first, and would else begin with a, b, c."""
    from tensorboard.plugins.hparams import plugin_data_pb2

    holder = experiment.value[0].metadata.plugin_data
    data = plugin_data_pb2.HParamsPluginData.FromString(holder.content)
    for info in data.experiment.hparam_infos:
        info.differs = info.name in _COMPARED
    holder.content = data.SerializeToString()
