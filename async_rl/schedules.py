"""What changes with T, the steps of all workers. Pure functions of T, so that a resumed run needs no state of them.

[1] is Mnih et al. 2016, arXiv 1602.01783.
"""

import dataclasses

import numpy as np

from async_rl.config import Config
from async_rl.seeding import learning_rate_generator


def linear(start: float, end: float, over_steps: int, total_steps: int) -> float:
    """``start`` at T = 0, ``end`` from T = ``over_steps`` on, on a straight line between."""
    if total_steps >= over_steps:
        return end
    return start + (end - start) * (total_steps / over_steps)


def with_drawn_learning_rate(config: Config) -> Config:
    """``config`` with its learning rate drawn from LogUniform(*lr_range), where it has one ([1], supplement 8)."""
    if config.lr_range is None:
        return config
    low, high = np.log(config.lr_range)
    drawn = float(np.exp(learning_rate_generator(config.seed).uniform(low, high)))
    return dataclasses.replace(config, lr=drawn, lr_range=None)


def learning_rate(config: Config, total_steps: int) -> float:
    """Learning rate at T; annealed linearly to 0 at the end of training ([1], supplement 8) or constant."""
    if config.lr_schedule == "constant":
        return config.lr
    return linear(config.lr, 0.0, config.steps, total_steps)


def epsilons(config: Config, final: np.ndarray, total_steps: int) -> np.ndarray:
    """Epsilon of each stream at T, ``[E]`` float64: from 1 to the stream's ``final [E]`` ([1], supplement 8).

    Annealed on the count of all workers, as [1] counts frames "over all actor-learners". a3c draws its actions from its
    policy: 0.
    """
    if config.has_policy:
        return np.zeros_like(final)
    return linear(1.0, 0.0, config.epsilon_anneal_steps, total_steps) * (1.0 - final) + final
