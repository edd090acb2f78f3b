"""Where steps lie: one ring of rows for each stream, every screen stored once.

A row is an observation and, if it was not the last of its game, the step that was taken there. What was seen after a
step is the row after it, so a game of n steps takes n + 1 rows. With stacks of four screens, oldest first:

    row             0    1    2    3 |  4    5    6  ...     rows 0 to 3: a game of three steps
    screen          a    b    c    d |  p    q    r
    age in game     0    1    2    3 |  0    1    2          at most stack - 1
    observation   aaaa aaab aabc abcd|pppp pppq ppqr
    ready           x    x    x    - |  x    x    -          may be sampled: not after the last step, not the newest

Overwriting a row also takes the steps whose stacks reach back to it: up to stack - 1 rows, but none of a later game.
"""

import numpy as np

from async_rl.algorithms.segment import Segment
from async_rl.types import EnvSpec


class Rings:
    """Steps of E streams; all memory is made here, and the operating system hands it out as it is written.

    Args:
        spec: of the environment; see `EnvSpec.stack`.
        capacity: rows of all rings together, shared out evenly (the remainder is not used).
        streams: E.

    Attributes:
        ready: [rows] bool, whether the step of a row may be sampled. Rows of one stream are consecutive.

    Raises:
        ValueError: the last axis of an observation is no stack, or ``capacity`` cannot hold one step of each stream.
    """

    def __init__(self, spec: EnvSpec, capacity: int, streams: int) -> None:
        *sides, last = spec.observation_shape
        if last % spec.stack:
            raise ValueError(f"the last axis of {spec.observation_shape} must be a multiple of stack {spec.stack}.")
        self._length = capacity // streams
        if self._length <= spec.stack:
            raise ValueError(f"capacity must be at least {(spec.stack + 1) * streams} for {streams} streams.")
        rows = self._length * streams
        self.ready = np.zeros(rows, bool)
        self._channels = last // spec.stack  # of one screen
        self._back = np.arange(spec.stack)  # screens of a stack, counted from the newest
        self._screens = np.zeros((rows, *sides, self._channels), spec.observation_dtype)
        self._ages = np.zeros(rows, np.int32)
        self._actions = np.full(rows, -1)
        self._rewards = np.full(rows, np.nan, np.float32)
        self._discounts = np.full(rows, np.nan, np.float32)
        self._all = np.arange(streams)
        self._places = np.full(streams, -1)  # of the newest row within its ring
        self._over = np.ones(streams, bool)  # the newest row is the last of its game

    def append(
        self,
        observation: np.ndarray,
        action: np.ndarray,
        reward: np.ndarray,
        discount: np.ndarray,
        continues: np.ndarray,
        next_observation: np.ndarray,
    ) -> np.ndarray:
        """Store one step of each stream, [E, ...] as in `Segment`; give back the rows whose `ready` may have changed.

        ``observation`` is read only where a game starts: elsewhere it is the ``next_observation`` of the step before.
        """
        new = np.flatnonzero(self._over)
        lost = self._push(new, observation, np.zeros(len(new), np.int32))
        rows = self._rows(self._all, self._places)
        self._actions[rows] = action
        self._rewards[rows] = reward
        self._discounts[rows] = discount
        ages = np.minimum(self._ages[rows] + 1, self._back[-1])
        also_lost = self._push(self._all, next_observation, ages)
        self.ready[rows] = np.isfinite(reward)  # NaN: the environment's numbers were not
        self._over = continues == 0
        return np.concatenate((lost, also_lost, rows))

    def _push(self, streams: np.ndarray, observation: np.ndarray, ages: np.ndarray) -> np.ndarray:
        """Write the newest screens of ``observation`` [E, ...] of ``streams``; give back the rows it made unready."""
        self._places[streams] = places = (self._places[streams] + 1) % self._length
        reach = self._rows(streams[:, None], places[:, None] + self._back)
        lost = reach[self._ages[reach] >= self._back]
        self.ready[lost] = False
        self._screens[reach[:, 0]] = observation[..., -self._channels :][streams]
        self._ages[reach[:, 0]] = ages
        return lost

    def _rows(self, streams: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Row numbers of places in the rings of ``streams``; places wrap."""
        return streams * self._length + places % self._length

    def read(self, rows: np.ndarray, batch: Segment) -> None:
        """Write the steps of ready ``rows`` [B] into ``batch`` [1, B]: all that is stored of them."""
        batch.action.numpy()[0] = self._actions[rows]
        batch.reward.numpy()[0] = self._rewards[rows]
        batch.discount.numpy()[0] = self._discounts[rows]
        stream, place = np.divmod(rows, self._length)
        ages, size = self._ages[rows], self._channels
        observation, next_observation = batch.observation.numpy()[0], batch.next_observation.numpy()[0]
        # Both stacks lie in one window of stack + 1 rows: the next one drops the oldest and adds the row after.
        # One screen at a time, contiguous reads and strided writes: twice as fast as one gather and a transposition.
        for k, back in enumerate((*self._back[::-1], -1)):
            screens = self._screens[self._rows(stream, place - np.minimum(back, ages))]
            if back >= 0:
                observation[..., k * size : (k + 1) * size] = screens
            if k > 0:
                next_observation[..., (k - 1) * size : k * size] = screens
