"""Numbers that are no longer finite: when a run has to stop, and what may be saved."""

from collections.abc import Callable

import numpy as np

from async_rl.build import shared_statistics
from async_rl.config import Config
from async_rl.shared import SharedTable

DROPS_IN_A_ROW = 20
"""Gradients dropped, without an update in between, after which nothing can be expected to be learnt any more."""


class Divergence:
    """Looks at a run's numbers; ``diverged`` once theta is not finite, or gradients no longer are.

    One worker's bad reward is no divergence: its gradient is dropped and counted, and that is said once.

    Attributes:
        diverged: whether nothing can be expected to be learnt any more.
        by_environment: whether that is due to the environment's numbers, and would be so with any learning rate.
    """

    def __init__(self, config: Config, table: SharedTable, say: Callable[[str], None]):
        self.diverged = self.by_environment = False
        self._table = table
        self._rows = ("parameters", "target", *shared_statistics(config))
        self._say = say
        self._said = False
        self._updates, self._drops, self._odd = self._counts()

    def look(self) -> None:
        """Look at the counts since the last update, and at theta, the target and the statistics."""
        updates, drops, odd = self._counts()
        if drops > self._drops and not self._said:
            self._said = True
            self._say(f"gradients that are not finite are dropped, {drops:,} so far; the reports count them")
        if updates > self._updates:
            self._updates, self._drops, self._odd = updates, drops, odd
        finite = self._finite()
        self.diverged |= drops - self._drops >= DROPS_IN_A_ROW or not finite
        self.by_environment = finite and odd > self._odd

    def _counts(self) -> tuple[int, int, int]:
        updates, drops, odd = (int(self._table[row].sum()) for row in ("updates", "dropped", "odd_steps"))
        return updates, drops, odd

    def _finite(self) -> bool:
        return all(np.isfinite(self._table[row]).all() for row in self._rows)
