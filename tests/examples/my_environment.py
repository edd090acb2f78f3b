"""Your own environment: a Gymnasium environment, and a function without arguments that makes one.

From this folder: ``python -m launch.async --env my_environment:make``
"""

import gymnasium
import numpy as np


class Corridor(gymnasium.Env):
    """A corridor of ten fields with the exit at its right end; a step costs 0.01 points, the exit gives 1."""

    observation_space = gymnasium.spaces.Box(0.0, 1.0, (10,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        """Begin on one of the five fields on the left."""
        super().reset(seed=seed)
        self.place = int(self.np_random.integers(5))
        return self._seen(), {}

    def step(self, action):
        """Go left (0) or right (1)."""
        self.place = max(0, self.place + (1 if action == 1 else -1))
        out = self.place == 9
        return self._seen(), 1.0 if out else -0.01, out, False, {}

    def _seen(self):
        return np.eye(10, dtype=np.float32)[self.place]


def make():
    """A corridor that is cut after 50 steps."""
    return gymnasium.wrappers.TimeLimit(Corridor(), max_episode_steps=50)
