"""A model card of a run: what it is, how well it plays by which protocol, and how it was made."""

import json
import math
import os
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np
import tomli_w

from async_rl import evaluation, run_directory
from async_rl.config import Config
from async_rl.config_file import to_values
from async_rl.evaluation import Evaluation
from async_rl.export import SavedNetwork
from async_rl.naming import game_title, method_of
from async_rl.networks import network_name
from async_rl.plotting.groups import group_runs
from async_rl.plotting.points import Curve, choose_bin_steps, make_curve
from async_rl.plotting.runs import NoGamesError, read_run
from async_rl.published import AGENTS, PUBLISHED
from async_rl.reporting.text import duration
from async_rl.types import UserError
from async_rl.user_code import code_named


def read_curve(run_dir: Path) -> Curve | None:
    """The learning curve of a run; None where no games are on record.

    Raises:
        UserError: a file is damaged.
    """
    try:
        groups = group_runs([read_run(run_dir)])
    except NoGamesError:
        return None
    return make_curve(groups[0], choose_bin_steps(groups), np.random.default_rng(0))


def read_evaluations(run_dir: Path) -> list[Evaluation]:
    """All evaluations in the run's directory, by T; files that are none are passed over."""
    found = []
    for path in sorted((run_dir / evaluation.FOLDER).glob("*.json")):
        try:
            found.append(evaluation.read(path))
        except UserError:
            continue
    return sorted(found, key=lambda one: one.total_steps)


def model_card(
    run_dir: Path, saved: SavedNetwork, curve: Curve | None, picture: str | None, evaluations: Sequence[Evaluation]
) -> str:
    """The card as Markdown.

    Args:
        run_dir: of the run.
        saved: its network.
        curve: of its training games; None: not on record.
        picture: of the curve, as a path from the card; None: the numbers are printed.
        evaluations: of its networks.
    """
    config, spec = saved.config, saved.spec
    title = f"# {game_title(spec.name)}, {method_of(config)}, T = {saved.total_steps:,}"
    sections = [title, _summary(saved), "## Scores", *_scores(run_dir, config, evaluations, spec.name)]
    sections += ["## Learning curve", *_curve(curve, picture)]
    sections += ["## Use", _use(run_dir, config), "## How it was made", *_sessions(run_dir), _settings(config)]
    return "\n\n".join(sections) + "\n"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table for Markdown; what stands in its cells is kept from ending them."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _summary(saved: SavedNetwork) -> str:
    spec = saved.spec
    frames = saved.total_steps * spec.frames_per_step
    shape = "x".join(map(str, spec.observation_shape))
    rows = [
        ("game", spec.name),
        ("method", method_of(saved.config)),
        (
            "trained for",
            f"{saved.total_steps:,} steps ({frames:,} frames), {duration(saved.seconds)} of wall-clock time",
        ),
        ("network", f"{network_name(saved.config, spec)}, {len(saved.vector):,} parameters"),
        ("sees", f"{spec.observation_dtype} {shape}"),
        ("actions", ", ".join(spec.action_names)),
    ]
    return markdown_table(("", ""), rows)


def _scores(run_dir: Path, config: Config, evaluations: Sequence[Evaluation], game: str) -> list[str]:
    if not evaluations:
        sections = [f"Not evaluated yet: `{_evaluate(run_dir, config)}`, and then make this card anew."]
    else:
        header = ("T", "mean", "standard error", "median", "best", "steps per game", "human-normalised", "protocol")
        sections = [markdown_table(header, [_score_row(one) for one in evaluations])]
    if game in PUBLISHED:
        published = PUBLISHED[game]
        rows = [("random play", f"{published.random:g}"), ("human", f"{published.human:g}")]
        rows += [(f"{name} ({AGENTS[name]})", f"{score:g}") for name, score in published.agents.items()]
        sections += [
            f"Published for {game} (random and human: {published.source}):",
            markdown_table(("", "score"), rows),
        ]
    return sections


def _score_row(one: Evaluation) -> tuple[str, ...]:
    normalised = one.human_normalised
    figures = (one.mean, one.standard_error, one.median, one.best)
    return (
        f"{one.total_steps:,}",
        *("-" if math.isnan(figure) else f"{figure:,.2f}" for figure in figures),
        f"{one.mean_length_steps:,.0f}",
        "-" if normalised is None else f"{normalised:.2f}",
        one.protocol.describe(one.atari),
    )


def _curve(curve: Curve | None, picture: str | None) -> list[str]:
    if curve is None:
        return ["No training games are on record."]
    words = "Mean score of all training games, exploration included"
    if picture is not None:
        return [f"![Learning curve]({quote(os.fsencode(picture))})", f"{words}."]
    rows = zip(curve.total_steps.tolist(), curve.score.tolist(), curve.games.tolist(), strict=True)
    table = markdown_table(("T", "mean score", "games"), [(f"{t:,.0f}", f"{s:,.2f}", f"{n:,}") for t, s, n in rows])
    return [f"{words}:", table]


def _evaluate(run_dir: Path, config: Config) -> str:
    trust = " --trust-code" if code_named(config.env, config.network) else ""
    return f"python -m launch.evaluate {shlex.quote(str(run_dir))}{trust}"


def _use(run_dir: Path, config: Config) -> str:
    python = json.dumps(str(run_dir), ensure_ascii=False)
    python += ", trust_code=True" if code_named(config.env, config.network) else ""
    return (
        f"```sh\n{_evaluate(run_dir, config)}\n```\n\n"
        f"```python\nfrom async_rl import load\n\nagent = load({python})\naction = agent.act(observation)\n```"
    )


def _sessions(run_dir: Path) -> list[str]:
    try:
        sessions = run_directory.sessions(run_dir)
        last = sessions[-1]
        commands = "\n".join(session["command"] for session in sessions)
        machine = ", ".join(f"{name}: {value}" for name, value in last["machine"].items())
        versions = ", ".join(f"{name} {value}" for name, value in last["versions"].items())
        started = f"Started {sessions[0]['started']}"
        started += f", gone on with {last['started']}" if len(sessions) > 1 else ""
        return [f"```sh\n{commands}\n```", f"{started}. Machine: {machine}.", f"Versions: {versions}."]
    except (KeyError, TypeError, IndexError, AttributeError):
        return [f"Command, machine and versions are not on record: there is no whole `{run_directory.RECORD}`."]


def _settings(config: Config) -> str:
    default = to_values(Config())
    differ = {name: value for name, value in to_values(config).items() if default.get(name) != value}
    return f"Settings that differ from the defaults:\n\n```toml\n{tomli_w.dumps(differ) or '# none' + chr(10)}```"
