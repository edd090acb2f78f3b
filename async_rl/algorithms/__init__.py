"""Learning algorithms: each a small record of choices for the one loop in `async_rl.worker`."""

import math

from async_rl.algorithms.actor_critic import ActorCritic
from async_rl.algorithms.minibatches import Minibatches
from async_rl.algorithms.segment import Algorithm, LossGradient, Network, Segment
from async_rl.algorithms.values import (
    NextValue,
    ValueLearner,
    best_value,
    double_value,
    taken_value,
)
from async_rl.config import Config
from async_rl.policies import epsilon_greedy, softmax_sample

__all__ = ["Algorithm", "LossGradient", "Minibatches", "Network", "Segment", "make_algorithm"]


_LOSSES = {"squared": (2.0, math.inf), "huber": (1.0, 1.0)}
"""Slope and largest TD error that counts: of the error's square (Mnih et al. 2016, Algorithm 1), of half of it with the
error clipped to 1 (Mnih et al. 2015, Methods)."""


def make_algorithm(config: Config) -> Algorithm:
    """The algorithm that ``config`` describes."""
    if config.has_policy:
        return Algorithm(ActorCritic(config.entropy_weight), softmax_sample, copies_parameters=True)
    sarsa, n_step = config.algorithm == "one-step-sarsa", config.algorithm == "n-step-q"
    next_value: NextValue = taken_value if sarsa else double_value if config.double else best_value
    decay = config.lambda_ if config.lambda_ is not None else float(n_step)
    learner = ValueLearner(next_value, decay, *_LOSSES[config.loss])
    return Algorithm(learner, epsilon_greedy, copies_parameters=n_step, needs_next_action=sarsa)
