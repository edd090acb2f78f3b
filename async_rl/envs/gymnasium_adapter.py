"""Any single-player Gymnasium environment with discrete actions behind our interface."""

import math
import warnings
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

from async_rl.checking import shown
from async_rl.types import EnvSpec, Outcome, UserError

_STEP = ("observation", "reward", "terminated", "truncated", "info")


def make(name: str, render: bool = False) -> gymnasium.Env[Any, Any]:
    """The registered environment ``name``, without the warnings about out-of-date versions; see `gymnasium.make`.

    With ``render`` it draws itself where it can.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if render and "rgb_array" in _render_modes(name):
            return gymnasium.make(name, disable_env_checker=True, render_mode="rgb_array")
        return gymnasium.make(name, disable_env_checker=True)


def _render_modes(name: str) -> list[str]:
    entry = gymnasium.spec(name).entry_point
    creator = gymnasium.envs.registration.load_env_creator(entry) if isinstance(entry, str) else entry
    return list(getattr(creator, "metadata", {}).get("render_modes", []))


def registered_names() -> tuple[str, ...]:
    """Ids of all registered environments but those of Atari games, which have plain names here."""
    entries = gymnasium.registry.values()
    return tuple(entry.id for entry in entries if not str(entry.entry_point).startswith("ale_py"))


class GymnasiumEnvironment:
    """A Gymnasium environment that writes its observations into memory it is given.

    Observations: a uint8 image becomes [height, width, channels] uint8 (the channels are the shorter of the first
    and last axis), any other ``Box`` a flat float32 vector, ``Discrete`` a one-hot float32 vector.
    ``terminated`` becomes discount 0; ``truncated`` alone is a cut: over, with discount 1.

    Args:
        environment: observations ``Box`` or ``Discrete``, actions ``Discrete``.
        name: canonical name.
        random: draws the seed of the first reset; later games go on with the environment's own generator.

    Raises:
        UserError: another kind of observations or actions; by `reset` and `step`, where the environment does not keep
            to its own spaces, or gives something else than Gymnasium's methods do.
    """

    def __init__(self, environment: gymnasium.Env[Any, Any], name: str, random: np.random.Generator) -> None:
        actions = environment.action_space
        if not isinstance(actions, Discrete):
            raise UserError(f"{name} has the action space {actions}, but Q-learning needs Discrete actions.")
        self._environment = environment
        self._name = name
        self._actions = actions
        self._first_action = int(actions.start)
        self._seed: int | None = int(random.integers(2**31 - 1))
        self._space = environment.observation_space
        self._image = False
        shape, dtype = self._resolve_observations(self._space, name)
        self.spec = EnvSpec(name, shape, dtype, _action_names(environment, int(actions.n)))

    def _resolve_observations(self, space: gymnasium.Space[Any], name: str) -> tuple[tuple[int, ...], str]:
        if isinstance(space, Discrete):
            self._first_state = int(space.start)
            self._write = self._write_one_hot
            return (int(space.n),), "float32"
        if not isinstance(space, Box):
            raise UserError(
                f"{name} has observations of the kind {type(space).__name__}, but Box or Discrete is needed; "
                f"gymnasium.wrappers.FlattenObservation may help."
            )
        if space.dtype == np.uint8 and len(space.shape) in (2, 3):
            axes = (*space.shape, 1) if len(space.shape) == 2 else space.shape
            self._image = True
            channels_last = axes[2] <= axes[0]
            self._write = self._write_as_is if channels_last else self._write_channels_first
            return (axes if channels_last else (axes[1], axes[2], axes[0])), "uint8"
        self._write = self._write_flat
        return (math.prod(space.shape),), "float32"

    def reset(self, observation: np.ndarray) -> None:
        """Start a new game and write its first observation."""
        seen, _ = self._unpacked(self._environment.reset(seed=self._seed), "reset", ("observation", "info"))
        self._seed = None
        if self._environment.action_space != self._actions:
            raise UserError(
                f"{self._name} has the action space {self._environment.action_space} now, expected {self._actions} as "
                "before: the number of actions must not change."
            )
        self._write(seen, observation)

    def step(self, action: int, observation: np.ndarray) -> Outcome:
        """Take action number ``action``, counted from 0, and write what is seen after it."""
        given = self._environment.step(self._first_action + action)
        seen, reward, terminated, truncated, _ = self._unpacked(given, "step", _STEP)
        self._write(seen, observation)
        return Outcome(self._number(reward), discount=0.0 if terminated else 1.0, over=bool(terminated or truncated))

    @property
    def frames_per_second(self) -> float:
        """How fast the environment says it should be shown; 30 where it does not say."""
        try:
            said = float(self._environment.metadata.get("render_fps") or 30)
        except (TypeError, ValueError):
            return 30.0
        return said if 0 < said < math.inf else 30.0

    def screen_rgb(self) -> Any:
        """What the environment draws of itself, as it gives it; None if it does not. For recordings.

        Raises:
            Exception: whatever the environment raises, such as for a package that it draws with and that is missing.
        """
        if self._environment.render_mode != "rgb_array":
            return None
        return self._environment.render()

    def close(self) -> None:
        """Release what the environment holds, such as windows."""
        self._environment.close()

    def _unpacked(self, given: Any, method: str, names: tuple[str, ...]) -> tuple[Any, ...]:
        if isinstance(given, tuple) and len(given) == len(names):
            return given
        what = f"{len(given)} values" if isinstance(given, tuple) else type(given).__name__
        raise UserError(f"{self._name} gave {what} in {method}(), expected {len(names)}: {', '.join(names)}.")

    def _number(self, reward: Any) -> float:
        try:
            return float(reward)
        except (TypeError, ValueError, OverflowError):
            raise UserError(f"{self._name} gave the reward {shown(reward)}, expected a number.") from None

    def _array(self, seen: Any) -> np.ndarray:
        """``seen``, which has to be of the shape and kind that the environment's space says."""
        array = np.asarray(seen)
        sound = array.dtype == np.uint8 if self._image else array.dtype.kind in "biuf"
        if array.shape != self._space.shape or not sound:
            raise UserError(
                f"{self._name} gave an observation of shape {array.shape} and type {array.dtype}, expected "
                f"{self._space.shape} and {self._space.dtype}, as its observation_space says."
            )
        return array

    def _write_one_hot(self, seen: Any, observation: np.ndarray) -> None:
        array = self._array(seen)
        state = int(array) - self._first_state
        if array.dtype.kind not in "biu" or not 0 <= state < len(observation):
            raise UserError(f"{self._name} gave the state {shown(seen)}, expected one of {self._space}.")
        observation.fill(0)
        observation[state] = 1

    def _write_channels_first(self, seen: Any, observation: np.ndarray) -> None:
        observation[:] = np.moveaxis(self._array(seen), 0, -1)

    def _write_as_is(self, seen: Any, observation: np.ndarray) -> None:
        observation[:] = self._array(seen).reshape(observation.shape)

    def _write_flat(self, seen: Any, observation: np.ndarray) -> None:
        with np.errstate(over="ignore"):  # beyond float32 is infinite, and that is looked for
            observation[:] = self._array(seen).reshape(-1)


def _action_names(environment: gymnasium.Env[Any, Any], count: int) -> tuple[str, ...]:
    """The environment's own names where it has them, as Atari-like ones do, else numbers."""
    meanings = getattr(environment.unwrapped, "get_action_meanings", None)
    names = tuple(str(meaning) for meaning in meanings()) if callable(meanings) else ()
    return names if len(names) == count else tuple(str(action) for action in range(count))
