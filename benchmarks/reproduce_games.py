"""Parts of `benchmarks.reproduce` that play Atari: one-step Q on five games, other methods, replay; their tables.

Within a part all games and methods share one configuration but for what names them: no tuning per game.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from async_rl import Config
from async_rl.config_file import from_toml
from benchmarks import table
from benchmarks.study import Experiment

CONFIGS = Path(__file__).parent.parent / "configs"
GAMES = ("pong", "breakout", "beam_rider", "qbert", "space_invaders")
METHOD_GAMES = ("pong", "breakout")
METHODS = {
    "n-step Q": Config(algorithm="n-step-q", t_max=5, workers=2),
    "A3C": Config(algorithm="a3c", t_max=5, workers=2),
    "lambda": dataclasses.replace(from_toml(CONFIGS / "pqn.toml"), workers=2),
}
SCORED_GAMES = 100
"""A score in training is the mean of so many whole games in a row, exploration included, as on the panel."""

EPSILONS = (0.05, 0.01)
"""Of the evaluations of a final network."""


@dataclass(frozen=True)
class Score:
    """What training had come to at some point.

    Attributes:
        total_steps: T.
        seconds: of training until then.
        score: mean of the last `SCORED_GAMES` games.
    """

    total_steps: int
    seconds: float
    score: float


def one_step(games: Sequence[str], steps: int, seeds: Sequence[int]) -> list[Experiment]:
    """One-step Q-learning with the default settings and two workers: every game, every seed."""
    base = Config(workers=2, steps=steps)
    return [experiment("games", "one-step Q", base, game, seed) for seed in seeds for game in games]


def methods(games: Sequence[str], steps: int, seeds: Sequence[int]) -> list[Experiment]:
    """The other online methods on those of ``games`` that are `METHOD_GAMES`."""
    chosen = [game for game in METHOD_GAMES if game in games]
    return [
        experiment("methods", name, dataclasses.replace(base, steps=steps), game, seed)
        for seed in seeds
        for game in chosen
        for name, base in METHODS.items()
    ]


def experiment(part: str, method: str, base: Config, game: str, seed: int) -> Experiment:
    """One run of one method on one game."""
    name = f"{part}/{game}__{method.lower().replace(' ', '-')}__seed{seed}"
    return Experiment(name, dataclasses.replace(base, env=game, seed=seed))


def scores(run_dir: Path) -> list[Score]:
    """The score after each game, from the first on that has `SCORED_GAMES` behind it."""
    games = table.read(run_dir / "episodes.csv")
    points = [float(game["score"]) for game in games]
    total = sum(points[:SCORED_GAMES])
    made = []
    for end in range(SCORED_GAMES, len(games) + 1):
        if end > SCORED_GAMES:
            total += points[end - 1] - points[end - 1 - SCORED_GAMES]
        last = games[end - 1]
        made.append(Score(int(last["total_steps"]), float(last["seconds"]), total / SCORED_GAMES))
    return made


def at(scored: Sequence[Score], steps: float = float("inf"), seconds: float = float("inf")) -> Score | None:
    """The last score within so many steps and seconds; None before the first one."""
    return next((each for each in reversed(scored) if each.total_steps <= steps and each.seconds <= seconds), None)


def first(scored: Sequence[Score], score: float) -> Score | None:
    """When a score was reached first; None if never."""
    return next((each for each in scored if each.score >= score), None)
