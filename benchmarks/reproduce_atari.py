"""The runs of `benchmarks.reproduce` on Atari: one-step Q on five games, other methods, replay.

All games of a method share one configuration: no tuning per game, as in Mnih et al. 2016, arXiv 1602.01783.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from async_rl import Config
from async_rl.config_file import from_toml
from benchmarks.study import Experiment

CONFIGS = Path(__file__).parent.parent / "configs"
GAMES = ("pong", "breakout", "beam_rider", "qbert", "space_invaders")

METHOD_GAMES = ("pong", "breakout")
"""Of part methods; `BEST_METHOD` has all games."""

BEST_METHOD = "lambda, 4 epochs"

_PQN, _EPOCHS = from_toml(CONFIGS / "pqn.toml"), from_toml(CONFIGS / "pqn_epochs.toml")

METHODS = {
    # With the learning rate of its paper, and epsilon annealed over a tenth of 10 million steps.
    "lambda": dataclasses.replace(_PQN, lr=2.5e-4, epsilon_anneal_steps=1_000_000),
    BEST_METHOD: _EPOCHS,
    "n-step Q": Config(algorithm="n-step-q", t_max=5),
    "A3C": Config(algorithm="a3c", t_max=5),
}

SPRINTS = {
    "lambda, 20 minutes": dataclasses.replace(_PQN, steps=4_500_000),
    "lambda, 4 epochs, 20 minutes": dataclasses.replace(_EPOCHS, steps=2_000_000, epsilon_anneal_steps=200_000),
}
"""On Pong, with as many steps as two cores make in less than 20 minutes. The first is the preset itself, which on
Breakout had learnt nothing after 700,000 steps, of which it explored in 250,000: 0.9 points."""

REPLAY_STEPS = 1_000_000
"""Length of the runs with replay, which take several times as long for a step, and of the one beside them."""

REPLAY = {
    "one-step Q": Config(),
    **{
        name.replace("_", " "): from_toml(CONFIGS / f"{name}.toml")
        for name in ("dqn", "double_dqn", "prioritized_dqn", "dueling_dqn")
    },
}


def one_step(games: Sequence[str], workers: int, steps: int, seeds: Sequence[int]) -> list[Experiment]:
    """One-step Q-learning with the default settings."""
    return _runs("games", games, {"one-step Q": Config(workers=workers)}, steps, seeds)


def layer_norm(games: Sequence[str], workers: int, steps: int, seeds: Sequence[int]) -> list[Experiment]:
    """The same with layer normalisation, without which Space Invaders stays on one score for millions of steps."""
    bases = {"one-step Q, layer norm": Config(workers=workers, norm="layer")}
    return _runs("layer_norm", games, bases, steps, seeds)


def methods(games: Sequence[str], workers: int, steps: int, seeds: Sequence[int]) -> list[Experiment]:
    """The other online methods, all of them on `METHOD_GAMES`."""
    bases = {name: dataclasses.replace(base, workers=workers) for name, base in METHODS.items()}
    others = _runs("methods", [game for game in METHOD_GAMES if game in games], bases, steps, seeds)
    best = {BEST_METHOD: bases[BEST_METHOD]}
    others += _runs("methods", [game for game in games if game not in METHOD_GAMES], best, steps, seeds)
    sprints: list[Experiment] = []
    for name, base in SPRINTS.items():
        if "pong" in games and steps >= base.steps:
            runs = {name: dataclasses.replace(base, workers=workers)}
            sprints += _runs("methods", ["pong"], runs, base.steps, seeds)
    return sprints + others


def replay(workers: int, steps: int, seeds: Sequence[int]) -> list[Experiment]:
    """The replay agents on Pong, whose workers have a share of the memory each, and as many steps without replay."""
    bases = {name: dataclasses.replace(base, workers=workers) for name, base in REPLAY.items()}
    return _runs("replay", ["pong"], bases, min(steps, REPLAY_STEPS), seeds)


def _runs(
    part: str, games: Sequence[str], bases: Mapping[str, Config], steps: int, seeds: Sequence[int]
) -> list[Experiment]:
    """Every game with every method, then the same with the next seed."""
    return [
        Experiment(
            f"{part}/{game}__{_plain(method)}__seed{seed}",
            dataclasses.replace(base, env=game, steps=steps, seed=seed),
            method,
        )
        for seed in seeds
        for game in games
        for method, base in bases.items()
    ]


def _plain(method: str) -> str:
    """As part of a directory's name."""
    return re.sub(r"\W+", "-", method.lower())
