"""One equation, one pure function. Arrays are ``[T, E]`` (steps of a segment, streams) float32 unless stated.

[1] is Mnih et al. 2016, arXiv 1602.01783.
"""

import torch
from torch import Tensor


def one_step_targets(reward: Tensor, discount: Tensor, next_value: Tensor) -> Tensor:
    """``y[t] = reward[t] + discount[t] * next_value[t]``, with ``next_value[t] = max_a Q(next_observation[t], a)``.

    Source: [1], Algorithm 1; ``discount[t]`` is gamma, and 0 at a terminal state.

    Args:
        reward: [T, E], clipped where the algorithm clips.
        discount: [T, E], gamma times the environment's 0 or 1.
        next_value: [T, E], of ``next_observation[t]``.

    Returns:
        [T, E].
    """
    return reward + discount * next_value


def taken(values: Tensor, action: Tensor) -> Tensor:
    """``values[t, action[t]]``: the entries [T, E] of ``values`` [T, E, A] at the actions taken, int64 [T, E]."""
    return torch.gather(values, -1, action.unsqueeze(-1)).squeeze(-1)
