"""Methods that learn action values: one-step Q, one-step Sarsa, n-step Q, with double Q and lambda-returns.

[1] is Mnih et al. 2016, arXiv 1602.01783: Algorithms 1, S1 and S2. They differ in the value of the next observation and
in how far rewards are followed before it is used.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from async_rl.algorithms.segment import Learning, Network, Segment
from async_rl.returns import lambda_returns, taken

NextValue = Callable[[Network, Network, Segment], Tensor]
"""(network, target network, segment) -> value of each ``next_observation``, [T, E]."""


def values(network: Network, observation: Tensor) -> Tensor:
    """Q [T, E, A] of observations [T, E, *observation_shape], in one pass."""
    return network(observation.flatten(0, 1)).unflatten(0, observation.shape[:2])


def best_value(network: Network, target: Network, segment: Segment) -> Tensor:
    """``max_a Q(s', a; theta^-)``, [T, E]: Q-learning ([1], Algorithms 1 and S2)."""
    return values(target, segment.next_observation).amax(dim=-1)


def double_value(network: Network, target: Network, segment: Segment) -> Tensor:
    """``Q(s', argmax_a Q(s', a; theta); theta^-)``, [T, E]: double Q-learning (van Hasselt et al. 2015, 1509.06461)."""
    best = values(network, segment.next_observation).argmax(dim=-1)
    return taken(values(target, segment.next_observation), best)


def taken_value(network: Network, target: Network, segment: Segment) -> Tensor:
    """``Q(s', a'; theta^-)`` of the action taken next, [T, E]: Sarsa ([1], Algorithm S1).

    Where a game was cut no action was taken at its last observation; the best one stands in.
    """
    next_values = values(target, segment.next_observation)
    known = segment.next_action >= 0
    return torch.where(known, taken(next_values, segment.next_action.clamp(min=0)), next_values.amax(dim=-1))


def squared(errors: Tensor) -> Tensor:
    """Squared errors, each with the gradient ``2 * error``, as in [1], Algorithm 1."""
    return errors.square()


def huber(errors: Tensor) -> Tensor:
    """Twice the Huber loss: `squared` within 1, beyond it the gradient stays at 2 (Mnih et al. 2015)."""
    return 2 * functional.huber_loss(errors, torch.zeros_like(errors), reduction="none")


@dataclass(frozen=True)
class ValueLearner:
    """Moves ``Q(s, a; theta)`` of the actions taken towards lambda-returns.

    Attributes:
        next_value: who values what comes next.
        decay: lambda of the returns; 0: one step, 1: to the end of the segment.
        loss: of each TD error, [T, E] -> [T, E].
    """

    next_value: NextValue
    decay: float
    loss: Callable[[Tensor], Tensor]

    @torch.no_grad()
    def returns(self, network: Network, target: Network, segment: Segment) -> Tensor:
        """Lambda-returns; see `async_rl.algorithms.segment.Learner`."""
        next_value = self.next_value(network, target, segment)
        return lambda_returns(segment.reward, segment.discount, segment.continues, next_value, self.decay)

    def learning(self, outputs: Tensor, returns: Tensor, segment: Segment) -> Learning:
        """The loss of the actions taken; see `async_rl.algorithms.segment.Learner`."""
        value = taken(outputs, segment.action)
        errors = returns - value
        loss = (segment.weight * self.loss(errors)).sum()
        return Learning(loss, value.detach().sum(), errors.detach())
