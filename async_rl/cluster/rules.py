"""What an island and the common parameters tell each other: three rules of the literature, on flat float32 vectors.

One exchange: the island cuts off a *change*, which is added to the common parameters, and gets these back as they are
then. Both sides only ever add differences, so whatever workers or other islands add meanwhile stays.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

ELASTICITY = 0.9
"""Elastic averaging: the sum over all islands of the part of its distance that each moves (beta; Zhang et al., 5)."""


class Rule(NamedTuple):
    """One way to exchange.

    ``view`` [P] is what the island last knew of the common parameters, with all that it has sent since.
    """

    change: Callable[[np.ndarray, np.ndarray, int], np.ndarray]
    """(own, view, islands) -> change [P], to be added to the common parameters, as it arrives there."""
    rest: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray] | None
    """(own, view, change) -> what the island itself moves by at the same moment; None: it stays where it is."""
    follows: bool
    """Whether the island moves by as much as the common parameters have moved since its view of them; if not, the
    change depends on where they are now, so the island asks before it cuts it off."""


def _sum(own: np.ndarray, view: np.ndarray, islands: int) -> np.ndarray:
    return own - view


def _mean(own: np.ndarray, view: np.ndarray, islands: int) -> np.ndarray:
    return (own - view) / np.float32(islands)


def _part(own: np.ndarray, view: np.ndarray, islands: int) -> np.ndarray:
    return (own - view) * np.float32(ELASTICITY / islands)


RULES: dict[str, Rule] = {
    # The sum of all changes (Dean et al. 2012, Downpour SGD). What the journey rounds off stays in the island's
    # parameters, and goes with the next change.
    "downpour": Rule(_sum, None, True),
    # Elastic averaging (Zhang et al. 2015, arXiv 1412.6651, algorithm 1): both move by a part of their distance.
    "elastic": Rule(_part, lambda own, view, change: -change, False),
    # The mean of the changes; the island itself keeps no more of its own than that.
    "averaging": Rule(_mean, lambda own, view, change: view + change - own, True),
}
