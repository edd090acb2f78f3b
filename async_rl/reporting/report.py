"""What is reported: one row of measurements, and the statistics of the last finished games."""

import dataclasses
import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from async_rl.reporting.csv_log import readable_rows
from async_rl.stopwatch import PHASES
from async_rl.types import Game

GAMES_AVERAGED = 100
"""Of the newest games the mean is reported."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """One row of ``metrics.csv``: the run as measured over the interval since the last report."""

    total_steps: int
    """T: steps of all workers, over all sessions of the run."""
    total_frames: int
    """Emulator frames of all workers, over all sessions of the run."""
    seconds: float
    """Wall-clock seconds of training, over all sessions of the run."""
    steps_per_second: float
    """Steps of all workers per wall-clock second, over the interval."""
    frames_per_second: float
    """Emulator frames of all workers per wall-clock second, over the interval."""
    games: int
    """Games finished so far."""
    mean_score: float
    """Mean score of the last 100 games, in the game's own points; NaN before the first game has ended."""
    best_score: float
    """Highest score of a single game so far, in the game's own points; NaN before the first game has ended."""
    mean_length_steps: float
    """Mean length of the last 100 games in steps; NaN before the first game has ended."""
    td_loss: float
    """Mean squared TD error over the interval, whatever the loss; NaN without an update."""
    q_value: float
    """Mean Q(s, a) of the taken actions (a3c: V(s)) over the interval, in rewards as learnt from; else NaN."""
    gradient_norm: float
    """Mean Euclidean norm of the gradients over the interval; NaN without an update."""
    lr: float
    """Learning rate now."""
    epsilon_min: float
    """Smallest epsilon of all streams now: a probability."""
    epsilon_max: float
    """Largest epsilon of all streams now: a probability."""
    updates: int
    """Updates of the parameters by all workers so far."""
    target_refreshes: int
    """Multiples of the target's interval that T had passed when the parameters were last copied into it."""
    workers_alive: int
    """Worker processes that take steps now; not those that are still starting up."""
    workers_restarted: int
    """Workers started again after their process died or fell silent, so far."""
    dropped_gradients: int
    """Gradients dropped because they were not finite, so far."""
    steps_goal: int
    """Steps after which the run is finished; for progress and remaining time, not a column of ``metrics.csv``."""
    games_averaged: int
    """Games of which ``mean_score`` is the mean, 100 at most; not a column either."""
    evaluated_score: float = math.nan
    """Mean score of the last evaluation of this session, which has a file of its own; NaN before the first."""
    evaluated_steps: int = 0
    """T at which the network of that evaluation was saved."""
    exchange_bytes_per_step: float = math.nan
    """Bytes that islands and the holder of the common parameters have sent each other per step, over the interval; NaN
    on a single machine, as with the next three."""
    exchange_seconds: float = math.nan
    """Mean seconds that one exchange of an island took, over the interval."""
    exchange_share: float = math.nan
    """Mean fraction of the time in which an island's exchange was under way; its workers go on meanwhile."""
    staleness_steps: float = math.nan
    """Mean number of steps of other islands that a change of the parameters did not know of when it arrived."""
    phases: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Microseconds of one worker per step in each of `PHASES`, over the interval; empty without a step."""

    @property
    def progress(self) -> float:
        """Fraction of the run that is done, from 0 to 1."""
        return min(1.0, self.total_steps / self.steps_goal) if self.steps_goal > 0 else 1.0

    def row(self) -> list[float]:
        """The numbers of `REPORT_COLUMNS`."""
        return [*(getattr(self, name) for name in _FIELDS), *(self.phases.get(phase, math.nan) for phase in PHASES)]


_ELSEWHERE = ("steps_goal", "games_averaged", "evaluated_score", "evaluated_steps", "phases")
_FIELDS = tuple(field.name for field in dataclasses.fields(Report) if field.name not in _ELSEWHERE)
REPORT_COLUMNS = (*_FIELDS, *(f"{phase}_microseconds" for phase in PHASES))
GAME_COLUMNS = Game._fields


class EpisodeStatistics:
    """Scores (points) and lengths (steps) of the newest games, the number of games and the best score."""

    def __init__(self) -> None:
        self._scores: deque[float] = deque(maxlen=GAMES_AVERAGED)
        self._lengths: deque[int] = deque(maxlen=GAMES_AVERAGED)
        self.games = 0
        self.best_score = math.nan

    @classmethod
    def from_csv(cls, path: Path, up_to_steps: int) -> "EpisodeStatistics":
        """Statistics of the games in ``episodes.csv`` that ended at T <= ``up_to_steps``; none if there is no file.

        Rows that cannot be read are passed over.

        Raises:
            OSError: the file exists but cannot be read.
        """
        statistics = cls()
        try:
            file = path.open(encoding="utf-8", errors="replace", newline="")
        except FileNotFoundError:
            return statistics
        with file:
            for row in readable_rows(file):
                try:
                    steps, score, length = int(row["total_steps"]), float(row["score"]), int(row["length"])
                except (KeyError, TypeError, ValueError):
                    continue
                if not 0 <= length < 2**63:
                    continue
                if steps <= up_to_steps:
                    statistics._count(score, length)
        return statistics

    def add(self, games: Iterable[Game]) -> None:
        """Count finished games, in the order given."""
        for game in games:
            self._count(game.score, game.length)

    @property
    def games_averaged(self) -> int:
        """Number of games of which `mean_score` is the mean: those without a score do not count."""
        return len(self._scores)

    @property
    def mean_score(self) -> float:
        """Mean score of the last `GAMES_AVERAGED` games, in points; NaN before the first."""
        return sum(self._scores) / len(self._scores) if self._scores else math.nan

    @property
    def mean_length_steps(self) -> float:
        """Mean length of the last `GAMES_AVERAGED` games, in steps; NaN before the first."""
        return sum(self._lengths) / len(self._lengths) if self._lengths else math.nan

    def _count(self, score: float, length: int) -> None:
        self.games += 1
        self._lengths.append(int(length))
        if not math.isfinite(score):  # the environment gave a reward that was no finite number
            return
        self._scores.append(float(score))
        self.best_score = float(score) if math.isnan(self.best_score) else max(self.best_score, float(score))
