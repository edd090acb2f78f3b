"""What async_rl learns, made again: curves, tables and networks, by one command that goes on where it was cut off.

``python -m benchmarks.reproduce --parts games --games pong breakout``. Training runs stay below ``--runs``; what is
finished is not trained again. Results go to ``--output``, made out of whatever runs are there, finished or not
(``--steps 0`` only makes results), and the tables of the README are filled in with ``--readme``. ``make
reproduce-quick`` makes a small version of every part.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from benchmarks import reproduce_games
from benchmarks.study import Study
from launch import command

Part = Literal["games", "methods", "streams", "robustness", "replay"]


@dataclass(frozen=True)
class Options:
    """Train and measure what the README shows.

    games: one-step Q on five games; methods: n-step Q, A3C and lambda-returns on Pong and Breakout; streams: steps and
    time to learn with 1 to 16 streams; robustness: score against learning rate for three optimisers; replay: the
    replay agents beside one-step Q on Pong. On 2 cores the parts on Atari take an hour for each run of 10 million
    steps, the others less than an hour each.
    """

    parts: tuple[Part, ...] = ("games", "methods", "streams", "robustness", "replay")
    """What to make."""
    games: tuple[str, ...] = reproduce_games.GAMES
    """Atari games, by their plain names."""
    steps: int = 10_000_000
    """Length of each run on Atari; 0: train nothing, only make the results of what is there."""
    seeds: tuple[int, ...] = (0,)
    """Of the runs on Atari."""
    toy_seeds: int = 10
    """Runs of each setting on the toy in part streams; part robustness has five times as many for each optimiser."""
    runs: Path = Path("runs") / "reproduce"
    """Directory of the training runs."""
    output: Path = Path("benchmarks") / "results" / "reproduce"
    """Directory for tables, pictures and networks."""
    readme: Path | None = None
    """File whose tables between ``<!-- reproduce: PART -->`` and ``<!-- end -->`` are to be filled in."""


def main() -> None:
    """Run the command; exits with 0 (done), 1 (a run failed), 2 (bad input) or 130 (Ctrl-C)."""
    options = tyro.cli(Options, prog="python -m benchmarks.reproduce")
    command.run(lambda: reproduce(options))


def reproduce(options: Options) -> None:
    """Make each part in turn."""
    study = Study(options.runs)
    for part in options.parts:
        if part == "games":
            study.train_all(reproduce_games.one_step(options.games, options.steps, options.seeds))


if __name__ == "__main__":
    main()
