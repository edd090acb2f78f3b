"""Convolutions by hand, and how screens come to them; see `async_rl.layers`."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from async_rl.layers import Learning, Parameters, Rows, gradient_of
from async_rl.networks import Pixels


class PixelInput:
    """Screens go straight to where the next layer keeps them, in its precision and in blocks, if it wants them so.

    Args:
        module: the layer.
        following: the next one.
    """

    def __init__(self, module: Pixels, following: Learning):
        self._module = module
        self._following = following

    def forward(self, x: Tensor, rows: Rows | None) -> Tensor:
        """See `Layer`."""
        batch, height, width, channels = x.shape
        block, dtype, order = self._following.block, self._following.dtype, torch.channels_last
        shape = torch.Size((batch, block * block * channels, height // block, width // block))
        if rows is None or batch == rows.total:
            place = torch.empty(shape, dtype=dtype, memory_format=order)
        else:
            place = self._following.input.place(shape, rows, dtype, order)
        self._module.write(x, place.permute(0, 2, 3, 1).view(batch, *shape[2:], block, block * channels))
        return place

    def backward(self, gradient: Tensor, needed: bool) -> Tensor:
        """See `Layer`."""
        return gradient


class Convolution(Learning):
    """A convolution without padding."""

    def __init__(self, module: nn.Conv2d, rounded: Parameters):
        super().__init__(module, rounded)
        self._stride: tuple[int, ...] = module.stride

    def forward(self, x: Tensor, rows: Rows | None) -> Tensor:
        """See `Layer`."""
        return functional.conv2d(*self._start(x, rows), self._stride)

    def backward(self, gradient: Tensor, needed: bool) -> Tensor:
        """See `Layer`."""
        geometry = (self._stride, [0, 0], [1, 1], False, [0, 0], 1)
        of_input, of_weight, of_bias = torch.ops.aten.convolution_backward(
            gradient.to(self.dtype),
            self.input.all.to(self.dtype),
            self._own_weight,
            [len(self._bias)],
            *geometry,
            [needed, True, True],
        )
        self._write_gradient(of_weight)
        gradient_of(self._bias).copy_(of_bias)
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
        self._stride = (1, 1)

    @staticmethod
    def takes(module: nn.Conv2d) -> bool:
        """Whether the kernel is square and some strides wide."""
        (height, width), (down, right) = module.kernel_size, module.stride
        return height == width and down == right > 1 and height % down == 0

    def refresh(self) -> None:
        """See `Learning`."""
        self._as_blocks(self._own_weight).copy_(self._in_blocks(self._weight))

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
