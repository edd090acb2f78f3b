"""What a run directory tells about a run's course."""

import csv
import io
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from async_rl.checking import reason
from async_rl.config import Config
from async_rl.config_file import to_values
from async_rl.run_directory import CLUSTER, CONFIG, sessions
from async_rl.types import UserError


@dataclass(frozen=True)
class Run:
    """A run and its N finished games with scores that are numbers, in the order in which they ended.

    Attributes:
        settings: of ``config.toml``, by the names used there; what it does not say has its default. Of a run on many
            machines those of ``cluster.toml``, too; ``init_from`` is the game of a network that another run has learnt
            and this one began with.
        game: the environment's canonical name.
        frames_per_step: emulator frames that a step lasts.
        total_steps: T when each game ended, [N] float64.
        seconds: of training until then, [N] float64.
        scores: the games' own, unclipped, [N] float64.
        final_epsilons: of the stream that played, [N] float64; NaN where that is not recorded.
    """

    settings: dict[str, Any]
    game: str
    frames_per_step: float
    total_steps: np.ndarray
    seconds: np.ndarray
    scores: np.ndarray
    final_epsilons: np.ndarray


class NoGamesError(UserError):
    """A run of which no finished game is on record."""


def read_run(directory: Path) -> Run:
    """Read a run from its directory, also while it is under way.

    Raises:
        NoGamesError: no game is finished yet, or none is on record.
        UserError: it is no run directory, or a file is damaged.
    """
    if not directory.is_dir():
        raise UserError(
            f"there is no run directory {directory}; runs are kept in runs/ unless --run-dir said otherwise."
        )
    settings = _settings(directory)
    games = _columns(directory / "episodes.csv", ("total_steps", "seconds", "worker", "stream", "score"))
    known = np.isfinite(games["score"])  # of a game with a reward that was no number it is not
    games = {name: column[known] for name, column in games.items()}
    if not len(games["score"]):
        raise NoGamesError(f"the run {directory} has no finished game with a score yet; let it train a while longer.")
    if not all(np.isfinite(column).all() for column in games.values()):
        raise UserError(f"{directory / 'episodes.csv'} is damaged: a number in it is not finite.")
    recorded = sessions(directory)
    first, last = (recorded or [{}])[0], (recorded or [{}])[-1]
    if isinstance(donor := first.get("init_from"), dict):
        settings["init_from"] = str(donor.get("env"))
    return Run(
        settings,
        game=str(last.get("env", settings["env"])),
        frames_per_step=_frames_per_step(directory, last),
        total_steps=games["total_steps"],
        seconds=games["seconds"],
        scores=games["score"],
        final_epsilons=_final_epsilons(recorded, games["worker"], games["stream"]),
    )


def _settings(directory: Path) -> dict[str, Any]:
    """Without the checks of `async_rl.config_file.from_toml`: runs of other versions can be drawn, too."""
    settings = to_values(Config()) | _toml(directory / CONFIG)
    spread = _toml(directory / CLUSTER) if (directory / CLUSTER).exists() else {}
    return settings | (spread if spread.get("islands", 1) != 1 else {})


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path.parent} is no run directory: cannot read {path.name}: {reason(error)}.") from None
    except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, a number of too many digits
        raise UserError(f"{path} is damaged: {error}.") from None


def _frames_per_step(directory: Path, session: dict[str, Any]) -> float:
    """By its last report; of a run without any by its record, and where that does not say it, 1."""
    reports = _columns(directory / "metrics.csv", ("total_steps", "total_frames"))
    steps, frames = (column[-1] if len(column) else 0.0 for column in reports.values())
    if steps > 0 and 0 < frames < np.inf:
        return float(frames / steps)
    recorded = session.get("frames_per_step")
    return float(recorded) if isinstance(recorded, int) and 0 < recorded < 2**31 else 1.0


def _columns(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Columns of a CSV file as float64; empty if there is no file. What follows the last newline is being written."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    except OSError as error:
        raise UserError(f"cannot read {path}: {reason(error)}.") from None
    text = text[: text.rfind("\n") + 1]
    if text.count("\n") < 2:
        return {name: np.empty(0) for name in names}
    try:
        header = next(csv.reader([text[: text.index("\n")]]))
    except csv.Error as error:  # a name of more characters than a field may have
        raise UserError(f"{path} is damaged: {error}.") from None
    if missing := [name for name in names if name not in header]:
        raise UserError(f"{path} is damaged: it has no column {missing[0]}.")
    try:
        table = np.loadtxt(io.StringIO(text), delimiter=",", skiprows=1, ndmin=2, comments=None)
    except ValueError as error:
        first = str(error).partition(";")[0]
        raise UserError(f"{path} is damaged: {first}; mend or delete that row.") from None
    if table.shape[1] != len(header):
        raise UserError(f"{path} is damaged: {table.shape[1]} numbers in a row of {len(header)} columns.")
    return {name: table[:, header.index(name)] for name in names}


def _final_epsilons(sessions: list[dict[str, Any]], workers: np.ndarray, streams: np.ndarray) -> np.ndarray:
    """The final epsilon that each game's stream drew; NaN for streams that no session has recorded."""
    of_stream: dict[tuple[int, int], float] = {}
    try:
        for session in sessions:
            for name, drawn in session["seeds"]["final_epsilons"].items():
                of_stream |= {(int(name.split()[1]), stream): float(e) for stream, e in enumerate(drawn)}
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        pass  # as far as it can be read
    pairs = zip(workers.astype(int).tolist(), streams.astype(int).tolist(), strict=True)
    return np.array([of_stream.get(pair, np.nan) for pair in pairs])
