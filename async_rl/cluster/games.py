"""Games that islands tell of, as the driver puts them on record."""

import numpy as np

from async_rl.build import GAMES_RING
from async_rl.shared import SharedTable


def put_games(table: SharedTable, slot: int, games: np.ndarray, dates: np.ndarray, written: int) -> None:
    """Into the rings out of which the supervisor reads, under the island's own numbers, so that it tells how many were
    overwritten before they could be asked for: the records first, the count after them.

    Args:
        table: the driver's.
        slot: of the worker.
        games: its newest ones [N, fields].
        dates: their T [N].
        written: number of the next one.
    """
    ring, count = table["games"][slot], table["games_written"]
    ring[np.arange(max(count[slot], written - GAMES_RING), written) % GAMES_RING] = np.nan
    ring[np.arange(written - len(games), written) % GAMES_RING] = np.column_stack([dates, games[:, 1:]])
    count[slot] = written


def dated_within(dates: list[np.ndarray], first: int, last: int) -> list[np.ndarray]:
    """T of finished games, moved and if need be pressed together to lie from ``first`` to ``last``, in their order.

    An island knows T only as of its last exchange. What arrives after a checkpoint must not be dated before it, or a
    resume would keep games whose steps it does not count.
    """
    every = np.concatenate(dates) if dates else np.empty(0)
    if not len(every):
        return dates
    low, span = every.min(), every.max() - every.min()
    room = max(0, last - first)
    scale = 1.0 if span <= room else room / span
    start = min(max(low, first), max(first, last - span * scale))
    return [np.floor(start + scale * (date - low)) for date in dates]
