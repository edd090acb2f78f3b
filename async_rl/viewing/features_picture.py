"""Filters as one picture: a cell for each, with its weights, what excites it most and that projected back to pixels."""

from dataclasses import dataclass

import cv2
import numpy as np

from async_rl.types import EnvSpec
from async_rl.viewing import canvas as draw
from async_rl.viewing.canvas import Box
from async_rl.viewing.features import EXAMPLES, Filter

PAPER: draw.Colour = (250, 250, 248)
INK: draw.Colour = (30, 32, 36)
PALE: draw.Colour = (110, 114, 122)
_EDGE: draw.Colour = (214, 216, 220)
_BETWEEN: draw.Colour = (140, 144, 152)
_LOW, _HIGH = np.array((33, 102, 172), np.float32), np.array((200, 80, 10), np.float32)
"""Colours of negative and positive numbers; 0 is white."""

_COLUMNS, _MARGIN, _GAP, _TEXT = 8, 36, 26, 16
_TILE = 40
"""About so many pixels for one example, which is enlarged by a whole number."""
_SIDE = 3
_KERNELS_PER_ROW = 16
_UNIT_PIXELS = 120
_WIDEST = 1800


def signed(values: np.ndarray, largest: float) -> np.ndarray:
    """Numbers [height, width] as colours [height, width, 3] uint8: blue below 0, white at 0, orange above."""
    part = np.clip(values / (largest or 1.0), -1, 1)[:, :, None].astype(np.float32)
    colour = np.where(part < 0, _LOW, _HIGH)
    return (255 + (colour - 255) * np.abs(part)).astype(np.uint8)


def grey(values: np.ndarray) -> np.ndarray:
    """Numbers from 0 to 1 [height, width] as grey [height, width, 3] uint8; what is not there (NaN) as paper."""
    shown = (np.nan_to_num(values) * 255).astype(np.uint8)[:, :, None].repeat(3, axis=2)
    shown[np.isnan(values)] = PAPER
    return shown


