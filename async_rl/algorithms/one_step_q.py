"""Asynchronous one-step Q-learning: Algorithm 1 of Mnih et al. 2016, arXiv 1602.01783."""

import torch
from torch import nn

from async_rl.algorithms.segment import Algorithm, Learning, Segment
from async_rl.returns import one_step_targets, taken


def learn(network: nn.Module, target: nn.Module, segment: Segment) -> Learning:
    """Squared TD errors ``(y - Q(s, a; theta))^2`` with ``y = r + gamma max_a' Q(s', a'; theta^-)``, summed.

    Both networks read shared memory as it is at that moment; Algorithm 1 keeps no copy of theta in a worker.
    """
    steps = segment.action.shape
    with torch.no_grad():
        next_value = target(segment.next_observation.flatten(0, 1)).amax(dim=-1).view(steps)
        targets = one_step_targets(segment.reward, segment.discount, next_value)
    value = taken(network(segment.observation.flatten(0, 1)).unflatten(0, steps), segment.action)
    loss = (targets - value).square().sum()
    return Learning(loss=loss, td_loss=loss.detach(), value=value.detach().sum())


ONE_STEP_Q = Algorithm(learn=learn)
