"""Convolutions of images whose channels come last, forward and backward.

In memory the window of an output is ``size`` runs of ``size * channels`` numbers, one in each row of the image, and
that of the output beside it begins ``stride * channels`` numbers later. So the windows of a row of outputs are the rows
of a matrix as it lies there, of which nothing has to be brought anywhere else to be multiplied with the weights::

    image     . . [0 1 2 3 4 5 6 7]. . . . . .        output x += run 0 of window x times rows 0 to 7 of the weights
              . . [8 9 ...        ]. . . . . .                 += run 1 of window x times rows 8 to 15
                        [window x + 1     ]                      ...

The gradient of the weights is made of such products, too, and so is that of the input; all of them spend their time in
`async_rl.kernels.products`. oneDNN's loops are as fast as these, but what leads to them takes 60 to 90 microseconds a
call where it has to come out of a far cache, as it has in training.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from async_rl.kernels.compiling import exactly_compiled
from async_rl.kernels.products import LANES, add_products


class Geometry(NamedTuple):
    """A convolution without padding, by square kernels: images [height, width, channels] to [rows, columns, filters].

    There are a multiple of `LANES` filters. For the input's gradient there is one of channels, too, and the size of the
    kernels is a multiple of their stride.
    """

    height: int
    width: int
    channels: int
    filters: int
    size: int
    stride: int

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """[rows, columns, filters]."""
        rows, columns = ((size - self.size) // self.stride + 1 for size in (self.height, self.width))
        return rows, columns, self.filters


class Loops(NamedTuple):
    """Compiled loops for one geometry, on contiguous float32 arrays.

    Images, and what is made of them, are [B, numbers of one]; weights, and their gradient, are as `turn_weight` makes
    them.
    """

    forward: Callable[..., None]
    """``(x, weight, bias, least, out)``: ``out`` is written; what would be less than ``least`` is that."""

    add_weight_gradient: Callable[..., None]
    """``(x, gradient, of_weight, of_bias)``: the last two are added to, of the ``gradient`` of the output."""

    input_gradient: Callable[..., None]
    """``(gradient, weight, of_x)``: the last one is written."""


@functools.cache
def loops(geometry: Geometry) -> Loops:
    """The loops for ``geometry``; each is compiled at its first call."""
    return Loops(_forward(geometry), _add_weight_gradient(geometry), _input_gradient(geometry))


def compile_loops(geometry: Geometry) -> None:
    """Compile now what would be compiled at the first call; by convolving no image at all."""
    height, width, channels, filters, size, _ = geometry
    forward, add_weight_gradient, input_gradient = loops(geometry)
    x = np.empty((0, height * width * channels), np.float32)
    gradient = np.empty((0, math.prod(geometry.output_shape)), np.float32)
    weight, bias = np.empty((filters, channels, size, size), np.float32), np.empty(filters, np.float32)
    turned = np.empty(weight.size, np.float32)
    turn_weight(weight, turned)
    forward(x, turned, bias, np.float32(0), gradient)
    add_weight_gradient(x, gradient, turned, bias)
    turn_back(turned, weight)
    if channels % LANES == 0:
        input_gradient(gradient, turned, x)


@exactly_compiled
def turn_weight(weight: np.ndarray, turned: np.ndarray) -> None:
    """Write ``weight`` [filters, channels, size, size] into ``turned`` as [size, size, channels, filters], flat."""
    filters, channels, height, width = weight.shape
    for first in range(0, filters, LANES):  # so many rows of memory a near cache holds
        for c in range(channels):
            for y in range(height):
                for x in range(width):
                    start = ((y * width + x) * channels + c) * filters
                    for f in range(first, first + LANES):
                        turned[start + f] = weight[f, c, y, x]


@exactly_compiled
def turn_back(turned: np.ndarray, weight: np.ndarray) -> None:
    """What `turn_weight` does, backward: ``weight`` is written."""
    filters, channels, height, width = weight.shape
    for first in range(0, filters, LANES):
        for c in range(channels):
            for y in range(height):
                for x in range(width):
                    start = ((y * width + x) * channels + c) * filters
                    for f in range(first, first + LANES):
                        weight[f, c, y, x] = turned[start + f]


def _forward(geometry: Geometry) -> Callable[..., None]:
    _, width, channels, filters, size, stride = geometry
    rows, columns, _ = geometry.output_shape
    right, line, out_line, runs = stride * channels, width * channels, columns * filters, (size, size * channels)

    def forward(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, least: np.float32, out: np.ndarray) -> None:
        """See `Loops`."""
        for b in range(x.shape[0]):
            image, made = x[b], out[b]
            for place in range(rows * columns):
                for f in range(filters):
                    made[place * filters + f] = bias[f]
            for y in range(rows):
                windows = y * stride * line
                add_products(
                    columns, right, filters, image, windows, runs, (line, 1), weight, 0, made, y * out_line, filters
                )
            for i in range(made.size):
                made[i] = least if made[i] < least else made[i]  # NaN stays what it is

    return exactly_compiled(forward)


def _add_weight_gradient(geometry: Geometry) -> Callable[..., None]:
    """Each row of kernels: its element of all windows is a row of a matrix, times the output's gradient."""
    _, width, channels, filters, size, stride = geometry
    rows, columns, _ = geometry.output_shape
    line, run = width * channels, size * channels
    places, steps, count = (rows, columns), (stride * line, stride * channels), rows * columns

    def add_weight_gradient(x: np.ndarray, gradient: np.ndarray, of_weight: np.ndarray, of_bias: np.ndarray) -> None:
        """See `Loops`."""
        one = np.ones(1, np.float32)
        for b in range(x.shape[0]):
            image, slope = x[b], gradient[b]
            add_products(1, 0, filters, one, 0, (1, count), (0, 0), slope, 0, of_bias, 0, 0)
            for y in range(size):
                row = y * run * filters
                add_products(run, 1, filters, image, y * line, places, steps, slope, 0, of_weight, row, filters)

    return exactly_compiled(add_weight_gradient)


