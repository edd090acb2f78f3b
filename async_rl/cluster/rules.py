"""What an island and the common parameters tell each other: three rules of the literature, on flat float32 vectors.

One exchange: the island pulls the common parameters, the rule makes of them what the island pushes (added there) and by
how much it moves itself (added here). Both are differences, so whatever workers or other islands add meanwhile stays.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

RuleName = Literal["downpour", "elastic", "averaging"]

ELASTICITY = 0.9
"""Elastic averaging: the sum over all islands of the part of its distance that each moves (beta; Zhang et al., 5)."""


class Exchanged(NamedTuple):
    """What comes of one exchange; three vectors [P] float32."""

    change: np.ndarray
    """To be added to the common parameters, as it arrives there."""
    move: np.ndarray
    """To be added to the island's parameters."""
    view: np.ndarray
    """What the island has in common with the others from now on; the next exchange needs it."""


Rule = Callable[[np.ndarray, np.ndarray, np.ndarray, int, Callable[[np.ndarray], np.ndarray]], Exchanged]
"""(own, view, common, islands, as_sent) -> Exchanged; ``as_sent`` gives the values of a vector after its journey."""


def downpour(
    own: np.ndarray, view: np.ndarray, common: np.ndarray, islands: int, as_sent: Callable[[np.ndarray], np.ndarray]
) -> Exchanged:
    """The sum of all changes (Dean et al. 2012, Downpour SGD): ``change = own - view``, ``move = common - view``.

    What the journey rounds off stays in the island's parameters, and goes with the next change.
    """
    change = as_sent(own - view)
    return Exchanged(change, common - view, common + change)


def averaging(
    own: np.ndarray, view: np.ndarray, common: np.ndarray, islands: int, as_sent: Callable[[np.ndarray], np.ndarray]
) -> Exchanged:
    """The mean of the changes: ``change = (own - view) / islands``; the island goes to the common parameters."""
    change = as_sent((own - view) / np.float32(islands))
    new = common + change
    return Exchanged(change, new - own, new)


def elastic(
    own: np.ndarray, view: np.ndarray, common: np.ndarray, islands: int, as_sent: Callable[[np.ndarray], np.ndarray]
) -> Exchanged:
    """Elastic averaging (Zhang et al. 2015, arXiv 1412.6651, algorithm 1): both move by a part of their distance.

    ``change = (own - common) * ELASTICITY / islands``, ``move = -change``.
    """
    change = as_sent((own - common) * np.float32(ELASTICITY / islands))
    return Exchanged(change, -change, view)


RULES: dict[str, Rule] = {"downpour": downpour, "elastic": elastic, "averaging": averaging}
