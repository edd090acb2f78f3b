"""``python -m launch.evaluate``: whole games by a fixed protocol."""

import dataclasses
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from async_rl import fork_server
from async_rl.config import Config
from async_rl.cores import available_cores
from async_rl.evaluation import Evaluation, default_path, make_protocol, write
from async_rl.naming import method_of
from async_rl.published import PUBLISHED
from async_rl.storage import require_writable
from async_rl.types import UserError
from launch import command

if TYPE_CHECKING:
    from async_rl.match import Match


@dataclass(frozen=True, kw_only=True)
class Options(command.OfNetwork):
    """Play whole games with a trained network, and say how well it does.

    The number of games is fixed before the first one begins, and every one is played to its end, so that short games do
    not count for more than long ones. Game number i of a seed is the same game however many processes there are, where
    the environment draws from the generator that it is given. The figures are printed, and written as JSON.
    """

    episodes: int = 30
    """Games to play."""
    epsilon: Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="")] = None
    """Probability of a random action; default: 0.05 (Mnih et al. 2015). Not for a3c, which draws from its policy."""
    no_ops: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="")] = None
    """Atari: most no-op actions at the start of a game; their number is drawn from 1 to this. Default: as in training,
    where it is 30 if nothing else was said."""
    sticky: Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="")] = None
    """Atari: probability that the emulator repeats the previous action; 0.25 in the newer protocol, which has all
    18 actions, too, and shows no lost lives. Default: as in training."""
    max_episode_frames: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="")] = None
    """Atari: frames after which a game is cut. Default: as in training, where it is 108,000, half an hour of play."""
    seed: int = 0
    """Seed of all random numbers; other games for another one."""
    workers: Annotated[int, command.NUMBER_OR_AUTO] = dataclasses.field(default_factory=available_cores)
    """Processes that play; auto, the default: one a core."""
    output: command.PathOrNone = None
    """JSON file for the result; default: one in evaluations/ of the run directory, or beside the file."""


def main() -> None:
    """Run the command; exits with 0 (done), 2 (bad input), 130 (Ctrl-C) or 143 (SIGTERM)."""
    command.run(lambda: _run(command.read_arguments(Options, "launch.evaluate")))


def _run(options: Options) -> None:
    command.check_run(options.run)
    if options.output is not None and options.output.suffix.lower() not in ("", ".json"):
        raise UserError(f"--output is a JSON file: expected a name that ends in .json, got {options.output.name}.")
    fork_server.prepare_ahead(Config(env="catch"))  # it imports torch while this process does
    from async_rl.match import evaluate
    from launch.progress import Progress

    saved = options.read_network()
    protocol = make_protocol(
        saved.config,
        options.epsilon,
        **{name: getattr(options, name) for name in ("episodes", "no_ops", "sticky", "max_episode_frames", "seed")},
    )
    output = options.output or default_path(options.run, saved.total_steps)
    require_writable(output)
    with Progress() as progress:

        def show(match: "Match") -> None:
            """Tell how far the games are."""
            progress.tell(f"{saved.spec.name}, games", match.finished_games, options.episodes, f"{match.steps:,} steps")

        evaluation = evaluate(saved, protocol, options.workers, lambda message: print(message, file=sys.stderr), show)
    try:
        write(evaluation, output)
    finally:  # the figures are worth something even where they cannot be written
        print(text(evaluation, method_of(saved.config)))
    print(f"written to {output}")


def text(evaluation: Evaluation, method: str) -> str:
    """The result for a person."""
    of = evaluation
    error = f"  (standard error {of.standard_error:,.2f})" if len(of.scores) > 1 else ""
    lines = [
        f"{of.game}, {method}, T = {of.total_steps:,}  ({of.path})",
        "",
        f"  mean score        {of.mean:>10,.2f}{error}",
        f"  median            {of.median:>10,.2f}",
        f"  best              {of.best:>10,.2f}",
        f"  steps per game    {of.mean_length_steps:>10,.0f}",
        f"  human-normalised  {_human_normalised(of)}",
        "",
        f"protocol: {of.protocol.describe(of.atari)}",
        f"time: {of.seconds:.0f} s, {sum(of.lengths):,} steps",
    ]
    return "\n".join(lines)


def _human_normalised(evaluation: Evaluation) -> str:
    value = evaluation.human_normalised
    if value is None:
        return "no published figures for this game"
    published = PUBLISHED[evaluation.game]
    return f"{value:>10,.2f}  (0: random, {published.random:g}; 1: human, {published.human:g}; {published.source})"


if __name__ == "__main__":
    main()
