"""``python -m launch.plot``: learning curves of runs as a picture."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from async_rl.plotting.groups import Group, group_runs
from async_rl.plotting.picture import COLOURS, Axis, check_output, draw
from async_rl.plotting.points import Curve, choose_bin_steps, make_curve
from async_rl.plotting.runs import NoGamesError, Run, read_run
from async_rl.plotting.table import write_csv
from async_rl.storage import require_writable
from async_rl.types import UserError
from launch import command


@dataclass(frozen=True)
class Options:
    """Draw learning curves: scores of whole training games, exploration included, against steps and time.

    Runs whose settings differ in nothing but the seed become one line, their interquartile mean, with a 95 % bootstrap
    interval (Agarwal et al. 2021, arXiv 2108.13264). A run alone is drawn as its mean, with the quartiles of single
    games. Runs may still be under way.
    """

    runs: Annotated[
        tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN [RUN ...]", help_behavior_hint="")
    ]
    """Run directories."""
    output: Path
    """Picture to write, .png or .svg."""
    x: tuple[Axis, ...] = ("steps", "time")
    """One panel for each: steps, frames (four a step on Atari; the panel of steps has them above), or wall-clock
    time."""
    csv: command.PathOrNone = None
    """Also write the points of the curves to this CSV file."""
    bin_steps: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="")] = None
    """Steps between two points; default: at most 60 points with some 20 games each. A run that has not come
    half as far yet does not count where there are others of the same settings."""
    by_epsilon: bool = False
    """Also draw the streams of each final epsilon apart, in place of the band; for runs of one configuration."""
    labels: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME [NAME ...]", help_behavior_hint="")] = ()
    """Names for the lines, one for each configuration; default: what they differ in."""


def main() -> None:
    """Run the command; exits with 0 (done), 2 (bad input), 130 (Ctrl-C) or 143 (SIGTERM)."""
    command.run(lambda: _plot(command.read_arguments(Options, "launch.plot")))


def _plot(options: Options) -> None:
    _check(options)
    for run in options.runs:
        command.check_run(run)
    once = {run.resolve(): run for run in options.runs}  # the same run twice would be two
    groups = group_runs(_read(list(once.values())), options.labels)
    if options.by_epsilon:
        _check_epsilons(groups)
    bin_steps = options.bin_steps or choose_bin_steps(groups)
    random = np.random.default_rng(0)  # the same runs give the same picture
    curves = [make_curve(group, bin_steps, random, options.by_epsilon) for group in groups]
    draw(curves, groups[0].games, options.x, options.output)
    if options.csv is not None:
        write_csv(curves, options.csv)
    for group, curve in zip(groups, curves, strict=True):
        if curve.total_steps[-1] + bin_steps < (longest := max(run.total_steps[-1] for run in group.runs)):
            end = f"{curve.total_steps[-1]:,.0f} steps, as far as all of its runs have come; one has {longest:,.0f}"
            print(f"{curve.label} is drawn up to {end}", file=sys.stderr)
        print(_line(curve))
    print(f"written: {options.output}" + (f" and {options.csv}" if options.csv else ""))


def _read(directories: Sequence[Path]) -> list[Run]:
    """The runs that have something to show; which have not is told, if there are any others."""
    runs: list[Run] = []
    without: list[NoGamesError] = []
    for directory in directories:
        try:
            runs.append(read_run(directory))
        except NoGamesError as error:
            without.append(error)
    if not runs:
        raise without[0]
    for each in without:
        print(f"left out: {each}", file=sys.stderr)
    return runs


def _check(options: Options) -> None:
    check_output(options.output)
    if options.csv is not None:
        if options.csv.resolve() == options.output.resolve():
            raise UserError(f"--csv and --output are the same file, {options.csv}; name two.")
        require_writable(options.csv)
    if not options.runs:
        raise UserError("name at least one run directory, such as runs/*.")
    if options.bin_steps is not None and options.bin_steps < 1:
        raise UserError(f"--bin-steps must be at least 1, got {options.bin_steps}.")
    if any(not label.strip() or not label.isprintable() or label.startswith("_") for label in options.labels):
        raise UserError(
            "--labels must be printable, not empty, nor begin with _, which matplotlib takes for lines without a name."
        )
    if not options.x or len(set(options.x)) != len(options.x):
        raise UserError("--x must name one to three different axes: steps, frames, time.")


def _check_epsilons(groups: Sequence[Group]) -> None:
    if len(groups) > 1:
        raise UserError(f"--by-epsilon is for runs of one configuration, got {len(groups)}: plot them one by one.")
    if groups[0].runs[0].settings["algorithm"] == "a3c":
        raise UserError("--by-epsilon has no meaning for a3c, which explores by its policy.")
    drawn = np.unique(np.concatenate([run.final_epsilons for run in groups[0].runs]))
    count = np.count_nonzero(~np.isnan(drawn))
    if not 0 < count < len(COLOURS):
        raise UserError(f"--by-epsilon draws 1 to {len(COLOURS) - 1} different final epsilons, on record are {count}.")


def _line(curve: Curve) -> str:
    """The last point of a curve in words."""
    runs = "1 run" if curve.runs == 1 else f"{curve.runs} runs"
    score = f"{curve.score[-1]:.2f}"
    if curve.low[-1] < curve.high[-1]:
        score += f" ({curve.low[-1]:.2f} to {curve.high[-1]:.2f})"
    return f"{curve.label}: {runs}, {curve.games.sum():,} games; at {curve.total_steps[-1]:,.0f} steps {score}"


if __name__ == "__main__":
    main()
