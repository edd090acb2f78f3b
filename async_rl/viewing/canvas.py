"""Text and simple shapes on pictures [height, width, 3] uint8, drawn in place.

Colours are those of Okabe and Ito (2008), which people with any kind of colour vision can tell apart. Text is in the
font that Pillow brings with it, whose digits have equal widths, so that numbers do not dance.
"""

import functools
from typing import Literal, NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]

BACKGROUND: Colour = (24, 26, 30)
RAISED: Colour = (38, 41, 48)
LINE: Colour = (70, 74, 84)
FAINT: Colour = (150, 154, 163)
TEXT: Colour = (236, 238, 241)
BLUE: Colour = (86, 180, 233)
ORANGE: Colour = (240, 165, 20)
PURPLE: Colour = (214, 128, 176)
GREEN: Colour = (0, 178, 130)
VERMILION: Colour = (232, 104, 24)

SMALL, NORMAL, LARGE = 13, 16, 28
"""Sizes of text in pixels."""


class Box(NamedTuple):
    """A rectangle of a picture, in pixels from its upper left corner."""

    x: int
    y: int
    width: int
    height: int

    @property
    def right(self) -> int:
        """The first column behind it."""
        return self.x + self.width

    @property
    def bottom(self) -> int:
        """The first row below it."""
        return self.y + self.height


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


@functools.lru_cache(maxsize=4096)
def _mask(string: str, size: int) -> np.ndarray:
    """Opacity of a line of text, [height, width, 1] float32; the height depends on the size alone."""
    font = _font(size)
    image = Image.new("L", (max(1, round(font.getlength(string))), round(1.3 * size)))
    ImageDraw.Draw(image).text((0, 0), string, fill=255, font=font)
    return np.asarray(image, np.float32)[:, :, None] / 255


def text_width(string: str, size: int) -> int:
    """Columns that a line of text takes."""
    return _mask(string, size).shape[1]


def shortened(string: str, size: int, width: int) -> str:
    """``string``, or as much of it as fits into ``width`` columns with two dots behind it."""
    if text_width(string, size) <= width:
        return string
    while string and text_width(string + "..", size) > width:
        string = string[:-1]
    return string + ".."


def text(
    canvas: np.ndarray,
    x: int,
    y: int,
    string: str,
    size: int = SMALL,
    colour: Colour = TEXT,
    align: Literal["left", "right", "centre"] = "left",
) -> None:
    """Write a line whose upper edge is row ``y`` and whose left edge, right edge or middle is column ``x``."""
    mask = _mask(string, size)
    left = x - {"left": 0, "right": mask.shape[1], "centre": mask.shape[1] // 2}[align]
    place = canvas[y : y + mask.shape[0], max(left, 0) : left + mask.shape[1]]
    mask = mask[: place.shape[0], : place.shape[1]]
    place[:] = (place + (np.array(colour, np.float32) - place) * mask + 0.5).astype(np.uint8)


def fill(canvas: np.ndarray, box: Box, colour: Colour) -> None:
    """Fill a rectangle; one of no width or height is not there."""
    canvas[box.y : max(box.y, box.bottom), box.x : max(box.x, box.right)] = colour


def triangle(canvas: np.ndarray, x: float, y: float, size: float, colour: Colour, up: bool) -> None:
    """A triangle around (x, y) that points up or down."""
    tip = -size if up else size
    corners = np.array([[x, y + tip], [x - size, y - tip], [x + size, y - tip]])
    cv2.fillConvexPoly(canvas, (corners * 16).round().astype(np.int32), colour, cv2.LINE_AA, shift=4)


def curve(canvas: np.ndarray, points: np.ndarray, colour: Colour) -> None:
    """A line through ``points`` [n, 2] of (x, y) in pixels and parts of them."""
    fixed = (points * 16).round().astype(np.int32)[:, None]
    cv2.polylines(canvas, [fixed], False, colour, 2, cv2.LINE_AA, shift=4)


def decimals(span: float) -> int:
    """Digits after the point that tell apart values of a range as wide as ``span``: 3 for 2, 1 for 100."""
    return int(np.clip(3 - np.floor(np.log10(max(span, 1e-9))), 0, 3))
