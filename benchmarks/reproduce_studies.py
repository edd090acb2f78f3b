"""The studies of `benchmarks.reproduce`: parallel streams, and robustness to the learning rate, on the toy and on Pong.

Both are small versions of what Mnih et al. 2016, arXiv 1602.01783, show on Atari: table 2, and figures 2 and S5 to S8.
"""

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from async_rl.config import Config
from async_rl.config_file import from_toml
from async_rl.schedules import with_drawn_learning_rate
from benchmarks import table
from benchmarks.reproduce_atari import CONFIGS
from benchmarks.study import Experiment, Study


@dataclass(frozen=True)
class Task:
    """What a study trains on.

    Attributes:
        name: of the task, in the names of its runs' directories.
        title: in words.
        base: settings that all runs share.
        games, score: it is learnt when the mean score of so many games in a row, exploration included, is that high.
    """

    name: str
    title: str
    base: Config
    games: int
    score: float


TOY = Task(
    "toy",
    "the toy",
    dataclasses.replace(
        from_toml(CONFIGS / "catch.toml"),
        lr=3e-3,
        lr_schedule="constant",
        rms_epsilon=1e-5,
        epsilon_anneal_steps=2_000,  # soon over, so that it does not set the pace
    ),
    games=200,
    score=0.8,  # nine of ten balls
)

PONG = Task(
    "pong",
    "Pong",
    Config(
        lr_schedule="constant",
        epsilon_anneal_steps=250_000,
        final_epsilons=(0.1,),  # the same for one stream as for sixteen
        final_epsilon_probabilities=(1.0,),
    ),
    games=20,
    score=-18.0,  # a random player: -20.7
)

N_STEP_PONG = dataclasses.replace(
    PONG, base=dataclasses.replace(PONG.base, algorithm="n-step-q", envs_per_worker=4, t_max=5)
)
"""For robustness: the method with which the paper compares its optimisers, in small updates. One-step Q had learnt with
none of these rates within 600,000 steps, nor n-step Q with 16 streams a worker, 80 steps an update, within 800,000 (of
momentum all rates, of RMSProp four)."""

STREAMS = (1, 2, 4, 8, 16)
STREAM_METHODS: dict[str, dict[str, Any]] = {
    "one-step Q": {"algorithm": "one-step-q"},
    "one-step Sarsa": {"algorithm": "one-step-sarsa"},
    "n-step Q": {"algorithm": "n-step-q"},
}

PAPER_SPEED_UP = {
    "one-step Q": (1.0, 3.0, 6.3, 13.3, 24.1),
    "one-step Sarsa": (1.0, 2.8, 5.9, 13.1, 22.1),
    "n-step Q": (1.0, 2.7, 5.9, 10.7, 17.2),
}
"""Time to a score with one thread over that with as many threads as in `STREAMS`, mean of seven games: table 2 of the
paper. Each of its threads had a core; over the number of threads, this is how many times fewer steps were needed."""

LEARNING_RATES = (1e-4, 1e-2)
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "momentum": {"optimizer": "momentum", "statistics": "local"},
    "RMSProp": {"optimizer": "rmsprop", "statistics": "local"},
    "shared RMSProp": {"optimizer": "rmsprop", "statistics": "shared"},
}


def streams(task: Task, seeds: Sequence[int], steps: int) -> list[Experiment]:
    """Every method with 1 to 16 workers, each with one stream and updates every five steps, as in the paper."""
    base = dataclasses.replace(task.base, envs_per_worker=1, t_max=5, steps=steps)
    arranged = {count: dataclasses.replace(base, workers=count) for count in STREAMS}
    return _streams(task, tuple(STREAM_METHODS), arranged, seeds)


