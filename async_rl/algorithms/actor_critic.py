"""Asynchronous advantage actor-critic, A3C: Algorithm S3 of Mnih et al. 2016, arXiv 1602.01783."""

from dataclasses import dataclass

import torch
from torch import Tensor

from async_rl.algorithms.segment import Learning, Network, Segment, next_values
from async_rl.returns import entropy, lambda_returns, taken


def split(outputs: Tensor) -> tuple[Tensor, Tensor]:
    """Logits [..., A] and value [...] from the outputs [..., A + 1] of the shared trunk."""
    return outputs[..., :-1], outputs[..., -1]


@dataclass(frozen=True)
class ActorCritic:
    """Policy gradient with the advantage ``R - V(s)``, squared error of V, and a bonus for the policy's entropy.

    Returns are bootstrapped by the same copy of theta; there is no target network.

    Attributes:
        entropy_weight: of the bonus; the paper: 0.01.
    """

    entropy_weight: float

    @torch.no_grad()
    def returns(self, network: Network, target: Network, segment: Segment, outputs: Tensor) -> Tensor:
        """Returns to the end of the segment; see `async_rl.algorithms.segment.Learner`."""
        next_value = next_values(
            lambda observation, action: split(network(observation))[1],
            segment,
            inner=torch.zeros(()),  # has no weight
        )
        return lambda_returns(segment.reward, segment.discount, segment.continues, next_value, decay=1.0)

    def learning(self, outputs: Tensor, returns: Tensor, segment: Segment) -> Learning:
        """The loss of policy and value; see `async_rl.algorithms.segment.Learner`."""
        logits, value = split(outputs)
        advantage = returns - value
        log_probability = taken(torch.log_softmax(logits, dim=-1), segment.action)
        actor = (log_probability * advantage.detach()).sum() + self.entropy_weight * entropy(logits).sum()
        return Learning(advantage.square().sum() - actor, value.detach().sum(), advantage.detach())
