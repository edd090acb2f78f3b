"""``python -m launch.record``: a video of an agent at play."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from async_rl.types import UserError
from launch import command


@dataclass(frozen=True, kw_only=True)
class Options(command.OfNetwork):
    """A video of an agent at play: the game in colour and, beside it, what the agent thinks.

    That is Q(s, a) of each action (a3c: its policy) with the chosen one in orange, or purple where it was chosen at
    random; V(s) over the last ten seconds; score, steps and time; and the screens that the network sees. Nothing needs
    a display. Needs the extra 'video': pip install '.[video]'.
    """

    output: Path = Path("agent.mp4")
    """File to write. .mp4: every frame of the game, at its own speed; .gif: at most 20 frames a second."""
    episodes: int = 1
    """Games, one after the other."""
    max_seconds: float = 120.0
    """Seconds of the game; what is beyond is left out."""
    epsilon: Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="")] = None
    """Probability of a random action; default: 0.01, as 0 may play the same few screens for ever, and 0 for a3c, which
    draws from its policy."""
    seed: int = 0
    """The same seed gives the same games."""
    saliency: bool = False
    """Show where the network looks: how strongly each part of the screen moves the value of the chosen action."""

    def check(self) -> None:
        """Raise UserError if a value is out of range."""
        for flag, value, right, rule in (
            ("--episodes", self.episodes, self.episodes >= 1, "at least 1"),
            ("--max-seconds", self.max_seconds, 0 < self.max_seconds <= 1e6, "above 0, at most 1,000,000"),
            ("--epsilon", self.epsilon, self.epsilon is None or 0 <= self.epsilon <= 1, "between 0 and 1"),
            ("--seed", self.seed, self.seed >= 0, "at least 0"),
        ):
            if not right:
                raise UserError(f"{flag} must be {rule}, got {value}.")


def main() -> None:
    """Run the command; exits with 0 (done), 2 (bad input), 130 (Ctrl-C) or 143 (SIGTERM)."""
    command.run(lambda: _record(command.read_arguments(Options, "launch.record")))


def _record(options: Options) -> None:
    options.check()
    command.check_run(options.run)
    from async_rl.viewing import video  # torch takes seconds to import; bad input and --help should not wait

    video.check_output(options.output)
    from async_rl.viewing.recording import Wish, record
    from launch.progress import Progress

    agent = options.agent()
    if options.saliency and len(agent.spec.observation_shape) != 3:
        raise UserError(f"--saliency needs screens, but {agent.spec.name} is seen as a vector.")
    epsilon = (0.0 if agent.has_policy else 0.01) if options.epsilon is None else options.epsilon
    wish = Wish(options.output, options.episodes, options.max_seconds, epsilon, options.seed, options.saliency)
    with Progress() as progress:
        done = record(agent, wish, progress.tell)
    scores = ", ".join(f"{score:,.10g}" for score in done.scores)
    print(f"{options.output}: {done.steps:,} steps in {done.frames:,} frames, score {scores}")
    if done.note:
        print(f"note: {done.note}", file=sys.stderr)


if __name__ == "__main__":
    main()