def streams_of_one_worker(task: Task, seeds: Sequence[int], steps: int) -> list[Experiment]:
    """Every method with 1 to 16 streams of a single worker.

    One-step methods have an update of 16 steps whatever the number of streams. n-step Q keeps the paper's n instead, so
    its updates are of five steps a stream.

    In the paper's arrangement one-step Q had learnt nothing of Pong after 750,000 steps: -20.3. Small updates of
    consecutive steps are slow there, and 16 workers on two cores would not show what a core for each does anyway.
    """
    base, most = dataclasses.replace(task.base, workers=1, steps=steps), max(STREAMS)
    one_step = {count: dataclasses.replace(base, envs_per_worker=count, t_max=most // count) for count in STREAMS}
    n_step = {count: dataclasses.replace(base, envs_per_worker=count, t_max=5) for count in STREAMS}
    others = _streams(task, ("one-step Q", "one-step Sarsa"), one_step, seeds)
    return others + _streams(task, ("n-step Q",), n_step, seeds)


def _streams(
    task: Task, methods: Sequence[str], arranged: Mapping[int, Config], seeds: Sequence[int]
) -> list[Experiment]:
    """Every method with every number of streams."""
    return [
        Experiment(
            f"{task.name}_streams/{STREAM_METHODS[method]['algorithm']}__{count}-streams__seed{seed}",
            dataclasses.replace(config, seed=seed, **STREAM_METHODS[method]),
            method,
        )
        for method in methods
        for count, config in arranged.items()
        for seed in seeds
    ]


Rates = Mapping[str, Mapping[str, Any]]
"""What tells the runs of each optimiser apart: in the names of their directories, and as settings."""


def drawn_rates(seeds: Sequence[int]) -> Rates:
    """Learning rates from LogUniform(1e-4, 1e-2), each by its seed, as in the paper."""
    return {f"seed{seed}": {"seed": seed, "lr_range": LEARNING_RATES} for seed in seeds}


def even_rates(count: int, seeds: Sequence[int]) -> Rates:
    """``count`` learning rates at even distances between the same two, for few runs: drawn ones leave gaps."""
    low, high = LEARNING_RATES
    rates = [low * (high / low) ** ((number + 0.5) / count) for number in range(count)]
    return {f"lr{rate:.1e}__seed{seed}": {"seed": seed, "lr": rate} for seed in seeds for rate in rates}


def robustness(task: Task, rates: Rates, workers: int, steps: int) -> list[Experiment]:
    """Every optimiser with the same learning rates."""
    base = dataclasses.replace(task.base, workers=workers, steps=steps)
    return [
        Experiment(
            f"{task.name}_robustness/{name.replace(' ', '-').lower()}__{rate}",
            dataclasses.replace(base, **own, **settings),
            name,
        )
        for name, settings in OPTIMIZERS.items()
        for rate, own in rates.items()
    ]


@dataclass(frozen=True)
class Learnt:
    """When a run had learnt; infinite where it never had.

    Attributes:
        steps: T then.
        seconds: since the end of the first game of all: starting processes is left out.
    """

    steps: float
    seconds: float


def learnt(run_dir: Path, task: Task) -> Learnt:
    """When the mean score of ``task.games`` games in a row was ``task.score`` first."""
    games = _games(run_dir)
    total = 0.0
    for end, game in enumerate(games):
        total += float(game["score"]) - (float(games[end - task.games]["score"]) if end >= task.games else 0.0)
        if end + 1 >= task.games and total / task.games >= task.score:
            return Learnt(int(game["total_steps"]), float(game["seconds"]) - float(games[0]["seconds"]))
    return Learnt(math.inf, math.inf)


def _games(run_dir: Path) -> list[dict[str, str]]:
    """In the order of T; islands tell theirs in turn."""
    return sorted(table.read(run_dir / "episodes.csv"), key=lambda game: int(game["total_steps"]))


def final_score(study: Study, experiment: Experiment, task: Task) -> float | None:
    """Mean score of the last ``task.games`` games; None where the run was over before any game was."""
    games = _games(study.run_dir(experiment))
    if not games:
        return None
    return statistics.fmean(float(game["score"]) for game in games[-task.games :])


STREAM_COLUMNS = (
    "method", "streams", "runs", "learnt", "steps", "steps_low", "steps_high", "seconds", "fewer_steps", "faster",
    "faster_in_the_paper",
)  # fmt: skip


ROBUSTNESS_COLUMNS = ("optimizer", "seed", "lr", "score")


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Quarter, half and three quarters of the way through the sorted values, none interpolated: some are infinite.

    Of two in the middle one is taken: of two values the lower, of ten the fifth.
    """
    ranked = sorted(values)
    low, middle, high = (ranked[round(part * (len(ranked) - 1))] for part in (0.25, 0.5, 0.75))
    return low, middle, high


def stream_rows(study: Study, experiments: Sequence[Experiment], task: Task) -> list[list[object]]:
    """Of each method and number of streams: medians over the seeds, quartiles, and ratios to one stream."""
    rows: list[list[object]] = []
    for method in STREAM_METHODS:
        one: Learnt | None = None
        for index, count in enumerate(STREAMS):
            runs = [each for each in experiments if each.method == method and each.config.streams == count]
            times = [learnt(study.run_dir(each), task) for each in study.finished(runs)]
            if not times:
                continue
            steps = [each.steps for each in times]
            low, middle, high = quartiles(steps)
            median = Learnt(middle, quartiles([each.seconds for each in times])[1])
            one = median if count == 1 else one
            ratios = (one.steps / median.steps, one.seconds / median.seconds) if one else (math.nan, math.nan)
            reached = sum(math.isfinite(each) for each in steps)
            paper = PAPER_SPEED_UP[method][index]
            rows.append([method, count, len(times), reached, middle, low, high, median.seconds, *ratios, paper])
    return rows


def robustness_rows(study: Study, experiments: Sequence[Experiment], task: Task) -> list[list[object]]:
    """Of each run: optimiser, seed, the learning rate that it drew, and its score at the end."""
    return [
        [each.method, each.config.seed, with_drawn_learning_rate(each.config).lr, score]
        for each in study.finished(experiments)
        if (score := final_score(study, each, task)) is not None
    ]
