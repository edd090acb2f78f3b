"""Convolutions by hand, and how screens come to them; see `async_rl.layers`."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from async_rl.kernels.convolving import Geometry, loops, turn_back, turn_weight
from async_rl.kernels.products import LANES, most_sums
from async_rl.layers import Affine, Kept, Layer, Parameters, Rectifier, Rows, gradient_of
from async_rl.networks import Pixels

MOST_KEPT = 1 << 21
"""Bytes of screens in float32 that are kept; see `PixelInput`."""

AT_A_TIME = 4
"""Screens that are made together where they are not kept."""


class Passing(Kept):
    """Screens in a pass that keeps nothing.

    Attributes:
        source: address of the pixels that they were made of; 0: nothing of them is left.
        is_shared: two networks have it.
    """

    source = 0
    is_shared = False


class PixelInput:
    """Screens go straight to where the next layer keeps them, in its precision and in blocks, if it wants them so.

    What the target network has been shown is what the other one acts upon next, so it is not made again: that takes 14
    microseconds of 640 for a step with 16 emulators (Xeon without AMX).

    A next layer that can do so gets bytes instead, and makes some screens at a time, as often as it needs them: where
    they are so many that they would come out of a far cache each time, and where a pass keeps nothing for anybody. A
    step takes 561 microseconds so, not 588, with 16 emulators and five steps, 549, not 570, with 40 emulators.

    Args:
        module: the layer.
        following: the next one.
    """

    def __init__(self, module: Pixels, following: Affine):
        self._module = module
        self._following = following
        self._passing = Passing()

    def share(self, other: "PixelInput") -> None:
        """From now on what passes through the one network may be kept by the other; they are of the same kind."""
        self._passing = other._passing
        self._passing.is_shared = True

    def forward(self, x: Tensor, rows: Rows | None) -> Tensor:
        """See `Layer`."""
        kept, passing = self._following.input, self._passing
        if self._leaves_them_bytes(x, rows):
            return x.permute(0, 3, 1, 2)
        if rows is None:
            passing.source = x.data_ptr()
            return self._write(x, passing, Rows(0, len(x)))
        if rows.unseen is None or (passing.source, len(passing.all)) != (x.data_ptr(), rows.total):
            return self._write(x, kept, rows)
        kept.swap(passing)
        passing.source = 0
        for row in rows.unseen:
            self._write(x[row : row + 1], kept, Rows(row, rows.total))
        return kept.all

    def _leaves_them_bytes(self, x: Tensor, rows: Rows | None) -> bool:
        if not isinstance(self._following, CompiledConvolution):
            return False
        total = len(x) if rows is None else rows.total
        return 4 * total * x[:1].numel() > MOST_KEPT or (rows is None and not self._passing.is_shared)

    def _write(self, x: Tensor, kept: Kept, rows: Rows) -> Tensor:
        """Put screens [B, height, width, channels] into ``kept`` as the next layer wants them."""
        batch, height, width, channels = x.shape
        block = self._following.block
        shape = torch.Size((batch, block * block * channels, height // block, width // block))
        place = kept.place(shape, rows, self._following.dtype, torch.channels_last)
        self._module.write(x.numpy(), _blocks(place, block))
        return place

    def backward(self, gradient: Tensor, needed: bool) -> Tensor:
        """See `Layer`."""
        return gradient


def _blocks(place: Tensor, block: int) -> np.ndarray:
    """``place`` [B, block * block * C, rows, columns] as `Pixels.write` fills it: a view.

    Instead of single pixels it is whole rows of them: they are written in less than half the time.
    """
    if place.dtype == torch.bfloat16:
        place = place.view(torch.uint16)
    batch, channels, rows, columns = place.shape
    columns, length = (1, columns * channels) if block == 1 else (columns, channels // block)
    return place.permute(0, 2, 3, 1).view(batch, rows, columns, block, length).numpy()


class Convolution(Affine):
    """A convolution without padding.

    The bias's gradient is a sum by itself: 7 microseconds with 16 screens, where the convolution that finds it, too,
    takes 47 more (the paper's first layer, Xeon without AMX).
    """

    def __init__(self, module: nn.Conv2d, rounded: Parameters):
        super().__init__(module, rounded)
        self._stride: tuple[int, ...] = module.stride

    def forward(self, x: Tensor, rows: Rows | None) -> Tensor:
        """See `Layer`."""
        return functional.conv2d(*self._start(x, rows), self._stride)

    def backward(self, gradient: Tensor, needed: bool) -> Tensor:
        """See `Layer`."""
        gradient = gradient.to(self.dtype)
        geometry = (self._stride, [0, 0], [1, 1], False, [0, 0], 1)
        of_input, of_weight, _ = torch.ops.aten.convolution_backward(
            gradient, self.input.all.to(self.dtype), self._own_weight, None, *geometry, [needed, True, False]
        )
        self._write_gradient(of_weight)
        torch.sum(gradient, dim=(0, 2, 3), dtype=torch.float32, out=gradient_of(self._bias))
        return of_input

    def _write_gradient(self, of_weight: Tensor) -> None:
        gradient_of(self._weight).copy_(of_weight)


class BlockConvolution(Convolution):
    """A convolution of screens in blocks of stride x stride pixels, each block's pixels as channels; stride 1.

    The same sums, in the same number: 84x84x4 with an 8x8 kernel and stride 4 is 21x21x64 with a 2x2 kernel. But the
    kernels of today's processors want many channels: with 16 screens in bfloat16 a forward pass takes 12.0 microseconds
    a screen instead of 14.7, the gradient 21 instead of 42; in float32 29 and 33.5 instead of 31 and 35 (Xeon with AMX,
    beside other work). For the second convolution of the paper's network bringing its input into blocks, and the
    gradient back, takes what is won.
    """

    def __init__(self, module: nn.Conv2d, rounded: Parameters):
        super().__init__(module, rounded)
        self.block = module.stride[0]
        filters, channels, size, _ = module.weight.shape
        shape = (filters, channels * self.block**2, size // self.block, size // self.block)
        self._own_weight = torch.empty(shape, dtype=self.dtype, memory_format=torch.channels_last)
        self._own_in_blocks, self._weight_in_blocks = self._as_blocks(self._own_weight), self._in_blocks(self._weight)
        self._stride = (1, 1)

    @staticmethod
    def takes(module: nn.Conv2d) -> bool:
        """Whether the kernel is square and some strides wide."""
        (height, width), (down, right) = module.kernel_size, module.stride
        return height == width and down == right > 1 and height % down == 0

    def refresh(self) -> None:
        """See `Affine`."""
        self._own_in_blocks.copy_(self._weight_in_blocks)

    def _write_gradient(self, of_weight: Tensor) -> None:
        self._in_blocks(gradient_of(self._weight)).copy_(self._as_blocks(of_weight))

    def _in_blocks(self, weight: Tensor) -> Tensor:
        """The module's weight [F, C, size, size] as [F, rows, columns, block, block, C]: a view."""
        filters, channels, size, _ = weight.shape
        count, block = size // self.block, self.block
        return weight.view(filters, channels, count, block, count, block).permute(0, 2, 4, 3, 5, 1)

    def _as_blocks(self, weight: Tensor) -> Tensor:
        """The weight that this layer computes with, [F, block * block * C, rows, columns], in this shape: a view."""
        filters, _, rows, columns = weight.shape
        return weight.permute(0, 2, 3, 1).view(filters, rows, columns, self.block, self.block, -1)


class CompiledConvolution(Affine):
    """A convolution in float32 by loops of our own, see `async_rl.kernels.convolving`.

    With one screen the paper's second convolution takes 9 microseconds instead of 47, its gradients 19 instead of 102;
    with 16, each out of far caches as in training, 12 instead of 16 and 27 instead of 44 (Xeon without AMX).

    Screens that come as bytes, see `PixelInput`, are made a few at a time: for the output, and again for the gradient.

    Args:
        module: one that it `takes`.
        before: what comes before it.
        rounded: see `Affine`; has no other parameters for the module.
        following: the next layer; a rectifier finds its work done.
    """

    def __init__(self, module: nn.Conv2d, before: nn.Module | None, rounded: Parameters, following: Layer | None):
        super().__init__(module, rounded)
        self._size, self._stride = module.kernel_size[0], module.stride[0]
        self._pixels = before if isinstance(before, Pixels) else None
        self._few = np.empty(0, np.float32)
        self._turned_weight, self._turned_gradient = np.empty((2, module.weight.numel()), np.float32)
        self._rectified = following.finds_it_done() if isinstance(following, Rectifier) else None
        self._least = np.float32(-np.inf if self._rectified is None else 0)

    @staticmethod
    def takes(module: nn.Conv2d, before: nn.Module | None, rounded: Parameters) -> bool:
        """Whether there are such loops for it here; what comes ``before`` it may be no layer that learns."""
        (height, width), (down, right) = module.kernel_size, module.stride
        in_squares = height == width and down == right and height % down == 0
        channels_fill = isinstance(before, Pixels) or module.in_channels % LANES == 0
        filters_fill = module.out_channels % LANES == 0
        return in_squares and channels_fill and filters_fill and module.weight not in rounded and most_sums() > 0

    def refresh(self) -> None:
        """See `Affine`."""
        turn_weight(self._weight.detach().numpy(), self._turned_weight)

    def forward(self, x: Tensor, rows: Rows | None) -> Tensor:
        """See `Layer`."""
        if rows is not None:
            self.input.put(x, rows)
        batch, channels, height, width = x.shape
        geometry = Geometry(height, width, channels, len(self._bias), self._size, self._stride)
        self._loops = loops(geometry)
        output = self._place(batch, *geometry.output_shape, rows)
        out, bias = _images(output), self._bias.detach().numpy()
        for some, images in self._in_float32(x):
            self._loops.forward(images, self._turned_weight, bias, self._least, out[some])
        return output

    def backward(self, gradient: Tensor, needed: bool) -> Tensor:
        """See `Layer`."""
        slope, x = _images(gradient), self.input.all
        of_weight, of_bias = self._turned_gradient, gradient_of(self._bias).numpy()
        of_weight.fill(0)
        of_bias.fill(0)
        for some, images in self._in_float32(x):
            self._loops.add_weight_gradient(images, slope[some], of_weight, of_bias)
        turn_back(of_weight, gradient_of(self._weight).numpy())
        if not needed:
            return gradient
        of_input = torch.empty_like(x, dtype=torch.float32, memory_format=torch.channels_last)
        self._loops.input_gradient(slope, self._turned_weight, _images(of_input))
        return of_input

    def _in_float32(self, x: Tensor) -> Iterator[tuple[slice, np.ndarray]]:
        """All rows of ``x``, at once or some at a time: which they are, and their images as `Loops` takes them."""
        if self._pixels is None or x.dtype != torch.uint8:
            yield slice(None), _images(x.float())
            return
        screens = x.permute(0, 2, 3, 1).numpy()
        shape = (AT_A_TIME, screens.shape[1], 1, 1, screens[0, 0].size)
        if self._few.shape != shape:
            self._few = np.empty(shape, np.float32)
        for first in range(0, len(screens), AT_A_TIME):
            some = slice(first, first + AT_A_TIME)
            whole_rows = self._few[: len(screens) - first]
            self._pixels.write(screens[some], whole_rows)
            yield some, whole_rows.reshape(len(whole_rows), -1)

    def _place(self, batch: int, down: int, across: int, filters: int, rows: Rows | None) -> Tensor:
        """Memory for the output: right where a rectifier keeps it, if one does."""
        if self._rectified is None or rows is None:
            return torch.empty(batch, down, across, filters).permute(0, 3, 1, 2)
        shape = torch.Size((batch, filters, down, across))
        return self._rectified.place(shape, rows, torch.float32, torch.channels_last)


def _images(x: Tensor) -> np.ndarray:
    """``x`` [B, channels, height, width] as [B, height * width * channels]: a view, where its channels come last."""
    return x.permute(0, 2, 3, 1).reshape(len(x), -1).numpy()
