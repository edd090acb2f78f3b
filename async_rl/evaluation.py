"""What an evaluation is: its protocol, and the scores that came of it."""

import dataclasses
import json
import math
import os
import statistics
import time
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from async_rl import storage
from async_rl.checking import checked, flag, reason
from async_rl.config import Config
from async_rl.published import human_normalised
from async_rl.types import UserError

FOLDER = "evaluations"
"""In a run directory."""


@dataclass(frozen=True)
class Protocol:
    """How the games of an evaluation are played.

    Attributes:
        episodes: games, chosen before the first one begins: none is left out because it takes longer than others.
        epsilon: probability of a random action; None: actions are drawn from the policy, as a3c does
            (Mnih et al. 2016).
        no_ops: Atari: most no-op actions at the start of a game; their number is drawn from 1 to this.
        sticky: Atari: probability that the emulator repeats the previous action.
        max_episode_frames: Atari: frames after which a game is cut.
        seed: game number i of a seed is the same in whatever process it is played.
    """

    episodes: int = 30
    epsilon: float | None = 0.05
    no_ops: int = 30
    sticky: float = 0.0
    max_episode_frames: int = 108_000
    seed: int = 0

    def __post_init__(self) -> None:
        for name, hint in typing.get_type_hints(type(self)).items():
            object.__setattr__(self, name, checked(name, getattr(self, name), hint))
        for name, valid, expected in (
            ("episodes", 1 <= self.episodes <= 1_000_000, "between 1 and 1,000,000"),
            ("epsilon", self.epsilon is None or 0 <= self.epsilon <= 1, "between 0 and 1"),
            ("no_ops", 0 <= self.no_ops <= 10_000, "between 0 and 10,000"),
            ("sticky", 0 <= self.sticky <= 1, "between 0 and 1"),
            ("max_episode_frames", 1 <= self.max_episode_frames <= 10**9, "between 1 and 10^9"),
            ("seed", 0 <= self.seed < 2**63, "between 0 and 2^63 - 1"),
        ):
            if not valid:
                raise UserError(f"{flag(name)} must be {expected}, got {getattr(self, name)}.")

    def describe(self, atari: bool) -> str:
        """The protocol in words; what only Atari games have is left out of other games."""
        words = [
            f"{self.episodes} whole game" + "s" * (self.episodes > 1),
            "actions drawn from the policy" if self.epsilon is None else f"epsilon {self.epsilon:g}",
        ]
        if atari:
            words += [
                f"1 to {self.no_ops} no-ops at the start" if self.no_ops else "no no-ops at the start",
                f"sticky actions {self.sticky:g}" if self.sticky else "no sticky actions",
                f"cut after {self.max_episode_frames:,} frames",
            ]
        return ", ".join([*words, f"seed {self.seed}"])


@dataclass(frozen=True)
class Evaluation:
    """The games of one evaluation.

    Attributes:
        game: name of the environment.
        path: the file that the network is from.
        total_steps: T at which the network was saved.
        protocol: how the games were played.
        atari: whether the game is one of Atari.
        scores: of each game, in the game's own points, unclipped.
        lengths: of each game, in steps.
        seconds: that it took, wall-clock.
    """

    game: str
    path: str
    total_steps: int
    protocol: Protocol
    atari: bool
    scores: tuple[float, ...]
    lengths: tuple[int, ...]
    seconds: float

    @property
    def mean(self) -> float:
        """Mean score."""
        return statistics.fmean(self.scores)

    @property
    def median(self) -> float:
        """Median score."""
        return statistics.median(self.scores)

    @property
    def standard_error(self) -> float:
        """Of the mean; NaN for a single game."""
        return statistics.stdev(self.scores) / math.sqrt(len(self.scores)) if len(self.scores) > 1 else math.nan

    @property
    def best(self) -> float:
        """Highest score."""
        return max(self.scores)

    @property
    def mean_length_steps(self) -> float:
        """Mean length of a game in steps."""
        return statistics.fmean(self.lengths)

    @property
    def human_normalised(self) -> float | None:
        """Mean score where random play has 0 and a human 1; None where no such figures are published."""
        return human_normalised(self.game, self.mean) if self.atari else None

    def values(self) -> dict[str, Any]:
        """All of it and the figures made of it, as plain values such as JSON has; what is not known is None."""
        figures = ("mean", "median", "standard_error", "best", "mean_length_steps", "human_normalised")
        made = {name: getattr(self, name) for name in figures}
        if math.isnan(self.standard_error):
            made["standard_error"] = None
        return made | dataclasses.asdict(self)


def make_protocol(config: Config, epsilon: float | None = None, **others: Any) -> Protocol:
    """The protocol for a network that was trained with ``config``.

    Args:
        config: of the training, whose Atari protocol counts where ``others`` have None.
        epsilon: default 0.05; a3c draws from its policy.
        others: see `Protocol`.

    Raises:
        UserError: a value out of range, or an epsilon for a3c.
    """
    if epsilon is not None and config.has_policy:
        raise UserError("--epsilon has no meaning with a3c, whose actions are drawn from its policy; leave it out.")
    if epsilon is None and not config.has_policy:
        epsilon = 0.05
    own = {name: getattr(config, name) for name in ("no_ops", "sticky", "max_episode_frames")}
    given = {name: value for name, value in others.items() if value is not None}
    return Protocol(epsilon=epsilon, **own | given)


def default_path(run_or_file: Path, total_steps: int) -> Path:
    """Where the evaluation of the network of T = ``total_steps`` goes: ``evaluations/`` in the run's directory.

    For a file that is in no run, that folder is beside it.
    """
    folder = run_or_file if run_or_file.is_dir() else run_or_file.absolute().parent
    if folder != run_or_file and folder.name == storage.CHECKPOINTS:
        folder = folder.parent
    return folder / FOLDER / file_name(total_steps)


def file_name(total_steps: int) -> str:
    """A name that no other evaluation has."""
    return f"T{total_steps}__{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.json"


def write(evaluation: Evaluation, path: Path) -> None:
    """Write an evaluation as JSON; until it is whole, nothing is at ``path``.

    Raises:
        UserError: it cannot be written.
    """
    storage.write_result(path, (json.dumps(evaluation.values(), indent=2) + "\n").encode())


def read(path: Path) -> Evaluation:
    """Read what `write` wrote.

    Raises:
        UserError: it cannot be read, or is something else.
    """
    names = [field.name for field in dataclasses.fields(Evaluation)]
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        kept = {name: values[name] for name in names}
        kept |= {"protocol": Protocol(**kept["protocol"])}
        evaluation = Evaluation(**kept | {name: tuple(kept[name]) for name in ("scores", "lengths")})
        if not evaluation.scores or len(evaluation.lengths) != len(evaluation.scores):
            raise ValueError("it has no score and length of each game")
        if not all(map(math.isfinite, (*evaluation.scores, *evaluation.lengths, evaluation.seconds))):
            raise ValueError("its scores are no finite numbers")
        if type(evaluation.total_steps) is not int or not isinstance(evaluation.game, str):
            raise ValueError("it has no total_steps or game")
        return evaluation
    except OSError as error:
        raise UserError(f"cannot read {path}: {reason(error)}.") from None
    except (ArithmeticError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is no evaluation of async_rl ({type(error).__name__}: {error}).") from None
