"""From counts in the shared table to the rates and means of a report."""

import math
import time

import numpy as np

from async_rl.build import final_epsilons
from async_rl.config import Config
from async_rl.reporting import EpisodeStatistics, Report
from async_rl.schedules import epsilons, learning_rate
from async_rl.shared import SharedTable
from async_rl.stopwatch import PHASES


class Clock:
    """Wall-clock seconds of training, over all sessions of a run."""

    def __init__(self, seconds_before: float):
        self._start = time.monotonic() - seconds_before

    def seconds(self) -> float:
        """Seconds until now."""
        return time.monotonic() - self._start


class Meter:
    """Measures over the interval since it was last read."""

    def __init__(self, config: Config, table: SharedTable, clock: Clock, frames_per_step: int):
        self._config = config
        self._table = table
        self._clock = clock
        self._frames_per_step = frames_per_step
        self._final_epsilons = np.concatenate([final_epsilons(config, index) for index in range(config.workers)])
        self._last = self._counts()

    @property
    def read_at(self) -> int:
        """T at the last report."""
        return int(self._last[1])

    def read(self, statistics: EpisodeStatistics, workers_alive: int, workers_restarted: int) -> Report:
        """A report on the interval since the last call, or since the meter was made."""
        counts, last = self._counts(), self._last
        self._last = counts
        (seconds, steps, updates, td_loss, value, gradient_norm), rest = (counts - last)[:6], (counts - last)[6:]
        phases, (exchanges, sent, exchanging, staleness) = rest[: len(PHASES)], rest[len(PHASES) :]
        islands = int((self._table["exchange"][:, 0] > 0).sum())
        explore = epsilons(self._config, self._final_epsilons, int(counts[1]))
        speed = _ratio(steps, seconds)
        return Report(
            total_steps=int(counts[1]),
            total_frames=int(counts[1]) * self._frames_per_step,
            seconds=float(counts[0]),
            steps_per_second=speed,
            frames_per_second=speed * self._frames_per_step,
            games=statistics.games,
            mean_score=statistics.mean_score,
            best_score=statistics.best_score,
            mean_length_steps=statistics.mean_length_steps,
            td_loss=_ratio(td_loss, updates),
            q_value=_ratio(value, updates),
            gradient_norm=_ratio(gradient_norm, updates),
            lr=learning_rate(self._config, int(counts[1])),
            epsilon_min=float(explore.min()),
            epsilon_max=float(explore.max()),
            updates=int(counts[2]),
            target_refreshes=int(self._table["target_refreshes"][0]),
            workers_alive=workers_alive,
            workers_restarted=workers_restarted,
            dropped_gradients=int(self._table["dropped"].sum()),
            steps_goal=self._config.steps,
            games_averaged=statistics.games_averaged,
            exchange_bytes_per_step=_ratio(sent, steps) if exchanges else math.nan,
            exchange_seconds=_ratio(exchanging, exchanges),
            exchange_share=_ratio(exchanging, seconds * islands) if exchanges else math.nan,
            staleness_steps=_ratio(staleness, exchanges),
            phases={phase: 1e6 * took / steps for phase, took in zip(PHASES, phases, strict=True)} if steps else {},
        )

    def _counts(self) -> np.ndarray:
        """Seconds, steps, updates, the columns of `SUMS`, `PHASES` and `EXCHANGE`, over all workers."""
        counted = [self._table[name].sum(axis=0) for name in ("steps", "updates", "sums", "phases", "exchange")]
        return np.hstack([self._clock.seconds(), *counted])


def _ratio(numerator: float, denominator: float) -> float:
    return float(numerator / denominator) if denominator > 0 else math.nan
