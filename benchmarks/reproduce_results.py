"""What came of the runs on Atari: scores on the way, evaluations of the final networks, curves.

Scores in training are means of 100 whole games in a row, exploration included, as on the panel.
"""

import contextlib
import dataclasses
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from async_rl import evaluation, run_directory, storage
from async_rl.evaluation import Evaluation, make_protocol
from async_rl.export import read_network, write_network
from async_rl.match import evaluate
from async_rl.naming import game_title
from async_rl.plotting.groups import Group
from async_rl.plotting.picture import draw
from async_rl.plotting.points import choose_bin_steps, make_curve
from async_rl.plotting.runs import read_run
from async_rl.plotting.table import write_csv
from async_rl.types import UserError
from benchmarks import table
from benchmarks.reproduce_atari import SPRINTS
from benchmarks.study import MEMORY, Experiment, Study

SCORED_GAMES = 100

EPSILONS = (0.05, 0.01)
"""Of the evaluations; A3C draws from its policy instead, once."""


@dataclass(frozen=True)
class Score:
    """What training had come to: T, seconds of training, mean score of the last `SCORED_GAMES` games."""

    total_steps: int
    seconds: float
    score: float


@dataclass(frozen=True)
class Row:
    """One run; None: not reached, not finished, or without meaning.

    Attributes:
        game, method, seed: which.
        total_steps: T.
        hours: of training.
        score_20_minutes, score_1_hour, score: in training, after that time, and at the end.
        best, best_steps: highest score in training, and T then.
        evaluation_005, error_005: mean of whole games of the final network with epsilon 0.05 (A3C: drawn from its
            policy), its standard error.
        evaluation_001, error_001: the same with epsilon 0.01.
        human_normalised: of the evaluation with epsilon 0.05.
        memory_mib: the most that all processes of the run took together.
        machine: processor and cores of the last session.
        command: makes it again.
        commit, started: of each session, separated by semicolons.
    """

    game: str
    method: str
    seed: int
    total_steps: int
    hours: float
    score_20_minutes: float | None
    score_1_hour: float | None
    score: float | None
    best: float | None
    best_steps: int | None
    evaluation_005: float | None
    error_005: float | None
    evaluation_001: float | None
    error_001: float | None
    human_normalised: float | None
    memory_mib: float | None
    machine: str
    command: str
    commit: str
    started: str


def scores(run_dir: Path) -> list[Score]:
    """The score after each game, from the first one on that has `SCORED_GAMES` up to it."""
    games = table.read(run_dir / "episodes.csv")
    sums = np.cumsum([0.0, *(float(game["score"]) for game in games)])
    means = (sums[SCORED_GAMES:] - sums[:-SCORED_GAMES]) / SCORED_GAMES
    return [
        Score(int(game["total_steps"]), float(game["seconds"]), float(mean))
        for game, mean in zip(games[SCORED_GAMES - 1 :], means, strict=False)
    ]


def after(scored: Sequence[Score], seconds: float) -> float | None:
    """The last score within so many seconds; None where training has not come so far."""
    if not scored or scored[-1].seconds < seconds:
        return None
    return next((each.score for each in reversed(scored) if each.seconds <= seconds), None)


def make_row(study: Study, experiment: Experiment, episodes: int) -> Row | None:
    """What came of a run so far, its evaluations with ``episodes`` games each; None where it has not begun."""
    run_dir, config = study.run_dir(experiment), experiment.config
    total_steps = study.steps_done(experiment)
    if not total_steps:
        return None
    scored = scores(run_dir)
    best = max(scored, key=lambda each: each.score, default=None)
    first, second, *_ = [*evaluations(study, experiment, episodes), None, None]
    return Row(
        game=config.env,
        method=experiment.method,
        seed=config.seed,
        total_steps=total_steps,
        hours=float(table.read(run_dir / "metrics.csv")[-1]["seconds"]) / 3600,
        score_20_minutes=after(scored, 20 * 60),
        score_1_hour=after(scored, 3600),
        score=scored[-1].score if scored else None,
        best=best.score if best else None,
        best_steps=best.total_steps if best else None,
        evaluation_005=first.mean if first else None,
        error_005=first.standard_error if first else None,
        evaluation_001=second.mean if second else None,
        error_001=second.standard_error if second else None,
        human_normalised=first.human_normalised if first else None,
        memory_mib=max((float(row["mib"]) for row in table.read(run_dir / MEMORY)), default=None),
        **sources(run_dir, experiment),
    )


def sources(run_dir: Path, experiment: Experiment) -> dict[str, str]:
    """The command that makes a run again, and machine, commits and times of its sessions."""
    sessions, config = run_directory.sessions(run_dir), experiment.config
    machine = sessions[-1]["machine"] if sessions else {"processor": "not known", "cores": "not known"}
    part = experiment.name.partition("/")[0]
    which = f"--parts {part} --games {config.env} --seeds {config.seed} --workers {config.workers}"
    steps = "" if experiment.method in SPRINTS else f" --steps {config.steps}"
    return {
        "machine": f"{machine['processor']}, {machine['cores']} cores",
        "command": f"python -m benchmarks.reproduce {which}{steps}",
        "commit": "; ".join(session.get("commit") or "not known" for session in sessions),
        "started": "; ".join(session["started"] for session in sessions),
    }


def evaluations(study: Study, experiment: Experiment, episodes: int) -> list[Evaluation]:
    """Whole games of the final network, one evaluation for each of `EPSILONS`; played once, then read from their files.

    An empty list for a run that is not finished.
    """
    if not study.saved([experiment]):
        return []
    a3c = experiment.config.algorithm == "a3c"
    run_dir = study.run_dir(experiment)
    return [_evaluation(run_dir, experiment, epsilon, episodes) for epsilon in ((None,) if a3c else EPSILONS)]


