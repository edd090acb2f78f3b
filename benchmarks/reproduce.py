"""What async_rl learns, made again: curves, tables and networks, by one command that goes on where it was cut off.

``python -m benchmarks.reproduce --parts games --games pong breakout``. Training runs stay below ``--runs``; what is
finished is not trained again. Results go to ``--output``, made out of whatever runs are there, finished or not
(``--only-results`` trains nothing), and the tables of the README are filled in with ``--readme``. ``make
reproduce-quick`` makes a small version of every part.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from async_rl.checking import flag
from async_rl.config import Config
from async_rl.cores import available_cores
from async_rl.envs import atari_game, describe
from async_rl.evaluation import make_protocol
from async_rl.types import UserError
from benchmarks import reproduce_atari, reproduce_pictures, reproduce_studies, reproduce_tables
from benchmarks import reproduce_results as results
from benchmarks.command_line import check_output
from benchmarks.reproduce_studies import N_STEP_PONG, PONG, TOY
from benchmarks.study import Experiment, Study
from launch import command

Part = Literal["games", "layer_norm", "methods", "streams", "robustness", "pong_streams", "pong_robustness", "replay"]
ATARI_PARTS: tuple[Part, ...] = ("games", "layer_norm", "methods", "replay")
PONG_RATES = 6
"""Learning rates of part pong_robustness, for each optimiser and seed."""


@dataclass(frozen=True)
class Options:
    """Train and measure what the README shows.

    games: one-step Q on five games; layer_norm: the same with layer normalisation; methods: n-step Q, A3C and
    lambda-returns on Pong and Breakout, and the best of them on the other games; streams: steps and time to learn with
    1 to 16 workers of one stream on the toy; robustness: score against 50 learning rates for three optimisers on the
    toy; pong_streams: 1 to 16 streams of one worker on Pong; pong_robustness: n-step Q on Pong with six learning rates;
    replay: the replay agents beside one-step Q on Pong. On 2 cores a run of 10 million steps takes an hour, part
    pong_streams three, pong_robustness one and a half, those on the toy less.
    """

    parts: tuple[Part, ...] = (
        "streams", "robustness", "games", "layer_norm", "methods", "replay", "pong_streams", "pong_robustness",
    )  # fmt: skip
    """What to make."""
    games: tuple[str, ...] = reproduce_atari.GAMES
    """Atari games, by their plain names."""
    steps: int = 10_000_000
    """Length of each run on Atari; with replay at most a million."""
    seeds: tuple[int, ...] = (0,)
    """Of the runs on Atari."""
    workers: Annotated[int, command.NUMBER_OR_AUTO] = dataclasses.field(default_factory=available_cores)
    """Of the runs on Atari; auto, the default: one a core."""
    toy_seeds: int = 10
    """Runs of each setting on the toy in part streams; part robustness has five times as many for each optimiser."""
    toy_steps: int = 20_000
    """Length of each of them."""
    pong_steps: int = 800_000
    """Length of each run of parts pong_streams and pong_robustness."""
    episodes: int = 30
    """Games of each evaluation of a final network."""
    runs: Path = Path("runs") / "reproduce"
    """Directory of the training runs."""
    output: Path = Path("benchmarks") / "results" / "reproduce"
    """Directory for tables, pictures and networks. Tables keep what they have of other runs on Atari; pictures are of
    the runs of one command, networks of seed 0."""
    only_results: bool = False
    """Train nothing; make the results of what is there."""
    readme: Path | None = None
    """File whose tables between ``<!-- reproduce: PART -->`` and ``<!-- end -->`` are to be filled in."""


def main() -> None:
    """Run the command; exits with 0 (done), 1 (a run failed), 2 (bad input) or 130 (Ctrl-C)."""
    options = tyro.cli(Options, prog="python -m benchmarks.reproduce")
    command.run(lambda: reproduce(options))


def reproduce(options: Options) -> None:
    """Train each part in turn, and make its results."""
    study = Study(options.runs)
    _check(options, study)
    for part in options.parts:
        experiments = _experiments(part, options)
        if not options.only_results:
            study.train_all(experiments)
        make = _atari_results if part in ATARI_PARTS else _study_results
        text = make(part, study, experiments, options)
        print(f"\n{part}\n\n{text or 'no run is there yet'}\n", flush=True)
        if text and options.readme is not None:
            reproduce_tables.fill_in(options.readme, part, text)


def _check(options: Options, study: Study) -> None:
    """Raise `UserError` now for what would otherwise be found out after hours of training."""
    make_protocol(Config(), episodes=options.episodes)
    for name in ("parts", "games", "seeds"):
        if not getattr(options, name):
            raise UserError(f"--{name} needs at least one value.")
    for game in options.games:
        if (plain := atari_game(Config(env=game))) not in (None, game):
            raise UserError(f"--games takes the plain names of games, {plain} for {game}.")
    for name in ("toy_seeds", "toy_steps", "pong_steps"):
        if (value := getattr(options, name)) < 1:
            raise UserError(f"{flag(name)} must be at least 1, got {value}.")
    for part in options.parts:
        experiments = _experiments(part, options)
        study.require_same(experiments)
        for config in {each.config.env: each.config for each in experiments}.values():
            describe(config)
        if options.readme is not None:
            reproduce_tables.around(options.readme, part)
        require = results.require_no_longer if part in ATARI_PARTS else results.require_no_smaller
        require(options.output / part, experiments)
    for part in options.parts:
        check_output(options.output / part)


def _experiments(part: Part, options: Options) -> list[Experiment]:
    games = (options.games, options.workers, options.steps, options.seeds)
    match part:
        case "games":
            return reproduce_atari.one_step(*games)
        case "layer_norm":
            return reproduce_atari.layer_norm(*games)
        case "methods":
            return reproduce_atari.methods(*games)
        case "replay":
            return reproduce_atari.replay(*games[1:])
        case "streams":
            return reproduce_studies.streams(TOY, range(options.toy_seeds), options.toy_steps)
        case "robustness":
            drawn = reproduce_studies.drawn_rates(range(5 * options.toy_seeds))
            return reproduce_studies.robustness(TOY, drawn, workers=2, steps=options.toy_steps)
        case "pong_streams":
            return reproduce_studies.streams_of_one_worker(PONG, options.seeds, options.pong_steps)
        case "pong_robustness":
            even = reproduce_studies.even_rates(PONG_RATES, options.seeds)
            return reproduce_studies.robustness(N_STEP_PONG, even, options.workers, options.pong_steps)


def _atari_results(part: Part, study: Study, experiments: Sequence[Experiment], options: Options) -> str | None:
    """Rows, curves, networks; the table, None where no run has begun."""
    rows = [row for each in experiments if (row := results.make_row(study, each, options.episodes)) is not None]
    if not rows:
        return None
    rows = results.write_rows(rows, options.output / part)
    beside = _experiments("games", options) if part in ("layer_norm", "methods") else []
    results.draw_curves(study, [*beside, *experiments], options.output, "" if part == "games" else f"_{part}")
    if part == "games":
        results.ship(study, experiments, options.output)
    make_table = reproduce_tables.games_table if part in ("games", "layer_norm") else reproduce_tables.methods_table
    return make_table(rows)


def _study_results(part: Part, study: Study, experiments: Sequence[Experiment], options: Options) -> str | None:
    """Rows, their picture; the table, None where no run is finished."""
    task, path = PONG if part.startswith("pong") else TOY, options.output / part
    command = _command(part, options)
    if part.endswith("streams"):
        rows = reproduce_studies.stream_rows(study, experiments, task)
        if not rows:
            return None
        results.write_study(study, experiments, command, reproduce_studies.STREAM_COLUMNS, rows, path)
        reproduce_pictures.draw_streams(rows, task, path.with_suffix(".png"))
        return reproduce_tables.streams_table(rows)
    rows = reproduce_studies.robustness_rows(study, experiments, task)
    if not rows:
        return None
    results.write_study(study, experiments, command, reproduce_studies.ROBUSTNESS_COLUMNS, rows, path)
    reproduce_pictures.draw_robustness(rows, task, path.with_suffix(".png"))
    return reproduce_tables.robustness_table(rows, task)


def _command(part: Part, options: Options) -> str:
    """What makes a study again."""
    names = ("seeds", "workers", "pong_steps") if part.startswith("pong") else ("toy_seeds", "toy_steps")
    values = {name: getattr(options, name) for name in names}
    spelt = {name: " ".join(map(str, value)) if isinstance(value, tuple) else value for name, value in values.items()}
    flags = "".join(f" {flag(name)} {value}" for name, value in spelt.items())
    return f"python -m benchmarks.reproduce --parts {part}{flags}"


if __name__ == "__main__":
    main()
