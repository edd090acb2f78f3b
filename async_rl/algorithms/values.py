"""Methods that learn action values: one-step Q, one-step Sarsa, n-step Q, with double Q and lambda-returns.

[1] is Mnih et al. 2016, arXiv 1602.01783: Algorithm 1, its Sarsa form (section 4) and Algorithm S2. They differ in the
value of the next observation and in how far rewards are followed before it is used.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from async_rl import kernels
from async_rl.algorithms.segment import LossGradient, Network, Segment, next_values
from async_rl.returns import lambda_returns, taken

NextValue = Callable[[Network, Network, Tensor, Tensor], Tensor]
"""(network, target network, next observations [N, *observation_shape], next actions [N]) -> value of each, [N]."""


def best_value(network: Network, target: Network, observation: Tensor, action: Tensor) -> Tensor:
    """``max_a Q(s', a; theta^-)``, [N]: Q-learning ([1], Algorithms 1 and S2)."""
    return target(observation).amax(dim=-1)


def double_value(network: Network, target: Network, observation: Tensor, action: Tensor) -> Tensor:
    """``Q(s', argmax_a Q(s', a; theta); theta^-)``, [N]: double Q-learning (van Hasselt et al. 2015, 1509.06461)."""
    best = network(observation).argmax(dim=-1)
    return taken(target(observation), best)


def taken_value(network: Network, target: Network, observation: Tensor, action: Tensor) -> Tensor:
    """``Q(s', a'; theta^-)`` of the action taken next, [N]: Sarsa ([1], section 4).

    Where a game was cut no action was taken at its last observation; the best one stands in.
    """
    values = target(observation)
    return torch.where(action >= 0, taken(values, action.clamp(min=0)), values.amax(dim=-1))


@dataclass(frozen=True)
class ValueLearner:
    """Moves ``Q(s, a; theta)`` of the actions taken towards lambda-returns ``R``.

    The loss is the sum of ``weight * (R - Q(s, a; theta))^2``, or of half of it with errors limited to 1 (Huber's); its
    gradient is in `async_rl.kernels.value_gradient`.

    Attributes:
        next_value: who values what comes next.
        decay: lambda of the returns; 0: one step, 1: to the end of the segment.
        slope: of the loss, in TD errors.
        limit: TD errors beyond it have the gradient of this one.
    """

    next_value: NextValue
    decay: float
    slope: float
    limit: float

    @torch.no_grad()
    def returns(self, network: Network, target: Network, segment: Segment, outputs: Tensor) -> Tensor:
        """Lambda-returns; see `async_rl.algorithms.segment.Learner`."""
        inner = torch.zeros(()) if self.decay == 1 else None  # has no weight
        if inner is None and target is network and self.next_value is best_value:
            inner = outputs[1:].amax(dim=-1)  # known from acting
        next_value = next_values(partial(self.next_value, network, target), segment, inner)
        return lambda_returns(segment.reward, segment.discount, segment.continues, next_value, self.decay)

    def loss_gradient(self, outputs: Tensor, returns: Tensor, segment: Segment) -> LossGradient:
        """The gradient of the actions taken; see `async_rl.algorithms.segment.Learner`."""
        gradient, errors = torch.empty_like(outputs), torch.empty_like(returns)
        sums = kernels.value_gradient(
            outputs.numpy(),
            segment.action.numpy(),
            returns.numpy(),
            segment.weight.numpy(),
            np.float32(self.slope),
            np.float32(self.limit),
            gradient.numpy(),
            errors.numpy(),
        )
        return LossGradient(gradient, errors, *sums)
