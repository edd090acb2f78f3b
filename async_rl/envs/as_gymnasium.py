"""Our environments as Gymnasium has them, so that others' programs can play them with the same preprocessing."""

import dataclasses
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

from async_rl.checking import checked
from async_rl.config import Config
from async_rl.envs.atari import FRAMES_PER_SECOND, FRAMES_PER_STEP, Atari
from async_rl.envs.registry import atari_game, close, describe, make_environment
from async_rl.types import Environment, UserError


class AsGymnasium(gymnasium.Env[np.ndarray, np.int64]):
    """The game that ``config`` names, with its protocol, as a Gymnasium environment.

    Rewards are the game's own, unclipped. Discount 0 at the end of a game becomes ``terminated``, a cut ``truncated``.

    >>> environment = AsGymnasium(Config(env="catch"))
    >>> observation, info = environment.reset(seed=1)
    >>> observation, reward, terminated, truncated, info = environment.step(2)

    Args:
        config: ``env`` and the fields of the Atari protocol count.
        render_mode: "rgb_array" (Atari): `render` gives the whole screen in colour, [height, width, 3] uint8.

    Raises:
        UserError: no such game, or a render mode that it does not have.
    """

    def __init__(self, config: Config, render_mode: str | None = None) -> None:
        spec = describe(checked("config", config, Config))
        modes = ["rgb_array"] if atari_game(config) else []
        if render_mode not in (None, *modes):
            raise UserError(f"{spec.name} has no render mode {render_mode!r}; it has {modes or 'none'}.")
        self.metadata = {"render_modes": modes, "render_fps": FRAMES_PER_SECOND // FRAMES_PER_STEP}
        self.render_mode = render_mode
        self.action_names = spec.action_names
        self._dtype = np.dtype(spec.observation_dtype)
        low, high = (0, 255) if self._dtype == np.uint8 else (-np.inf, np.inf)
        self.observation_space = Box(low, high, spec.observation_shape, self._dtype.type)
        self.action_space = Discrete(len(spec.action_names))
        self._config = dataclasses.replace(config, life_loss_ends_return=False)  # or a cut could look like an end
        self._environment: Environment | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start a new game; with a ``seed`` everything begins anew, and the same games follow."""
        super().reset(seed=seed)
        if seed is not None or self._environment is None:
            self.close()
            self._environment = make_environment(self._config, self.np_random)
        observation = self._empty()
        self._environment.reset(observation)
        return observation, {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Take one step, four frames on Atari; see `gymnasium.Env.step`."""
        if self._environment is None:
            raise gymnasium.error.ResetNeeded("call reset() before step()")
        if not 0 <= (number := int(action)) < len(self.action_names):
            raise UserError(f"expected an action from 0 to {len(self.action_names) - 1}, got {action}.")
        observation = self._empty()
        outcome = self._environment.step(number, observation)
        terminated = outcome.over and outcome.discount == 0
        return observation, float(outcome.reward), terminated, outcome.over and not terminated, {}

    def render(self) -> Any:
        """The screen now, [height, width, 3] uint8; None without a render mode."""
        if self.render_mode is None:
            return None
        if not isinstance(self._environment, Atari):
            raise gymnasium.error.ResetNeeded("call reset() before render()")
        return self._environment.screen_rgb()

    def close(self) -> None:
        """Release what the environment holds."""
        close(self._environment)
        self._environment = None

    def _empty(self) -> np.ndarray:
        return np.zeros(self.observation_space.shape or (), self._dtype)
