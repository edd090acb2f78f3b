"""What an algorithm is given, and what it gives back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from async_rl.types import EnvSpec

Policy = Callable[[np.ndarray, np.ndarray, Sequence[np.random.Generator]], np.ndarray]
"""(network outputs [E, outputs], epsilons [E], one generator of each stream) -> actions [E] int64."""


Network = Callable[[Tensor], Tensor]
"""Observations [B, *observation_shape] -> outputs [B, outputs], such as a torch module."""


class Segment:
    """``t_max`` consecutive steps of all streams of one worker; the memory is made once and written again and again.

    A batch drawn from a replay memory, or from a longer segment, is one of a single step, with a stream for each that
    was drawn.

    Attributes:
        observation: [T, E, *observation_shape], where ``action`` was chosen.
        action: [T, E] int64.
        reward: [T, E] float32, as the algorithm is to see it (clipped or not).
        discount: [T, E] float32, gamma, or 0 where no return follows.
        continues: [T, E] float32, 0 where ``action`` ended the game, by a cut or by its own end, else 1.
        next_observation: [T, E, *observation_shape], what was seen after ``action``; see `async_rl.types`.
        next_action: [T, E] int64, the action taken at ``next_observation``; -1 where none was, because the game
            ended, or because the algorithm does not ask for it.
        weight: [T, E] float32, of each step's error in the loss; 1 but for prioritised replay.
    """

    def __init__(self, spec: EnvSpec, t_max: int, streams: int):
        shape = (t_max, streams)
        dtype = getattr(torch, spec.observation_dtype)
        self.observation = torch.zeros(shape + spec.observation_shape, dtype=dtype)
        self.action = torch.full(shape, -1)
        self.reward = torch.full(shape, torch.nan)
        self.discount = torch.full(shape, torch.nan)
        self.continues = torch.full(shape, torch.nan)
        self.next_observation = torch.zeros(shape + spec.observation_shape, dtype=dtype)
        self.next_action = torch.full(shape, -1)
        self.weight = torch.ones(shape)


def next_values(value: Callable[[Tensor, Tensor], Tensor], segment: Segment, inner: Tensor | None) -> Tensor:
    """Values of what was seen after each step, [T, E].

    Args:
        value: next observations [N, *observation_shape] and next actions [N] -> values [N].
        segment: of T steps.
        inner: what stands for the values of steps that another one of the same game follows in the segment,
            [T - 1, E] or a single number; so only the others are asked for. None: all are.
    """
    if inner is None or len(segment.reward) == 1:
        return value(segment.next_observation.flatten(0, 1), segment.next_action.flatten()).view_as(segment.reward)
    asked = (segment.continues == 0) & (segment.discount > 0)  # cut
    asked[-1] = True
    values = torch.empty_like(segment.reward)
    values[:-1] = inner
    values[asked] = value(segment.next_observation[asked], segment.next_action[asked])
    return values


@dataclass(frozen=True)
class LossGradient:
    """What an algorithm makes of a segment. Sums are over its steps, not means (Mnih et al. 2016).

    Attributes:
        gradient: [T, E, outputs], of the loss in the network's outputs.
        errors: [T, E], the TD errors.
        value: sum of the values of the actions (A3C: states) met, for the record.
        td_loss: sum of the squared TD errors, for the record.
    """

    gradient: Tensor
    errors: Tensor
    value: float
    td_loss: float


class Learner(Protocol):
    """What a network is moved towards, and how its distance from there is measured."""

    def returns(self, network: Network, target: Network, segment: Segment, outputs: Tensor) -> Tensor:
        """Returns [T, E] that the values are moved towards; constants, nothing is differentiated through them.

        ``outputs`` [T, E, outputs] are the network's for ``segment.observation``.
        """

    def loss_gradient(self, outputs: Tensor, returns: Tensor, segment: Segment) -> LossGradient:
        """What the loss asks for, given the network's ``outputs`` [T, E, outputs] for ``segment.observation``.

        Ours are written by hand. For a loss of one's own autograd is as good::

            outputs = outputs.detach().requires_grad_()
            errors = returns - taken(outputs, segment.action)
            (gradient,) = torch.autograd.grad((segment.weight * errors**2).sum(), outputs)
            errors = errors.detach()
            return LossGradient(gradient, errors, float((returns - errors).sum()), float((errors**2).sum()))
        """


@dataclass(frozen=True)
class Algorithm:
    """The choices by which one algorithm differs from the others; all of them run in `async_rl.worker`'s one loop.

    Attributes:
        learner: of values, or of a policy and its value.
        policy: how actions are chosen from the network's outputs.
        copies_parameters: whether a worker works on a copy of theta that it takes at the start of each segment
            (Algorithms S2 and S3), or on the live shared theta (Algorithm 1 and Sarsa).
        needs_next_action: whether ``segment.next_action`` is to be filled.
    """

    learner: Learner
    policy: Policy
    copies_parameters: bool = False
    needs_next_action: bool = False
