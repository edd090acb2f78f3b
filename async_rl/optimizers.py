"""Update rules: arithmetic on (parameters, gradient, statistics, lr), all flat float32 vectors of the same length.

Shared or local statistics, shared or private parameters: that is which tensor is handed in. With shared ones, several
processes run `apply` on the same memory at once, without a lock: an element's update can be lost, never torn.

[1] is Mnih et al. 2016, arXiv 1602.01783, section 4 ("Optimization").
"""

import math
from collections.abc import Callable, Sequence
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from async_rl import kernels
from async_rl.config import Config
from async_rl.rounded import Rounded


class Optimizer(Protocol):
    """Changes parameters in place, once for each call, with the gradient that stands in its vector then."""

    statistics: ClassVar[tuple[str, ...]]
    """Names of the vectors [P] that it keeps between updates; they start at zero."""

    def apply(self, lr: float) -> None:
        """One update."""


class RMSProp:
    """Non-centred RMSProp without momentum, epsilon inside the root ([1], eq. 8 and 9).

    ``g <- decay * g + (1 - decay) * gradient^2``; ``parameters <- parameters - lr * gradient / sqrt(g + epsilon)``.

    torch.optim.RMSprop has epsilon outside the root. The centred form divides by a difference of two statistics, which
    unlocked updates can make negative: NaN.

    One compiled pass over memory (`async_rl.kernels.rmsprop`) takes 125 microseconds for the paper's network on one
    core of a Zen 4 EPYC; tensor operations, which go over it five times, 570. These on chunks of 32,768 elements, which
    stay in the second-level cache, took 690 where the whole vector took 520 (Zen 5): tried and dropped.
    """

    statistics: ClassVar[tuple[str, ...]] = ("mean_square",)

    def __init__(
        self,
        parameters: Tensor,
        gradient: Tensor,
        mean_square: Tensor,
        decay: float,
        epsilon: float,
        rounded: Rounded | None = None,
    ):
        """Remember the vectors [P]; all but ``gradient`` are changed in place by `apply`."""
        self._vectors = (parameters.numpy(), gradient.numpy(), mean_square.numpy())
        self._constants = (np.float32(decay), np.float32(1 - decay), np.float32(epsilon))
        self._rounded = rounded
        self._rounded_bits = None if rounded is None else rounded.vector.view(torch.uint16).numpy()

    def apply(self, lr: float) -> None:
        """One update with the gradient that stands in the vector now."""
        kernels.rmsprop(*self._vectors, *self._constants, np.float32(lr), self._rounded_bits)
        if self._rounded is not None:
            self._rounded.written = True


class Momentum:
    """Momentum SGD ([1], section 4).

    ``m <- decay * m + (1 - decay) * gradient``; ``parameters <- parameters - lr * m``.
    """

    statistics: ClassVar[tuple[str, ...]] = ("mean",)

    def __init__(self, parameters: Tensor, gradient: Tensor, mean: Tensor, decay: float):
        """Remember the vectors [P]; ``parameters`` and ``mean`` are changed in place by `apply`."""
        self._parameters = parameters
        self._gradient = gradient
        self._mean = mean
        self._decay = decay

    @torch.no_grad()
    def apply(self, lr: float) -> None:
        """One update with the gradient that stands in the vector now."""
        self._mean.lerp_(self._gradient, 1 - self._decay)
        self._parameters.add_(self._mean, alpha=-lr)


class Adam:
    """Adam (Kingma and Ba 2015, arXiv 1412.6980, algorithm 1), epsilon outside the root.

    The count of updates in the bias correction has to be that of the statistics: of all workers where these are shared.
    So it is asked for at each update, and no count of its own can go wrong.

    The corrected mean is at most ``(1 - decay) / sqrt((1 - square_decay) (1 - decay^2 / square_decay))`` times the root
    of the corrected mean square, 7.3 with the usual decays, whatever the gradients were (Cauchy-Schwarz). Unlocked
    updates can break that: one worker's mean is there, its square is lost, and where the gradient has been zero before,
    the quotient is divided by epsilon. So it is held to the limit, which nothing else ever reaches. Without it Pong
    diverged at the first updates of two workers.
    """

    statistics: ClassVar[tuple[str, ...]] = ("mean", "mean_square")

    def __init__(
        self,
        parameters: Tensor,
        gradient: Tensor,
        mean: Tensor,
        mean_square: Tensor,
        updates: Callable[[], int],
        decay: float,
        square_decay: float,
        epsilon: float,
    ):
        """Remember the vectors [P]; ``updates`` counts the updates that the statistics have seen before."""
        self._vectors = (parameters.numpy(), gradient.numpy(), mean.numpy(), mean_square.numpy())
        self._updates = updates
        self._decays = (decay, square_decay)
        self._epsilon = epsilon
        spread = (1 - square_decay) * (square_decay - decay**2)
        self._most = (1 - decay) * math.sqrt(square_decay / spread) if spread > 0 else math.inf

    def apply(self, lr: float) -> None:
        """One update with the gradient that stands in the vector now."""
        decay, square_decay = self._decays
        count = self._updates() + 1
        scale, rate = 1 / (1 - square_decay**count), lr / (1 - decay**count)
        # The limit holds for the corrected mean, whose correction is in the rate.
        most = self._most * (1 - decay**count)
        constants = (decay, square_decay, 1 - decay, 1 - square_decay, scale, self._epsilon, most, rate)
        kernels.adam(*self._vectors, *map(np.float32, constants))


def limit_norm(gradients: Sequence[Tensor], limit: float) -> None:
    """Scale each of ``gradients`` that is longer than ``limit`` (Euclidean norm) to that length, in place."""
    for gradient in gradients:
        norm = float(torch.linalg.vector_norm(gradient))
        if norm > limit:
            gradient.mul_(limit / norm)


OPTIMIZERS: dict[str, type[Optimizer]] = {"rmsprop": RMSProp, "momentum": Momentum, "adam": Adam}


def make_optimizer(
    config: Config,
    parameters: Tensor,
    gradient: Tensor,
    rounded: Rounded | None,
    statistics: dict[str, Tensor],
    updates: Callable[[], int],
) -> Optimizer:
    """The optimiser that ``config`` names, over the vectors [P] it is to work on; see the classes."""
    if config.optimizer == "rmsprop":
        decay, epsilon = config.rms_decay, config.rms_epsilon
        return RMSProp(parameters, gradient, **statistics, decay=decay, epsilon=epsilon, rounded=rounded)
    if config.optimizer == "momentum":
        return Momentum(parameters, gradient, **statistics, decay=config.momentum_decay)
    return Adam(
        parameters,
        gradient,
        **statistics,
        updates=updates,
        decay=config.momentum_decay,
        square_decay=config.rms_decay,
        epsilon=config.adam_epsilon,
    )
