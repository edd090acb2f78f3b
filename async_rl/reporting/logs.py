"""The files that a run leaves behind: ``metrics.csv``, ``episodes.csv`` and TensorBoard events."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from async_rl.checking import reason
from async_rl.evaluation import Evaluation
from async_rl.reporting.csv_log import NEW_RUN, CsvLog
from async_rl.reporting.report import GAME_COLUMNS, REPORT_COLUMNS, EpisodeStatistics, Report
from async_rl.reporting.tensorboard_log import TensorBoardLog
from async_rl.types import Game


class Logs:
    """All logs of one run; see `open_logs`. No method raises when a file cannot be written."""

    statistics: EpisodeStatistics
    """Of all games of the run so far, those of former sessions included."""

    def __init__(
        self, metrics: CsvLog, episodes: CsvLog, tensorboard: TensorBoardLog, statistics: EpisodeStatistics
    ) -> None:
        self.statistics = statistics
        self._metrics = metrics
        self._episodes = episodes
        self._tensorboard = tensorboard
        self._games_since_report: list[Game] = []

    def games(self, games: Sequence[Game]) -> None:
        """Log finished games and count them in `statistics`."""
        self.statistics.add(games)
        self._episodes.write(games)
        self._games_since_report.extend(games)

    def report(self, report: Report) -> None:
        """Log one report; the games since the last one belong to its interval."""
        self._metrics.write([report.row()])
        self._tensorboard.report(report, self._games_since_report)
        self._games_since_report.clear()

    def evaluation(self, evaluation: Evaluation) -> None:
        """Show an evaluation in TensorBoard, at the T of its network."""
        self._tensorboard.evaluation(evaluation)

    def close(self) -> None:
        """Close all files."""
        self._metrics.close()
        self._episodes.close()
        self._tensorboard.close()


def open_logs(
    run_dir: Path, settings: Mapping[str, object], resume_at_steps: int | None, say: Callable[[str], None]
) -> Logs:
    """Open the logs of a run in its directory.

    Args:
        run_dir: where ``metrics.csv``, ``episodes.csv`` and the event files are. It is not made: where it has gone, so
            has its disk.
        settings: the configuration by name, for TensorBoard.
        resume_at_steps: T of the checkpoint from which the run goes on. What was logged beyond it is moved aside
            (CSV) or hidden (TensorBoard). None: a new run; all that another one has logged there is moved aside.
        say: takes one line when a log cannot be written, and one when it can be again.
    """
    last_step = NEW_RUN if resume_at_steps is None else resume_at_steps
    episodes_path = run_dir / "episodes.csv"
    episodes = CsvLog(episodes_path, GAME_COLUMNS, last_step, say)
    metrics = CsvLog(run_dir / "metrics.csv", REPORT_COLUMNS, last_step, say)
    try:
        statistics = EpisodeStatistics.from_csv(episodes_path, last_step)
    except OSError as error:
        say(f"cannot read {episodes_path.name} ({reason(error)}); games are counted from 0")
        statistics = EpisodeStatistics()
    return Logs(metrics, episodes, TensorBoardLog(run_dir, settings, last_step, say), statistics)
