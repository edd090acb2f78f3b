"""Asynchronous advantage actor-critic, A3C: Algorithm S3 of Mnih et al. 2016, arXiv 1602.01783."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from async_rl import kernels
from async_rl.algorithms.segment import LossGradient, Network, Segment, next_values
from async_rl.returns import lambda_returns


@dataclass(frozen=True)
class ActorCritic:
    """Policy gradient with the advantage ``R - V(s)``, squared error of V, and a bonus for the policy's entropy.

    Returns are bootstrapped by the same copy of theta; there is no target network. The loss as one formula, and its
    gradient, is in `async_rl.kernels.actor_critic_gradient`.

    Attributes:
        entropy_weight: of the bonus; the paper: 0.01.
    """

    entropy_weight: float

    @torch.no_grad()
    def returns(self, network: Network, target: Network, segment: Segment, outputs: Tensor) -> Tensor:
        """Returns to the end of the segment; see `async_rl.algorithms.segment.Learner`."""
        next_value = next_values(
            lambda observation, action: network(observation)[..., -1],
            segment,
            inner=torch.zeros(()),  # has no weight
        )
        return lambda_returns(segment.reward, segment.discount, segment.continues, next_value, decay=1.0)

    def loss_gradient(self, outputs: Tensor, returns: Tensor, segment: Segment) -> LossGradient:
        """The gradient of policy and value; see `async_rl.algorithms.segment.Learner`."""
        gradient, errors = torch.empty_like(outputs), torch.empty_like(returns)
        sums = kernels.actor_critic_gradient(
            outputs.numpy(),
            segment.action.numpy(),
            returns.numpy(),
            np.float32(self.entropy_weight),
            gradient.numpy(),
            errors.numpy(),
        )
        return LossGradient(gradient, errors, *sums)
