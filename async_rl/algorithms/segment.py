"""What an algorithm is given, and what it gives back."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from async_rl.types import EnvSpec


class Segment:
    """``t_max`` consecutive steps of all streams of one worker; the memory is made once and written again and again.

    Attributes:
        observation: [T, E, *observation_shape], where ``action`` was chosen.
        action: [T, E] int64.
        reward: [T, E] float32, as the algorithm is to see it (clipped or not).
        discount: [T, E] float32, gamma, or 0 where no return follows.
        next_observation: [T, E, *observation_shape], what was seen after ``action``; see `async_rl.types`.
    """

    def __init__(self, spec: EnvSpec, t_max: int, streams: int):
        shape = (t_max, streams)
        dtype = getattr(torch, spec.observation_dtype)
        self.observation = torch.zeros(shape + spec.observation_shape, dtype=dtype)
        self.action = torch.full(shape, -1)
        self.reward = torch.full(shape, torch.nan)
        self.discount = torch.full(shape, torch.nan)
        self.next_observation = torch.zeros(shape + spec.observation_shape, dtype=dtype)


@dataclass(frozen=True)
class Learning:
    """What an algorithm makes of a segment.

    Attributes:
        loss: what to differentiate, summed over the steps of the segment, not averaged (Mnih et al. 2016).
        td_loss: sum over the segment of the squared TD errors, for the record.
        value: sum over the segment of the values of the actions taken, for the record.
    """

    loss: Tensor
    td_loss: Tensor
    value: Tensor


@dataclass(frozen=True)
class Algorithm:
    """The choices by which one algorithm differs from the others.

    Attributes:
        learn: (network, target network, segment) -> `Learning`.
    """

    learn: Callable[[nn.Module, nn.Module, Segment], Learning]