def enlarged(picture: np.ndarray, factor: int) -> np.ndarray:
    """Each pixel becomes a square of ``factor`` x ``factor``."""
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def mosaic(tiles: list[np.ndarray], columns: int, gap: int, between: draw.Colour = PAPER) -> np.ndarray:
    """Tiles of one size [height, width, 3] in rows of so many columns, with gaps of one colour."""
    height, width = tiles[0].shape[:2]
    rows = -(-len(tiles) // columns)
    columns = min(columns, len(tiles))
    out = np.empty((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), np.uint8)
    out[:] = between
    for number, tile in enumerate(tiles):
        y, x = number // columns * (height + gap), number % columns * (width + gap)
        out[y : y + height, x : x + width] = tile
    return out


@dataclass(frozen=True)
class Sheet:
    """A part of the picture: a heading of one or two lines, and cells that all have the same size."""

    heading: str
    explanation: str
    cells: list[np.ndarray]


def filter_cell(shown: Filter, field: tuple[int, int], stack: int) -> np.ndarray:
    """One filter: its number and screen, its kernels, the patches (left) and their projections (right)."""
    factor = max(1, round(_TILE / max(field)))
    tile = (field[0] * factor, field[1] * factor)
    side = (_SIDE * (tile[0] + 2) - 2, _SIDE * (tile[1] + 2) - 2)
    width = 2 * side[1] + 12
    kernels = _kernels(shown.weights, width)
    top = _TEXT + 8 + kernels.shape[0] + 8
    cell = np.empty((top + side[0], width, 3), np.uint8)
    cell[:] = PAPER
    draw.text(cell, 0, 0, f"{shown.number}", _TEXT, INK)
    draw.text(cell, width, 0, _screen(shown, stack), draw.SMALL, PALE, "right")
    cell[_TEXT + 8 : _TEXT + 8 + kernels.shape[0], : kernels.shape[1]] = kernels
    largest = float(np.abs(shown.projections).max()) if len(shown.states) else 0.0
    for left, pictures in (
        (0, [grey(patch) for patch in shown.patches]),
        (side[1] + 12, [signed(projection, largest) for projection in shown.projections]),
    ):
        blank = np.full((*field, 3), 238, np.uint8)
        tiles = [*pictures, *[blank] * (EXAMPLES - len(pictures))]
        block = mosaic([enlarged(picture, factor) for picture in tiles], _SIDE, 2, _BETWEEN)
        cell[top:, left : left + side[1]] = block
    return cell


def _screen(shown: Filter, stack: int) -> str:
    if not len(shown.states):
        return "silent"
    before = stack - 1 - shown.channel
    return (
        ""
        if stack == 1
        else f"{before} steps before"
        if before > 1
        else ("1 step before" if before else "newest screen")
    )


def _kernels(weights: np.ndarray, width: int) -> np.ndarray:
    """The kernels of a filter, one for each input channel, as wide as the cell at most."""
    columns = min(len(weights), _KERNELS_PER_ROW)
    factor = max(1, min((width - (columns - 1) * 2) // (columns * weights.shape[2]), 4))
    largest = float(np.abs(weights).max())
    tiles = [_framed(enlarged(signed(kernel, largest), factor)) for kernel in weights]
    return mosaic(tiles, columns, 2)


def _framed(tile: np.ndarray) -> np.ndarray:
    """The tile with a thin line around it, which white at its edge would hide."""
    cv2.rectangle(tile, (0, 0), (tile.shape[1] - 1, tile.shape[0] - 1), _EDGE, 1)
    return tile


def _columns(width: int) -> int:
    """Cells of so many pixels that stand beside each other: 8, or up to 16 that are narrow."""
    return int(np.clip(_WIDEST // (width + _GAP), _COLUMNS, 2 * _COLUMNS))


def compose(title: str, subtitle: str, sheets: list[Sheet]) -> np.ndarray:
    """The whole picture [height, width, 3] uint8: all sheets one below the other."""
    blocks = [mosaic(sheet.cells, _columns(sheet.cells[0].shape[1]), _GAP) for sheet in sheets]
    words = [(title, 30), (subtitle, _TEXT), *((line, 20) for s in sheets for line in (s.heading, s.explanation))]
    width = 2 * _MARGIN + max(*(block.shape[1] for block in blocks), *(draw.text_width(*pair) for pair in words))
    heights = [76 + block.shape[0] + 40 for block in blocks]
    out = np.empty((100 + sum(heights), width, 3), np.uint8)
    out[:] = PAPER
    draw.text(out, _MARGIN, 24, title, 30, INK)
    draw.text(out, _MARGIN, 64, subtitle, _TEXT, PALE)
    y = 100
    for sheet, block, height in zip(sheets, blocks, heights, strict=True):
        draw.fill(out, Box(_MARGIN, y, width - 2 * _MARGIN, 1), _EDGE)
        draw.text(out, _MARGIN, y + 14, sheet.heading, 20, INK)
        draw.text(out, _MARGIN, y + 42, sheet.explanation, _TEXT, PALE)
        out[y + 76 : y + 76 + block.shape[0], _MARGIN : _MARGIN + block.shape[1]] = block
        y += height
    return out


def units_sheet(weights: np.ndarray, spec: EnvSpec) -> Sheet:
    """The first layer of a network without convolutions: each unit's weights over the observation, largest first.

    Args:
        weights: [units, inputs], in the order of the observation.
        spec: of the environment; of a vector the weights are a row of cells.
    """
    shape = spec.observation_shape
    order = np.argsort(-np.linalg.norm(weights, axis=1), kind="stable")
    largest = float(np.abs(weights).max())
    cells = []
    for number in order:
        images = weights[number].reshape(shape if len(shape) == 3 else (1, -1, 1))
        tiles = [signed(images[:, :, channel], largest) for channel in range(images.shape[2])]
        factor = max(1, _UNIT_PIXELS // max(tiles[0].shape[:2]))
        block = mosaic([_framed(enlarged(tile, factor)) for tile in tiles], len(tiles), 2)
        cell = np.empty((block.shape[0] + _TEXT + 8, max(block.shape[1], 2 * _TEXT), 3), np.uint8)
        cell[:] = PAPER
        draw.text(cell, 0, 0, str(number), _TEXT, INK)
        cell[_TEXT + 8 :, : block.shape[1]] = block
        cells.append(cell)
    return Sheet(
        f"first layer: {len(weights)} units",
        "Each unit's weights over what the network sees (orange: positive, blue: negative), the strongest unit first.",
        cells,
    )
