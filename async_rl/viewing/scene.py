"""What a person sees of an environment: its own pictures in colour where it has any, else what the network sees."""

from typing import Any

import numpy as np

from async_rl.types import Environment
from async_rl.user_code import one_line

_DEFAULT_STEPS_PER_SECOND = 15.0
_CELLS_PER_ROW = 16


class Scene:
    """Collects the pictures of one environment while it is played.

    Emulators that play several frames in a step give each of them, by their ``on_frame``; others give what there is
    when an action is chosen, and once more when a game is over.

    Args:
        environment: with ``screen_rgb()`` and ``frames_per_second`` where it can be seen in colour.
        frames: whether frames within a step are wanted.

    Attributes:
        frames_per_second: of its pictures.
        pictures_per_step: all frames that a step takes, or one.
        pictures: of the last step, each [height, width, 3] uint8, at least one.
        note: why its own pictures are not shown; empty if they are.
    """

    def __init__(self, environment: Environment, frames: bool = True) -> None:
        frames_per_step = environment.spec.frames_per_step
        self.note = ""
        self.pictures: list[np.ndarray] = []
        self._screen = getattr(environment, "screen_rgb", None)
        self._every_frame = frames and hasattr(environment, "on_frame")
        self.pictures_per_step = frames_per_step if self._every_frame else 1
        rate = float(getattr(environment, "frames_per_second", _DEFAULT_STEPS_PER_SECOND * frames_per_step))
        self.frames_per_second = rate * self.pictures_per_step / frames_per_step
        if self._every_frame:
            seen: Any = environment
            seen.on_frame = lambda: self.pictures.append(seen.screen_rgb())

    def before_step(self, observation: np.ndarray) -> None:
        """A step is about to be made from ``observation``."""
        self.pictures = [] if self._every_frame else [self._look(observation)]

    def after_step(self, observation: np.ndarray, over: bool) -> None:
        """It has been made and led to ``observation``: looked at if the game is over, or gave no picture."""
        if (over and not self._every_frame) or not self.pictures:
            self.pictures.append(self._look(observation))

    def _look(self, observation: np.ndarray) -> np.ndarray:
        picture = self._own_picture()
        return observation_picture(observation) if picture is None else picture

    def _own_picture(self) -> np.ndarray | None:
        if self._screen is None:
            return None
        try:
            picture = _in_colour(self._screen())
        except Exception as error:  # others' code, with packages that may be missing
            picture, self.note = None, f"the environment cannot draw itself ({one_line(error)})"
        if picture is None:
            self.note = self.note or "the environment does not draw itself"
            self._screen = None
        return picture


def _in_colour(drawn: Any) -> np.ndarray | None:
    """A picture [height, width, 3] uint8 out of a grey one, or one with opacity.

    Raises:
        ValueError: it is something else.
    """
    if drawn is None:
        return None
    picture = np.asarray(drawn)
    if picture.dtype != np.uint8 or not (picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] in (1, 3, 4))):
        raise ValueError(f"a picture of shape {picture.shape} and type {picture.dtype}")
    if picture.ndim == 2 or picture.shape[2] == 1:
        picture = picture.reshape(*picture.shape[:2], 1).repeat(3, axis=2)
    return np.ascontiguousarray(picture[:, :, :3])


def observation_picture(observation: np.ndarray) -> np.ndarray:
    """An observation as a picture [height, width, 3] uint8.

    Three channels are colours, of any other number the last one is shown in grey (the newest of a stack of screens);
    float32 is dark to bright from 0 to 1. A vector becomes rows of cells, from -1 to 1.
    """
    if observation.ndim == 3:
        channels = observation if observation.shape[2] == 3 else observation[:, :, -1:].repeat(3, axis=2)
        if channels.dtype != np.uint8:
            channels = (np.clip(channels, 0, 1) * 255).astype(np.uint8)
        return np.ascontiguousarray(channels)
    cells = np.zeros(-(-observation.size // _CELLS_PER_ROW) * _CELLS_PER_ROW, np.float32)
    cells[: observation.size] = np.clip(observation.ravel(), -1, 1)
    rows = cells.reshape(-1, _CELLS_PER_ROW) if observation.size > _CELLS_PER_ROW else cells[None, : observation.size]
    return ((rows + 1) * 127.5).astype(np.uint8)[:, :, None].repeat(3, axis=2)
