"""Layers forward and backward by hand; what their gradients need is kept in memory that is made once.

Most call the kernels that torch's own autograd calls, and agree with it to the last bits. Single rows, linear layers
and most convolutions in float32, and the gradients of all convolutions' biases do not, and agree but for the order of
sums.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from async_rl import kernels
from async_rl.networks import FlattenPixels

Parameters = Mapping[Tensor, Tensor]
"""Stand-ins of parameters, of the same shapes."""

MOST_ROWS_IN_FLOAT32 = 64
"""Of the gradient of a linear layer's weight; see `FullyConnected`."""

FEWEST_ROWS_TRANSPOSED = 8
FEWEST_WEIGHTS_TRANSPOSED = 1 << 16
"""Of a linear layer's input and of its weight, in float32; see `FullyConnected`."""


class Rows(NamedTuple):
    """Which rows of the batch that is learnt from a pass makes: those from ``first`` on, of ``total``.

    Attributes:
        unseen: rows of the observations that have changed in memory since a pass that kept nothing; None: all may have.
    """

    first: int
    total: int
    unseen: Sequence[int] | None = None


class Kept:
    """What a layer has to remember of all rows of a batch, in memory that is made once."""

    def __init__(self) -> None:
        self.all = torch.empty(0)
        self._memory = torch.empty(0)

    def put(self, rows: Tensor, where: Rows) -> None:
        """Remember some rows; all of them at once are not even copied."""
        if len(rows) == where.total:
            self.all = rows
            return
        place = self.place(rows.shape, where, rows.dtype, order_of(rows))
        if place.data_ptr() != rows.data_ptr():
            place.copy_(rows)

    def place(
        self, shape: torch.Size, where: Rows, dtype: torch.dtype, order: torch.memory_format = torch.contiguous_format
    ) -> Tensor:
        """Memory for some rows of ``shape``, to be filled."""
        whole = (where.total, *shape[1:])
        if self._memory.shape != whole or self._memory.dtype != dtype:
            self._memory = torch.empty(whole, dtype=dtype, memory_format=order)
        self.all = self._memory
        return self._memory[where.first : where.first + shape[0]]

    def swap(self, other: "Kept") -> None:
        """Take what the other remembers, with its memory, for one's own."""
        self.all, other.all = other.all, self.all
        self._memory, other._memory = other._memory, self._memory


class Layer(Protocol):
    """One layer by hand."""

    def forward(self, x: Tensor, rows: Rows | None) -> Tensor:
        """Output for ``x``; what `backward` needs is kept, if ``rows`` says where it belongs."""

    def backward(self, gradient: Tensor, needed: bool) -> Tensor:
        """Write the gradients of the layer's parameters; return that of its input, where it is ``needed``."""


class Input:
    """A layer before all that learn: nothing is ever asked for its gradient.

    Args:
        module: the layer.
    """

    def __init__(self, module: nn.Module):
        self._module = module

    def forward(self, x: Tensor, rows: Rows | None) -> Tensor:
        """See `Layer`."""
        return self._module(x)

    def backward(self, gradient: Tensor, needed: bool) -> Tensor:
        """See `Layer`."""
        return gradient


class Flattening:
    """All axes but the first become one."""

    def __init__(self, module: nn.Module):
        self._module = module
        self._shape = torch.Size()

    def forward(self, x: Tensor, rows: Rows | None) -> Tensor:
        """See `Layer`."""
        self._shape = x.shape[1:]
        return self._module(x)

    def backward(self, gradient: Tensor, needed: bool) -> Tensor:
        """See `Layer`."""
        if isinstance(self._module, FlattenPixels):
            channels, height, width = self._shape
            return gradient.reshape(-1, height, width, channels).permute(0, 3, 1, 2)
        return gradient.reshape(-1, *self._shape)


class Rectifier:
    """ReLU, in place where it may.

    Memory of its own would come out of a far cache: 6 of 640 microseconds a step (Xeon without AMX). Where the rows
    of a batch come in turn, the output goes straight to where the next layer keeps its input, if that is affine.

    Args:
        before: the layer whose output it takes.
        following: the next layer.
    """

    def __init__(self, before: nn.Module | None, following: "Layer | None"):
        self._in_place = isinstance(before, nn.Conv2d | nn.Linear | nn.LayerNorm)
        self._is_last = following is None
        self._is_done = False
        self._output = following.input if isinstance(following, Affine) else Kept()

    def finds_it_done(self) -> Kept:
        """From now on the layer before rectifies; returns where it may put what is to be kept of its output."""
        self._is_done = True
        return self._output

    def forward(self, x: Tensor, rows: Rows | None) -> Tensor:
        """See `Layer`."""
        if not self._is_done:
            if rows is not None and len(x) < rows.total:
                return torch.clamp_min(x, 0, out=self._output.place(x.shape, rows, x.dtype, order_of(x)))
            x = torch.relu_(x) if self._in_place else torch.relu(x)
        if rows is not None:
            self._output.put(x, rows)
        return x

    def backward(self, gradient: Tensor, needed: bool) -> Tensor:
        """See `Layer`."""
        output = self._output.all
        gradient = gradient.to(output.dtype)
        own = torch.empty_like(gradient) if self._is_last else gradient
        return torch.ops.aten.threshold_backward.grad_input(gradient, output, 0, grad_input=own)


