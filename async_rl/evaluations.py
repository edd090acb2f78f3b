"""Evaluation during training: every so many steps a process of its own plays whole games with the network as it was.

The best network of the run is picked by these scores: training scores are of many networks, each a little older, and
include exploration. The best score is the highest of many, and so more than its network is worth; evaluated anew it
plays other games (`async_rl.seeding.evaluation_seed`). One evaluation runs at a time, at low priority. Whatever happens
to its process harms nothing.

    T = 1,000,000 --> save checkpoints/evaluating --> play --> evaluations.csv --> checkpoints/best, if it is better
"""

import contextlib
import math
from collections.abc import Callable
from pathlib import Path

from async_rl import checkpoint, evaluation
from async_rl.checking import reason
from async_rl.config import Config
from async_rl.evaluation import Evaluation, make_protocol
from async_rl.export import read_network
from async_rl.match import Match
from async_rl.reporting.csv_log import CsvLog, readable_rows
from async_rl.seeding import evaluation_seed
from async_rl.types import UserError

COLUMNS = ("total_steps", "seconds", "mean", "median", "standard_error", "episodes", "epsilon")
"""Of ``evaluations.csv``: T and seconds of training when the network was saved, figures of the scores, protocol."""

FILE = "evaluations.csv"
NICENESS = 10
"""Of the process that plays: about a tenth of a core that a worker wants, too."""

POLL_SECONDS = 0.1


class Evaluations:
    """All evaluations of one run in training.

    Args:
        config: of the run; with ``evaluate_every`` 0 nothing is ever evaluated.
        run_dir: of the run.
        resumed_at: T from which the run goes on; what was evaluated beyond it is moved aside.
        save: writes a checkpoint of now to a path.
        done: takes each evaluation.
        say: takes a line about each evaluation, and about whatever goes wrong.
    """

    def __init__(
        self,
        config: Config,
        run_dir: Path,
        resumed_at: int,
        save: Callable[[Path], None],
        done: Callable[[Evaluation], None],
        say: Callable[[str], None],
    ):
        self._every = config.evaluate_every
        self._due = math.inf
        self._run_dir = run_dir
        self._save, self._done, self._say = save, done, say
        self._match: Match | None = None
        self._seconds = math.nan
        self._network = run_dir / checkpoint.BEST.with_stem("evaluating")
        if self._every:
            self._protocol = make_protocol(config, episodes=config.evaluate_episodes, seed=evaluation_seed(config.seed))
            self._best = best_mean(run_dir)
            self._log = CsvLog(run_dir / FILE, COLUMNS, resumed_at, say)
            evaluated = (row[0] for row in _rows(run_dir / FILE) if row[0] <= resumed_at)
            self._due = self._next(max(evaluated, default=0))  # which may be long ago

    def look(self, total_steps: int) -> None:
        """Start what is due at T = ``total_steps``, and see to what has begun; to be called often."""
        if self._match is None and total_steps >= self._due:
            self._due = self._next(total_steps)
            self._start()
        elif self._match is not None and not self._match.watch(0):
            self._conclude(self._match)

    def finish(self, total_steps: int, interrupted: Callable[[], bool]) -> None:
        """At the end of the training: wait for what has begun or is due, unless ``interrupted``."""

        def waits() -> bool:
            """Whether there is still something to wait for."""
            return not interrupted() and (self._match is not None or total_steps >= self._due)

        if waits():
            self._say("the training is done; waiting for the evaluation")
        while waits():
            if self._match is None or not self._match.watch(POLL_SECONDS):
                self.look(total_steps)

    def close(self) -> None:
        """End what is under way."""
        if self._match is not None:
            self._match.kill()
            self._forget()
        if self._every:
            self._log.close()

    def _next(self, total_steps: float) -> float:
        return (total_steps // self._every + 1) * self._every

    def _start(self) -> None:
        try:
            self._forget()  # the network of a process that was killed may be there
            self._save(self._network)
            saved = read_network(self._network, trust_code=True)  # it is this run's own
            self._seconds = saved.seconds
            self._match = Match(saved, self._protocol, 1, self._run_dir / "errors", self._say, NICENESS)
        except (OSError, UserError) as error:
            self._say(f"cannot evaluate: {reason(error)}")
            self._forget()

    def _conclude(self, match: Match) -> None:
        """Take what came of a match that is over."""
        if match.failure is not None:
            self._say(f"an evaluation failed: {match.failure} Training goes on")
            self._forget()
            return
        result = match.evaluation()
        better = result.mean > self._best
        self._say(_sentence(result) + (", the best so far" if better else ""))
        try:
            if better:
                self._network.replace(self._run_dir / checkpoint.BEST)
                self._best = result.mean
            folder = self._run_dir / evaluation.FOLDER
            folder.mkdir(exist_ok=True)  # but not the run's own: where that has gone, so has its disk
            evaluation.write(result, folder / evaluation.file_name(result.total_steps))
        except (OSError, UserError) as error:
            self._say(f"cannot keep the evaluation: {reason(error).rstrip('.')}; training goes on")
        self._log.write([_row(result, self._seconds)])  # last: a resumed run takes the best mean from there
        self._done(result)
        self._forget()

    def _forget(self) -> None:
        self._match = None
        with contextlib.suppress(OSError):
            self._network.unlink(missing_ok=True)


def best_mean(run_dir: Path) -> float:
    """Highest mean score of the evaluations so far, those included that a resumed run has moved aside."""
    files = (FILE, FILE.replace(".csv", ".discarded.csv"))
    means = [row[2] for name in files for row in _rows(run_dir / name)]
    return max((mean for mean in means if not math.isnan(mean)), default=-math.inf)


def _rows(path: Path) -> list[list[float]]:
    """The numbers of `COLUMNS` of each whole row; none if there is no file."""
    rows = []
    with contextlib.suppress(OSError), path.open(encoding="utf-8", errors="replace", newline="") as file:
        for row in readable_rows(file):
            with contextlib.suppress(KeyError, TypeError, ValueError):  # a torn row
                rows.append([float(row[column]) for column in COLUMNS])
    return rows


def _row(result: Evaluation, seconds: float) -> list[float]:
    epsilon = math.nan if result.protocol.epsilon is None else result.protocol.epsilon
    figures = (result.mean, result.median, result.standard_error)
    return [result.total_steps, seconds, *figures, result.protocol.episodes, epsilon]


def _sentence(result: Evaluation) -> str:
    return (
        f"evaluation at T = {result.total_steps:,}: mean score {result.mean:,.2f} "
        f"(standard error {result.standard_error:.2f}, {result.protocol.episodes} games)"
    )