def _evaluation(run_dir: Path, experiment: Experiment, epsilon: float | None, episodes: int) -> Evaluation:
    name = f"T{experiment.config.steps}__epsilon{epsilon}__{episodes}-games.json"
    path = run_dir / evaluation.FOLDER / name
    if not path.exists():
        print(f"{experiment.name}: {episodes} whole games, epsilon {epsilon}", flush=True)
        protocol = make_protocol(experiment.config, epsilon, episodes=episodes)
        evaluation.write(evaluate(read_network(run_dir), protocol), path)
    return evaluation.read(path)


def draw_curves(study: Study, experiments: Sequence[Experiment], output: Path, suffix: str = "") -> None:
    """For each game, the learning curves of all of its runs in one picture, ``<game><suffix>.png``, and its points.

    Where seed 0 is not among the runs the first of their seeds is told: ``<game>_seed1<suffix>.png``.
    """
    begun = [each for each in experiments if len(scores(study.run_dir(each))) > 0]
    for game in sorted({each.config.env for each in begun}):
        ours = [each for each in begun if each.config.env == game]
        methods = dict.fromkeys(each.method for each in ours)
        groups = [
            Group(method, tuple(read_run(study.run_dir(each)) for each in ours if each.method == method))
            for method in methods
        ]
        bin_steps = choose_bin_steps(groups)
        curves = [make_curve(group, bin_steps, np.random.default_rng(0)) for group in groups]
        seed = min(each.config.seed for each in ours)
        name = f"{game}_seed{seed}{suffix}" if seed else f"{game}{suffix}"
        draw(curves, groups[0].games, ("steps", "time"), output / f"{name}.png")
        write_csv(curves, output / f"{name}.csv")


def ship(study: Study, experiments: Sequence[Experiment], output: Path) -> None:
    """Write the final network of each finished run of seed 0, ``<game>.safetensors``."""
    for experiment in study.saved([each for each in experiments if each.config.seed == 0]):
        write_network(read_network(study.run_dir(experiment)), output / f"{experiment.config.env}.safetensors")


def read_rows(path: Path) -> list[Row]:
    """What `write_rows` has written; none where there is no file.

    Raises:
        UserError: it is something else.
    """
    with _reading(path.with_suffix(".json")) as written:
        return [Row(**values) for values in written or ()]


@contextlib.contextmanager
def _reading(file: Path) -> Iterator[Any]:
    """What a file of results holds, None where there is none; raises `UserError` if it is not what is expected."""
    try:
        yield json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{file} holds no rows ({error}); move it away, or choose another --output.") from None


def require_no_longer(path: Path, experiments: Sequence[Experiment]) -> None:
    """Raise `UserError` where results stand that are of longer runs than those planned, which would replace them."""
    planned = {(each.config.env, each.method, each.config.seed): each.config for each in experiments}
    for row in read_rows(path):
        config = planned.get((row.game, row.method, row.seed))
        if config is not None and row.total_steps > config.steps + config.workers * config.steps_per_segment:
            raise UserError(
                f"{path.with_suffix('.json')} has {row.total_steps:,} steps of {game_title(row.game)}, {row.method}; a "
                f"run of {config.steps:,} would replace them: choose another --output."
            )


def require_no_smaller(path: Path, experiments: Sequence[Experiment]) -> None:
    """Raise `UserError` where results of a study stand that have more seeds or longer runs than those planned."""
    steps, seeds = experiments[0].config.steps, {each.config.seed for each in experiments}
    with _reading(path.with_suffix(".json")) as written:
        if written is not None and (written["steps"] > steps or not seeds.issuperset(written["seeds"])):
            raise UserError(
                f"{path.with_suffix('.json')} has runs of {written['steps']:,} steps, {len(written['seeds'])} seeds; "
                f"{steps:,} steps, {len(seeds)} seeds would replace them: choose another --output."
            )


def write_rows(rows: Sequence[Row], path: Path) -> list[Row]:
    """Write all columns of all rows, as CSV and as JSON beside it, and give back what is there now.

    Rows of other runs, which earlier commands have written there, are kept.
    """
    new = {(row.game, row.method, row.seed): row for row in rows}
    kept = [new.pop((row.game, row.method, row.seed), row) for row in read_rows(path)]
    rows = [*kept, *new.values()]
    table.write(path, [field.name for field in dataclasses.fields(Row)],
                [[_rounded(value) for value in dataclasses.astuple(row)] for row in rows])  # fmt: skip
    values = [dataclasses.asdict(row) for row in rows]
    storage.write_result(path.with_suffix(".json"), (json.dumps(values, indent=2) + "\n").encode())
    return rows


def write_study(
    study: Study,
    experiments: Sequence[Experiment],
    command: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    path: Path,
) -> None:
    """Write the rows of a study as CSV, and as JSON with what made them; what was never reached is null there."""
    table.write(path, columns, rows)
    runs = [sources(study.run_dir(each), each) for each in study.finished(experiments)]
    made = {
        "command": command,
        **{name: sorted({run[name] for run in runs}) for name in ("machine", "commit")},
        "seeds": sorted({each.config.seed for each in experiments}),
        "steps": experiments[0].config.steps,
        "rows": [
            {
                name: None if isinstance(value, float) and not math.isfinite(value) else value
                for name, value in zip(columns, row, strict=True)
            }
            for row in rows
        ],
    }
    storage.write_result(path.with_suffix(".json"), (json.dumps(made, indent=2) + "\n").encode())


def _rounded(value: object) -> object:
    return "" if value is None else round(value, 4) if isinstance(value, float) else value
