"""An agent at play, step by step, with all that it sees and thinks."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from async_rl.agent import Agent
from async_rl.envs import close, make_environment, require_same
from async_rl.viewing.scene import Scene

See = Literal["nothing", "stills", "frames"]

Tell = Callable[[str, int, int], None]
"""Called now and then with what is being done, how much is done and how much there is."""


@dataclass(frozen=True)
class Moment:
    """One decision.

    Attributes:
        observation: what the network saw, [*observation_shape].
        preferences: Q(s, a) of each action or, for a3c, the policy pi(a | s), [A] float32.
        value: V(s): the largest Q or, for a3c, the network's own estimate.
        action: the number of the action that was taken.
        random: whether it was taken at random, whatever the preferences.
        game: number of the game, from 0.
        step: steps made in this game before this one.
        score: unclipped score of this game before this step.
        reward: unclipped reward of this step.
    """

    observation: np.ndarray
    preferences: np.ndarray
    value: float
    action: int
    random: bool
    game: int
    step: int
    score: float
    reward: float = 0.0


def think(agent: Agent, observation: np.ndarray) -> tuple[np.ndarray, float]:
    """(preferences, value) of an observation, as in `Moment`."""
    with torch.no_grad():
        outputs = agent.network(torch.from_numpy(observation)[None])[0]
    if not agent.has_policy:
        values = outputs.numpy().copy()
        return values, float(values.max())
    return torch.softmax(outputs[:-1], dim=0).numpy(), float(outputs[-1])


class Play:
    """Games of an agent, one after the other; the same ones for the same seed.

    Where it values actions it takes the best one, where it has a policy (a3c) it draws from it; but with probability
    ``epsilon`` any action.

    Args:
        agent: who plays.
        epsilon: probability of a random action.
        seed: of the environment and of these choices.
        see: what pictures are taken: none, one when each action is chosen, or every frame.

    Raises:
        UserError: the environment cannot be made, or is another than the one that the agent was trained on.

    Attributes:
        scene: the pictures of the last step; None where none are taken.
    """

    def __init__(self, agent: Agent, epsilon: float, seed: int, see: See = "nothing") -> None:
        environment, choices = np.random.SeedSequence(seed).spawn(2)
        self._environment = make_environment(agent.config, np.random.default_rng(environment), render=see != "nothing")
        require_same(self._environment.spec, agent.spec, agent.path)
        self.scene = Scene(self._environment, see == "frames") if see != "nothing" else None
        self._agent = agent
        self._epsilon = epsilon
        self._random = np.random.default_rng(choices)

    def moments(self, games: int) -> Iterator[Moment]:
        """Every step of so many games, when it has been made."""
        environment, scene, spec = self._environment, self.scene, self._agent.spec
        observation = np.zeros(spec.observation_shape, spec.observation_dtype)
        for game in range(games):
            environment.reset(observation)
            step, score, over = 0, 0.0, False
            while not over:
                moment = self._decide(observation.copy(), game, step, score)
                if scene:
                    scene.before_step(observation)
                outcome = environment.step(moment.action, observation)
                if scene:
                    scene.after_step(observation, outcome.over)
                step, score, over = step + 1, score + outcome.reward, outcome.over
                yield replace(moment, reward=outcome.reward)

    def close(self) -> None:
        """Release what the environment holds."""
        close(self._environment)

    def _decide(self, observation: np.ndarray, game: int, step: int, score: float) -> Moment:
        preferences, value = think(self._agent, observation)
        random = bool(self._random.random() < self._epsilon)
        if random:
            action = int(self._random.integers(len(preferences)))
        elif self._agent.has_policy:
            action = int(self._random.choice(len(preferences), p=preferences / preferences.sum()))
        else:
            action = int(preferences.argmax())
        return Moment(observation, preferences, value, action, random, game, step, score)
