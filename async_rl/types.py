"""The values that pass between the parts, and the one convention for their indices.

Index convention: ``observation[t], action[t], reward[t], discount[t]``; ``reward[t]`` and ``discount[t]``
follow ``action[t]``, and ``next_observation[t]`` is what the agent saw after it. There is no ``done`` in the
mathematics: a terminal state has discount 0. A game that is only cut by a time limit keeps its discount, and
``next_observation[t]`` is then the last observation of that game, not the first of the next one.

Axes: T = ``t_max`` steps of the segment, E = streams of the worker, then the shape of one observation. Where it is no
axis, T is the number of steps that all workers have taken so far.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np


class UserError(Exception):
    """Something a person can mend: one sentence with what was expected, what came and what to do.

    The commands print the message without a traceback and exit with code 2.
    """


@dataclass(frozen=True)
class EnvSpec:
    """What a network has to know of an environment.

    Attributes:
        name: canonical name, as in run directories ("pong", "CartPole-v1").
        observation_shape: (height, width, stack) for pixels, the order in memory that convolutions prefer;
            (size,) for a vector.
        observation_dtype: "uint8" (pixels, 0 to 255) or "float32".
        action_names: one name for each action; their number is the size of the network's output.
        frames_per_step: emulator frames that one step lasts (4 on Atari, 1 elsewhere).
        stack: screens of consecutive steps that the last axis of an observation holds, oldest first, so that all but
            the newest are known from the steps before (4 on Atari; 1: an observation stands for itself). The first
            observation of a game holds its first screen ``stack`` times.
    """

    name: str
    observation_shape: tuple[int, ...]
    observation_dtype: str
    action_names: tuple[str, ...]
    frames_per_step: int = 1
    stack: int = 1


class Outcome(NamedTuple):
    """What one action led to.

    ``discount`` is 0 where no return follows (terminal, or a lost life where that ends the return), usually else 1;
    an environment of one's own may say anything between.
    ``over`` says that the game is finished, by its own end or cut by a time limit: the next call must be ``reset``.
    """

    reward: float
    discount: float
    over: bool


class Environment(Protocol):
    """One stream: a single-player environment that writes its observations into memory it is given.

    It may have a method ``close()``, which is called when it is needed no more, unless its process fails or is killed
    before.
    """

    spec: EnvSpec

    def reset(self, observation: np.ndarray) -> None:
        """Start a new game and write its first observation into ``observation`` (shape and dtype of ``spec``)."""

    def step(self, action: int, observation: np.ndarray) -> Outcome:
        """Take one step and write what is seen after it into ``observation``, which may hold anything before."""


class Game(NamedTuple):
    """One finished game, as written to ``episodes.csv``. ``score`` is the game's own, unclipped, over all lives."""

    total_steps: int  # T when the game ended, steps of all workers
    seconds: float  # wall-clock seconds of training until then
    worker: int
    stream: int
    score: float
    length: int  # steps of this game
    epsilon: float  # the stream's epsilon when the game ended
