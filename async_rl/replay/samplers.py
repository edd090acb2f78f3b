"""How likely a step is to be replayed, and what that does to its weight in the loss."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from async_rl.schedules import linear


class Sampler(Protocol):
    """The choice by which uniform and prioritised replay differ."""

    def priorities(self, errors: np.ndarray) -> np.ndarray:
        """What steps with TD ``errors`` [n] are drawn in proportion to, [n], each above 0."""

    def importance(self, ratios: np.ndarray, total_steps: int) -> np.ndarray:
        """Weights [n] in the loss, at T, of steps drawn ``ratios`` [n] times as often as uniformly: ``N * P(i)``."""


@dataclass(frozen=True)
class Uniform:
    """Every step is as likely as any other (Mnih et al. 2015; Gorila)."""

    def priorities(self, errors: np.ndarray) -> np.ndarray:
        """1 each; see `Sampler`."""
        return np.ones(errors.shape)

    def importance(self, ratios: np.ndarray, total_steps: int) -> np.ndarray:
        """1 each; see `Sampler`."""
        return np.ones(ratios.shape)


@dataclass(frozen=True)
class Proportional:
    """Steps with large TD errors are drawn more often (Schaul et al. 2016, 1511.05952, section 3.3).

    Attributes:
        steps: T at which the draw is corrected in full.
        exponent: alpha; 0 draws uniformly, 1 in proportion to the error. Theirs: 0.6.
        importance_exponent: beta at T = 0, annealed to 1; 1 corrects the non-uniform draw in full. Theirs: 0.4.
        epsilon: added to each |error|, so that a step without error is drawn again some day; above 0.
    """

    steps: int
    exponent: float = 0.6
    importance_exponent: float = 0.4
    epsilon: float = 1e-6

    def priorities(self, errors: np.ndarray) -> np.ndarray:
        """``(|error| + epsilon)^alpha`` (equation 1); see `Sampler`."""
        return (np.abs(errors) + self.epsilon) ** self.exponent

    def importance(self, ratios: np.ndarray, total_steps: int) -> np.ndarray:
        """``(N * P(i))^-beta`` over the largest of the batch, so errors are only scaled down (section 3.4)."""
        weights = ratios ** -self.beta(total_steps)
        return weights / weights.max()

    def beta(self, total_steps: int) -> float:
        """The exponent of the importance weights at T."""
        return linear(self.importance_exponent, 1.0, self.steps, total_steps)
