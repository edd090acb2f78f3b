"""The environments of one worker, stepped together."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from async_rl.types import Environment, EnvSpec, UserError


class FinishedGame(NamedTuple):
    """A game that ended in the last step: ``score`` is unclipped over the whole game, ``length`` is in steps."""

    stream: int
    score: float
    length: int


class Streams:
    """E environments of the same spec that all take one step at a time; finished games are followed by new ones.

    Args:
        environments: E environments, which may be made as they are asked for; each is reset here.
        goes_on: called after each is made, after each is reset, and after each step of one.

    Raises:
        UserError: their specs differ.

    Attributes:
        reward: unclipped rewards of the last step, [E] float32; NaN before the first.
        discount: 0 where no return follows the last step, usually else 1, [E] float32; NaN before the first.
        continues: 0 where the last step ended the game, by cut or by its own end, else 1, [E] float32.
        finished: the games that ended in the last step, by cut or by their own end.
    """

    def __init__(self, environments: Iterable[Environment], goes_on: Callable[[], None] = lambda: None) -> None:
        made = []
        for environment in environments:
            made.append(environment)
            goes_on()
        self.environments = tuple(made)
        self._goes_on = goes_on
        self.spec = self.environments[0].spec
        _require_equal([environment.spec for environment in self.environments])
        count = len(self.environments)
        self._seen = np.zeros((count, *self.spec.observation_shape), self.spec.observation_dtype)  # after the last step
        self._first: dict[int, np.ndarray] = {}  # observations of games that began after it, by stream
        self.reward = np.full(count, np.nan, np.float32)
        self.discount = np.full(count, np.nan, np.float32)
        self.continues = np.full(count, np.nan, np.float32)
        self.finished: list[FinishedGame] = []
        # Plain lists: adding to one entry of a NumPy array costs several times as much, and rounds to its dtype.
        self._scores = [0.0] * count
        self._lengths = [0] * count
        for environment, observation in zip(self.environments, self._seen, strict=True):
            environment.reset(observation)
            goes_on()

    @property
    def odd_steps(self) -> int:
        """Steps so far with a number that is not finite, of environments that are `async_rl.envs.checked.Checked`."""
        return sum(getattr(environment, "odd_steps", 0) for environment in self.environments)

    @property
    def begun(self) -> Sequence[int]:
        """Streams whose game began after the last step."""
        return list(self._first)

    def observe(self, observation: np.ndarray) -> None:
        """Write what each stream sees now, from which the next actions are chosen: [E, *observation_shape].

        The memory may be that of the last step's ``next_observation``: then only what differs from it is written.
        """
        if not np.may_share_memory(observation, self._seen):
            np.copyto(observation, self._seen)
        for stream, first in self._first.items():
            observation[stream] = first

    def step(self, actions: np.ndarray, next_observation: np.ndarray) -> None:
        """Take one step in every stream and fill ``reward``, ``discount``, ``continues`` and ``finished``.

        Args:
            actions: [E] integers.
            next_observation: [E, *observation_shape], written: what was seen after the actions, which is the last
                observation of a game that ended. Must stay as it is until the next step; `observe` reads it.
        """
        self.finished.clear()
        self._first.clear()
        self._seen = next_observation
        for stream, action in enumerate(actions.tolist()):
            outcome = self.environments[stream].step(action, next_observation[stream])
            self.reward[stream] = outcome.reward
            self.discount[stream] = outcome.discount
            self.continues[stream] = not outcome.over
            self._scores[stream] += outcome.reward
            self._lengths[stream] += 1
            self._goes_on()
            if outcome.over:
                self._start_anew(stream)
                self._goes_on()

    def _start_anew(self, stream: int) -> None:
        self.finished.append(FinishedGame(stream, self._scores[stream], self._lengths[stream]))
        self._scores[stream] = 0.0
        self._lengths[stream] = 0
        self._first[stream] = np.empty_like(self._seen[stream])
        self.environments[stream].reset(self._first[stream])


def _require_equal(specs: Sequence[EnvSpec]) -> None:
    for stream, spec in enumerate(specs):
        if spec != specs[0]:
            raise UserError(
                f"{spec.name} has {_brief(spec)} in stream {stream}, expected {_brief(specs[0])} as in stream 0: all "
                "environments of a run must be alike."
            )


def _brief(spec: EnvSpec) -> str:
    return f"observations {spec.observation_dtype} {spec.observation_shape} and {len(spec.action_names)} actions"
