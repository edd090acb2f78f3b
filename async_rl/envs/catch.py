"""Catch: a toy of ten rows and five columns that a small network learns in seconds, without any ROM."""

import numpy as np

from async_rl.types import EnvSpec, Outcome

ROWS, COLUMNS = 10, 5
_LIT = 255
_BOARD, _BALL, _PADDLE = (32, 34, 40), (230, 159, 0), (86, 180, 233)
"""Colours (red, green, blue) for recordings."""


class Catch:
    """A ball falls one row a step from a random column; the paddle in the bottom row has to be under it.

    The game is over when the ball reaches the bottom row, after ``ROWS - 1`` steps; that last step alone has a
    reward, +1 for a catch and -1 for a miss. Source: ``catch`` of bsuite, Osband et al. 2020, arXiv 1908.03568.

    Args:
        random: draws the column of each ball.
    """

    spec = EnvSpec(
        name="catch",
        observation_shape=(ROWS, COLUMNS, 1),
        observation_dtype="uint8",
        action_names=("LEFT", "STAY", "RIGHT"),
    )

    frames_per_second = 5.0  # so that a person can follow

    def __init__(self, random: np.random.Generator) -> None:
        self._random = random
        self._row = self._column = 0
        self._paddle = COLUMNS // 2

    def reset(self, observation: np.ndarray) -> None:
        """Drop a new ball and write the board into ``observation`` [10, 5, 1] uint8 (ball and paddle 255)."""
        self._row = 0
        self._column = int(self._random.integers(COLUMNS))
        self._paddle = COLUMNS // 2
        self._draw(observation)

    def step(self, action: int, observation: np.ndarray) -> Outcome:
        """Move the paddle (0 left, 1 stay, 2 right; walls hold it), let the ball fall, write the board."""
        self._paddle = min(max(self._paddle + action - 1, 0), COLUMNS - 1)
        self._row += 1
        self._draw(observation)
        if self._row < ROWS - 1:
            return Outcome(reward=0.0, discount=1.0, over=False)
        return Outcome(reward=1.0 if self._column == self._paddle else -1.0, discount=0.0, over=True)

    def screen_rgb(self) -> np.ndarray:
        """The board in colour, [10, 5, 3] uint8; for recordings."""
        board = np.full((ROWS, COLUMNS, 3), _BOARD, np.uint8)
        board[self._row, self._column] = _BALL
        board[ROWS - 1, self._paddle] = _PADDLE
        return board

    def _draw(self, observation: np.ndarray) -> None:
        observation.fill(0)
        observation[self._row, self._column] = _LIT
        observation[ROWS - 1, self._paddle] = _LIT
