"""Screens of an Atari game: grey, shrunk and stacked, with as little work as the result allows."""

import functools
import threading
from collections import deque

import ale_py
import cv2
import numpy as np

from async_rl import kernels

STACK = 4
SIZE = 84

ROW_WEIGHTS = np.array([[0.4, 0.4, 0.2], [0.2, 0.4, 0.4]], np.float32)
"""Of five rows that become two, the first three and the last three: the share of each in the new row."""


@functools.cache
def column_weights(width: int) -> tuple[np.ndarray, np.ndarray]:
    """How ``width`` columns become 84, each of which covers parts of up to three.

    Returns:
        The first of them, [84] uint64, and the share of each of the three in the new one, [3, 84] float32.
    """
    scale = width / SIZE
    edges = scale * np.arange(SIZE)
    first = np.floor(edges)
    covered = [np.minimum(edges + scale, first + n + 1) - np.maximum(edges, first + n) for n in range(3)]
    return first.astype(np.uint64), (np.maximum(covered, 0) / scale).astype(np.float32)


class _Scratch(threading.local):
    """Memory for a screen that is read and used up at once: with one for each emulator none would stay in a cache."""

    def __init__(self) -> None:
        self._screens: dict[tuple[int, int], np.ndarray] = {}

    def screen(self, shape: tuple[int, int]) -> np.ndarray:
        """The same for all emulators of this thread with screens of that shape."""
        if shape not in self._screens:
            self._screens[shape] = np.zeros(shape, np.uint8)
        return self._screens[shape]


_scratch = _Scratch()


class GreyScreen:
    """A screen of the emulator in grey, brought up to date only where its colours have changed since the last time.

    The same grey levels as those of ``getScreenGrayscale``, which takes 13 microseconds for a screen; this takes 4. The
    emulator does not give its palette away, so the level of a colour is taken from it when that is first seen.

    Args:
        ale: the emulator.
        palette: [256] int16, the grey level of each colour, -1 where it is not known; shared by screens of a game.

    Attributes:
        grey: [height, width] uint8.
    """

    def __init__(self, ale: ale_py.ALEInterface, palette: np.ndarray) -> None:
        self._ale = ale
        self._palette = palette
        self._shape = ale.getScreenDims()  # the height differs between games
        self._last, self.grey = np.zeros((2, *self._shape), np.uint8)
        ale.getScreen(self._last)
        self._learn(self._last)

    def read(self, changed: np.ndarray) -> None:
        """Take the screen as it is now, and mark in ``changed`` [height] bool the rows that are not as before."""
        colours = _scratch.screen(self._shape)
        self._ale.getScreen(colours)
        if not kernels.update_grey(colours, self._last, self.grey, self._palette, changed):
            self._learn(colours)

    def _learn(self, colours: np.ndarray) -> None:
        self._ale.getScreenGrayscale(self.grey)
        self._palette[colours] = self.grey


class ScreenStack:
    """The last four grey screens, each shrunk to 84x84 by area, as Mnih et al. 2015 feed them to the network.

    From one step to the next most rows of a screen stay as they are, so only rows that changed are shrunk anew. That
    needs rows that map onto whole rows: of a screen of 210 rows (most games) each band of 5 becomes a band of 2;
    screens of another height are shrunk whole, by OpenCV, if they changed at all. The compiled loop for the others
    gives the same bits (on x86; elsewhere OpenCV may round a mean halfway between two levels otherwise), and takes 17
    microseconds for a whole screen where OpenCV takes 46.

    Args:
        height: rows of a screen.
    """

    def __init__(self, height: int) -> None:
        self._in_bands = 2 * height == 5 * SIZE
        self._screens = deque(np.zeros((STACK, SIZE, SIZE), np.uint8))  # oldest first

    def restart(self, screen: np.ndarray) -> None:
        """Fill the whole stack with ``screen`` [height, width] uint8."""
        everywhere = np.ones(len(screen), np.bool_)
        for shrunk in self._screens:
            self._shrink(screen, screen, everywhere, shrunk)

    def push(self, screen: np.ndarray, other: np.ndarray, changed: np.ndarray) -> None:
        """Put the maximum of two screens [height, width] uint8 at the end and drop the oldest.

        ``changed`` [height] bool marks the rows in which it may differ from the maximum before.
        """
        newest = self._screens[-1]
        self._screens.rotate(-1)
        np.copyto(self._screens[-1], newest)
        self._shrink(screen, other, changed, self._screens[-1])

    def _shrink(self, screen: np.ndarray, other: np.ndarray, changed: np.ndarray, out: np.ndarray) -> None:
        if self._in_bands:
            kernels.shrink(screen, other, changed, out, *column_weights(screen.shape[1]), ROW_WEIGHTS)
        elif changed.any():
            cv2.resize(np.maximum(screen, other), (SIZE, SIZE), dst=out, interpolation=cv2.INTER_AREA)

    def write(self, observation: np.ndarray) -> None:
        """Write the stack into ``observation`` [84, 84, 4] uint8, contiguous: the oldest screen is [:, :, 0]."""
        cv2.merge(tuple(self._screens), dst=observation)
