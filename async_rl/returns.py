"""What values are moved towards. Arrays are ``[T, E]`` (steps of a segment, streams) float32 unless stated.

[1] is Mnih et al. 2016, arXiv 1602.01783.
"""

import numpy as np
import torch
from torch import Tensor

from async_rl import kernels


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
    kernels.lambda_returns(
        reward.numpy(), discount.numpy(), continues.numpy(), next_value.numpy(), np.float32(decay), returns.numpy()
    )
    return returns


def taken(values: Tensor, action: Tensor) -> Tensor:
    """``values[t, action[t]]``: the entries [T, E] of ``values`` [T, E, A] at the actions taken, int64 [T, E]."""
    return torch.gather(values, -1, action.unsqueeze(-1)).squeeze(-1)