def _input_gradient(geometry: Geometry) -> Callable[..., None]:
    """For pixels ``stride`` apart it is a convolution of the output's gradient, with stride 1.

    Windows meet each pixel ``taps`` x ``taps`` times. Which weights they meet it with depends on where it is in its
    block of ``stride`` x ``stride`` pixels: so pixels of the same place in their blocks share theirs, and the window
    that comes last meets them with the first. Beyond the edges, where there are no windows, the gradient is zero.
    """
    _, width, channels, filters, size, stride = geometry
    rows, columns, _ = geometry.output_shape
    taps, line, right = size // stride, columns * filters, stride * channels
    edge = taps - 1
    wide_line, of_place = line + 2 * edge * filters, taps * taps * filters * channels
    runs, steps = (taps, taps * filters), (wide_line, 1)
    down, across = rows + edge, columns + edge  # pixels of each place

    def input_gradient(gradient: np.ndarray, weight: np.ndarray, of_x: np.ndarray) -> None:
        """See `Loops`."""
        by_place = np.empty(weight.size, np.float32)
        _order_by_place(weight, taps, stride, channels, filters, by_place)
        wide = np.zeros((rows + 2 * edge) * wide_line, np.float32)
        for b in range(gradient.shape[0]):
            of_image = of_x[b]
            of_image[:] = 0
            _surround(gradient[b], rows, line, edge, edge * filters, wide)
            for place in range(stride * stride):
                theirs = place * of_place
                for y in range(down):
                    top, first = y * wide_line, ((stride * y + place // stride) * width + place % stride) * channels
                    add_products(
                        across, filters, channels, wide, top, runs, steps, by_place, theirs, of_image, first, right
                    )

    return exactly_compiled(input_gradient)


@exactly_compiled
def _surround(inner: np.ndarray, rows: int, line: int, above: int, left: int, wide: np.ndarray) -> None:
    """Write ``inner``, [rows, line] if it were not flat, into the middle of ``wide``; all else is left as it is."""
    for y in range(rows):
        for i in range(line):
            wide[(y + above) * (line + 2 * left) + left + i] = inner[y * line + i]


@exactly_compiled
def _order_by_place(
    weight: np.ndarray, taps: int, stride: int, channels: int, filters: int, by_place: np.ndarray
) -> None:
    """Write turned weights into ``by_place`` as [stride, stride, taps, taps, filters, channels], last taps first."""
    size, window = taps * stride, channels * filters
    for place in range(stride * stride):
        for tap in range(taps * taps):
            y, x = taps - 1 - tap // taps, taps - 1 - tap % taps
            theirs = ((y * stride + place // stride) * size + x * stride + place % stride) * window
            own = (place * taps * taps + tap) * window
            for f in range(filters):
                for c in range(channels):
                    by_place[own + f * channels + c] = weight[theirs + c * filters + f]