class Affine:
    """What convolutions and linear layers share.

    Args:
        module: the layer.
        rounded: its parameters as the layer is to compute with them; those that are missing are taken as they are.
            Gradients are float32 in any case.
    """

    block = 1
    """Pixels of each side of the blocks that screens come in, each block with its pixels as channels."""

    def __init__(self, module: nn.Conv2d | nn.Linear, rounded: Parameters):
        assert module.bias is not None
        self._weight, self._bias = module.weight, module.bias
        self._own_weight = rounded.get(module.weight, module.weight)
        self._own_bias = rounded.get(module.bias, module.bias)
        self.input, self.dtype = Kept(), self._own_weight.dtype

    def refresh(self) -> None:
        """Take the parameters as they are now, where the layer works on a copy."""

    def _start(self, x: Tensor, rows: Rows | None) -> tuple[Tensor, Tensor, Tensor]:
        """Input, weight and bias in the layer's precision."""
        if rows is not None:
            self.input.put(x, rows)
        return x.to(self.dtype), self._own_weight, self._own_bias


class FullyConnected(Affine):
    """A linear layer.

    The gradient of its weight is float32, so with few rows it is multiplied out in float32: no slower than the product
    in bfloat16, and nothing has to be widened afterwards. The paper's hidden layer takes 168 microseconds so instead of
    388 with 8 rows, 215 instead of 480 with 16, 425 instead of 555 with 40, but 1,487 instead of 707 with 160 (Xeon
    with AMX, beside other work).

    A single row goes through a compiled loop in bfloat16, which takes 32 microseconds instead of torch's 79; in
    training a step of one emulator takes 80 less (with two rows the loop takes 66, torch 80).

    In float32 the product is made the other way round, weight times transposed input: the same layer takes 209
    microseconds instead of 338 with 16 rows, 210 instead of 293 with 8, 450 instead of 555 with 40, but no less with 5
    and more with 2 (Xeon without AMX, the weight out of a far cache); nor does a last layer with its few outputs.
    """

    def __init__(self, module: nn.Linear, rounded: Parameters):
        super().__init__(module, rounded)
        self._cast_gradient = torch.empty_like(self._own_weight) if self.dtype != torch.float32 else None
        self._transposes = self.dtype == torch.float32 and module.weight.numel() >= FEWEST_WEIGHTS_TRANSPOSED

    def forward(self, x: Tensor, rows: Rows | None) -> Tensor:
        """See `Layer`."""
        x, weight, bias = self._start(x, rows)
        if self._transposes and x.dim() == 2 and len(x) >= FEWEST_ROWS_TRANSPOSED:
            return torch.addmm(bias[:, None], weight, x.t()).t().contiguous()
        if x.shape[:-1] != (1,) or self.dtype == torch.float32:
            return functional.linear(x, weight, bias)
        output = x.new_empty(1, len(bias))
        x_bits, weight_bits, bias_bits, output_bits = (_bits(each) for each in (x, weight, bias, output))
        kernels.fully_connected(x_bits[0], weight_bits, bias_bits, output_bits[0])
        return output

    def backward(self, gradient: Tensor, needed: bool) -> Tensor:
        """See `Layer`."""
        gradient = gradient.to(self.dtype)
        flat, kept = gradient.flatten(0, -2), self.input.all.flatten(0, -2)
        if self._cast_gradient is None or len(flat) <= MOST_ROWS_IN_FLOAT32:
            torch.mm(flat.t().float(), kept.float(), out=gradient_of(self._weight))
        else:
            gradient_of(self._weight).copy_(torch.mm(flat.t(), kept.to(self.dtype), out=self._cast_gradient))
        torch.sum(flat, dim=0, dtype=torch.float32, out=gradient_of(self._bias))
        return gradient @ self._own_weight if needed else gradient


def _bits(x: Tensor) -> np.ndarray:
    """Those of a bfloat16 tensor, contiguous: a view."""
    return x.detach().contiguous().view(torch.uint16).numpy()


def gradient_of(parameter: Tensor) -> Tensor:
    """Where the gradient of ``parameter`` is to be written."""
    assert parameter.grad is not None, "bind_gradients comes first"
    return parameter.grad


def order_of(x: Tensor) -> torch.memory_format:
    """Whether channels come last in memory."""
    last = x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format
