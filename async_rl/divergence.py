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
    """

    def __init__(self, config: Config, table: SharedTable, say: Callable[[str], None]):
        self.diverged = False
        self._table = table
        self._rows = ("parameters", "target", *shared_statistics(config))
        self._say = say
        self._said = False
        self._updates, self._drops = self._counts()

    def look(self) -> None:
        """Look at the counts since the last update, and at theta, the target and the statistics."""
        updates, drops = self._counts()
        if drops > self._drops and not self._said:
            self._said = True
            self._say(f"gradients that are not finite are dropped, {drops:,} so far; the reports count them")
        if updates > self._updates:
            self._updates, self._drops = updates, drops
        self.diverged |= drops - self._drops >= DROPS_IN_A_ROW or not self._finite()

    def _counts(self) -> tuple[int, int]:
        return int(self._table["updates"].sum()), int(self._table["dropped"].sum())

    def _finite(self) -> bool:
        return all(np.isfinite(self._table[row]).all() for row in self._rows)
