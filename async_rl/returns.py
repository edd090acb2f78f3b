"""One equation, one pure function. Arrays are ``[T, E]`` (steps of a segment, streams) float32 unless stated.

[1] is Mnih et al. 2016, arXiv 1602.01783.
"""

import torch
from torch import Tensor


def lambda_returns(reward: Tensor, discount: Tensor, continues: Tensor, next_value: Tensor, decay: float) -> Tensor:
    """``G[t] = reward[t] + discount[t] * ((1 - c) * next_value[t] + c * G[t + 1])``, ``c = decay * continues[t]``.

    The last step of the segment, and one that ended a game, have nothing after them: c is 0 there. Decay 0 gives the
    one-step target of [1], Algorithm 1; decay 1 the n-step return in the forward view of [1], Algorithms S2 and S3;
    between them it is the recursion of Gallici et al. 2024, arXiv 2407.04811.

    Args:
        reward: [T, E], clipped where the algorithm clips.
        discount: [T, E], gamma, or 0 where no return follows.
        continues: [T, E], 1 where ``t + 1`` is the next step of the same game, else 0.
        next_value: [T, E], value of ``next_observation[t]``.
        decay: lambda, between 0 and 1.

    Returns:
        [T, E].
    """
    returns = torch.empty_like(reward)
    following = next_value[-1]
    for t in reversed(range(len(reward))):
        returns[t] = reward[t] + discount[t] * torch.lerp(next_value[t], following, decay * continues[t])
        following = returns[t]
    return returns


def taken(values: Tensor, action: Tensor) -> Tensor:
    """``values[t, action[t]]``: the entries [T, E] of ``values`` [T, E, A] at the actions taken, int64 [T, E]."""
    return torch.gather(values, -1, action.unsqueeze(-1)).squeeze(-1)


def entropy(logits: Tensor) -> Tensor:
    """Entropy in nats of the softmax policy with these ``logits`` [T, E, A]; [T, E]."""
    log_policy = torch.log_softmax(logits, dim=-1)
    return -(log_policy.exp() * log_policy).sum(dim=-1)
