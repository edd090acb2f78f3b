"""States of real play, to look into a network with."""

from dataclasses import dataclass

import cv2
import numpy as np

from async_rl.agent import Agent
from async_rl.viewing.play import Play, Tell

_KEPT = 8
"""One of so many states is kept, at random, so that they come from many games."""

_EPSILON = 0.05
_GAMES = 10**6
"""More than are ever played."""


@dataclass(frozen=True)
class States:
    """N states, no two of them the same.

    Attributes:
        observations: [N, *observation_shape].
        values: V(s), [N] float64.
        games, steps: number of the game and of the step in it, [N] int64.
        pictures: what a person saw, as PNG files: those of 2,000 screens of Atari take a few megabytes so.
    """

    observations: np.ndarray
    values: np.ndarray
    games: np.ndarray
    steps: np.ndarray
    pictures: list[bytes]

    def picture(self, number: int) -> np.ndarray:
        """What a person saw, [height, width, 3] uint8."""
        bgr = np.asarray(cv2.imdecode(np.frombuffer(self.pictures[number], np.uint8), cv2.IMREAD_COLOR))
        return np.ascontiguousarray(bgr[:, :, ::-1])


def sample(agent: Agent, count: int, seed: int, tell: Tell) -> States:
    """Play, with 5 % of random actions, until there are ``count`` different states, or after 16 steps for each."""
    play, random = Play(agent, _EPSILON, seed, see="stills"), np.random.default_rng(seed)
    assert play.scene is not None
    seen: set[bytes] = set()
    kept, pictures = [], []
    for number, moment in enumerate(play.moments(_GAMES), 1):
        if random.random() < 1 / _KEPT and (content := moment.observation.tobytes()) not in seen:
            seen.add(content)
            kept.append(moment)
            bgr = np.ascontiguousarray(play.scene.pictures[0][:, :, ::-1])
            pictures.append(cv2.imencode(".png", bgr)[1].tobytes())
            tell("playing", len(kept), count)
        if len(kept) == count or number >= 2 * _KEPT * count:
            break
    play.close()
    return States(
        observations=np.stack([moment.observation for moment in kept]),
        values=np.array([moment.value for moment in kept]),
        games=np.array([moment.game for moment in kept]),
        steps=np.array([moment.step for moment in kept]),
        pictures=pictures,
    )


def strongest(activation: np.ndarray, states: States, count: int, apart: int) -> np.ndarray:
    """The states of the highest positive activation, highest first, of different games or far apart in one.

    Args:
        activation: [N].
        states: the N states.
        count: at most so many are given.
        apart: steps that two states of one game must lie apart at least.

    Returns:
        Indices [at most count].
    """
    chosen: list[int] = []
    for number in np.argsort(-activation, kind="stable"):
        if len(chosen) == count or activation[number] <= 0:
            break
        same = states.games[chosen] == states.games[number]
        if not (same & (np.abs(states.steps[chosen] - states.steps[number]) < apart)).any():
            chosen.append(int(number))
    return np.array(chosen, int)
