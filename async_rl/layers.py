"""Layers forward and backward by hand; what their gradients need is kept in memory that is made once.

They call the kernels that torch's own autograd calls, so the two agree to the last bits.
"""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from async_rl.networks import Dueling, FlattenPixels, Pixels, Scale


class Rows(NamedTuple):
    """Which rows of the batch that is learnt from a pass makes: those from ``first`` on, of ``total``."""

    first: int
    total: int


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
        place = self.place(rows.shape, where, rows.dtype, _order(rows))
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
        dtype: of its output.
    """

    def __init__(self, module: nn.Module, dtype: torch.dtype):
        self._module = module
        self._dtype = dtype

    def forward(self, x: Tensor, rows: Rows | None) -> Tensor:
        """See `Layer`."""
        return self._module(x).to(self._dtype)

    def backward(self, gradient: Tensor, needed: bool) -> Tensor:
        """See `Layer`."""
        return gradient


class PixelInput(Input):
    """Screens of some steps go straight to where the next layer keeps those of all steps: they are its largest input.

    Args:
        module: the layer.
        dtype: of its output.
        next_input: what the next layer keeps.
    """

    def __init__(self, module: Pixels, dtype: torch.dtype, next_input: "Kept"):
        super().__init__(module, dtype)
        self._next_input = next_input

    def forward(self, x: Tensor, rows: Rows | None) -> Tensor:
        """See `Layer`."""
        if rows is None or len(x) == rows.total or self._dtype != torch.float32:
            return super().forward(x, rows)
        batch, height, width, channels = x.shape
        shape = torch.Size((batch, channels, height, width))
        place = self._next_input.place(shape, rows, self._dtype, torch.channels_last)
        return self._module(x, out=place.permute(0, 2, 3, 1))


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
            return gradient.unflatten(1, (height, width, channels)).permute(0, 3, 1, 2)
        return gradient.unflatten(1, self._shape)


class Rectifier:
    """ReLU."""

    def __init__(self) -> None:
        self._output = Kept()

    def forward(self, x: Tensor, rows: Rows | None) -> Tensor:
        """See `Layer`."""
        output = torch.relu(x)
        if rows is not None:
            self._output.put(output, rows)
        return output

    def backward(self, gradient: Tensor, needed: bool) -> Tensor:
        """See `Layer`."""
        return torch.ops.aten.threshold_backward(gradient, self._output.all, 0)


class Learning:
    """What layers with a weight and a bias share.

    Args:
        module: the layer.
        dtype: in which they compute; parameters and gradients are float32 all the same.
    """

    def __init__(self, module: nn.Conv2d | nn.Linear, dtype: torch.dtype):
        assert module.bias is not None
        self.input = Kept()
        self._weight, self._bias = module.weight, module.bias
        self._dtype = dtype
        self._cast_weight = module.weight if dtype == torch.float32 else torch.empty_like(module.weight, dtype=dtype)

    def _start(self, x: Tensor, rows: Rows | None) -> tuple[Tensor, Tensor]:
        """Weight and bias as they are now."""
        if rows is not None:
            self.input.put(x, rows)
        if self._cast_weight is not self._weight:
            self._cast_weight.copy_(self._weight)
        return self._cast_weight, self._bias.to(self._dtype)


class Convolution(Learning):
    """A convolution without padding."""

    def __init__(self, module: nn.Conv2d, dtype: torch.dtype):
        super().__init__(module, dtype)
        self._stride = module.stride

    def forward(self, x: Tensor, rows: Rows | None) -> Tensor:
        """See `Layer`."""
        return functional.conv2d(x, *self._start(x, rows), self._stride)

    def backward(self, gradient: Tensor, needed: bool) -> Tensor:
        """See `Layer`."""
        geometry = (self._stride, [0, 0], [1, 1], False, [0, 0], 1)
        of_input, of_weight, of_bias = torch.ops.aten.convolution_backward(
            gradient, self.input.all, self._cast_weight, [len(self._bias)], *geometry, [needed, True, True]
        )
        _gradient(self._weight).copy_(of_weight)
        _gradient(self._bias).copy_(of_bias)
        return of_input


class FullyConnected(Learning):
    """A linear layer."""

    def __init__(self, module: nn.Linear, dtype: torch.dtype):
        super().__init__(module, dtype)
        self._cast_gradient = torch.empty_like(self._cast_weight) if dtype != torch.float32 else None

    def forward(self, x: Tensor, rows: Rows | None) -> Tensor:
        """See `Layer`."""
        return functional.linear(x, *self._start(x, rows))

    def backward(self, gradient: Tensor, needed: bool) -> Tensor:
        """See `Layer`."""
        if self._cast_gradient is None:
            torch.mm(gradient.t(), self.input.all, out=_gradient(self._weight))
        else:
            torch.mm(gradient.t(), self.input.all, out=self._cast_gradient)
            _gradient(self._weight).copy_(self._cast_gradient)
        torch.sum(gradient, dim=0, dtype=torch.float32, out=_gradient(self._bias))
        return gradient @ self._cast_weight if needed else gradient


class DuelingHeads:
    """``Q = V + A - mean A``, see `async_rl.networks.Dueling`."""

    def __init__(self, module: Dueling, dtype: torch.dtype):
        self._value, self._advantage = make_layers(module.value, dtype), make_layers(module.advantage, dtype)

    def forward(self, x: Tensor, rows: Rows | None) -> Tensor:
        """See `Layer`."""
        advantage = forward(self._advantage, x, rows)
        return forward(self._value, x, rows) + advantage - advantage.mean(dim=-1, keepdim=True)

    def backward(self, gradient: Tensor, needed: bool) -> Tensor:
        """See `Layer`."""
        of_value = backward(self._value, gradient.sum(dim=-1, keepdim=True), needed)
        return of_value + backward(self._advantage, gradient - gradient.mean(dim=-1, keepdim=True), needed)


def _gradient(parameter: Tensor) -> Tensor:
    """Where the gradient of ``parameter`` is to be written."""
    assert parameter.grad is not None, "bind_gradients comes first"
    return parameter.grad


def forward(layers: list[Layer], x: Tensor, rows: Rows | None) -> Tensor:
    """`Layer.forward` of one after the other."""
    for layer in layers:
        x = layer.forward(x, rows)
    return x


def backward(layers: list[Layer], gradient: Tensor, needed: bool) -> Tensor:
    """As `Layer.backward`; below the first layer that learns nobody needs a gradient."""
    first = 0 if needed else next(n for n, layer in enumerate(layers) if not isinstance(layer, _WITHOUT_PARAMETERS))
    for number in range(len(layers) - 1, first - 1, -1):
        gradient = layers[number].backward(gradient, needed or number > first)
    return gradient


_WITHOUT_PARAMETERS = (Input, Flattening, Rectifier)


def is_chain(network: nn.Module) -> bool:
    """Whether ``network`` is a sequence of layers that `Chain` knows, pixels and the like before those that learn."""
    modules = list(network.children())
    if type(network) is not nn.Sequential or not all(_is_known(module) for module in modules):
        return False
    learning = [any(True for _ in module.parameters()) for module in modules]
    return any(learning) and not any(isinstance(m, _INPUTS) for m in modules[learning.index(True) :])


_INPUTS = (Pixels, Scale)


def _is_known(module: nn.Module) -> bool:
    if type(module) is Dueling:
        return is_chain(module.value) and is_chain(module.advantage)
    if type(module) is nn.Conv2d:
        plain = module.padding == (0, 0) and module.dilation == (1, 1) and module.groups == 1
        return plain and module.bias is not None
    if type(module) is nn.Linear:
        return module.bias is not None
    return type(module) in (nn.ReLU, nn.Flatten, FlattenPixels) or isinstance(module, _INPUTS)


def make_layers(network: nn.Module, dtype: torch.dtype) -> list[Layer]:
    """The layers of a ``network`` that `is_chain`, on its own parameters, computing in ``dtype``."""
    layers: list[Layer] = []
    for module in reversed(list(network.children())):  # a layer may have to know the next one
        layers.insert(0, _layer(module, dtype, layers[0] if layers else None))
    return layers


def _layer(module: nn.Module, dtype: torch.dtype, following: Layer | None) -> Layer:
    if isinstance(module, nn.Conv2d):
        return Convolution(module, dtype)
    if isinstance(module, nn.Linear):
        return FullyConnected(module, dtype)
    if isinstance(module, Dueling):
        return DuelingHeads(module, dtype)
    if isinstance(module, nn.ReLU):
        return Rectifier()
    if isinstance(module, nn.Flatten | FlattenPixels):
        return Flattening(module)
    if isinstance(module, Pixels) and isinstance(following, Learning):
        return PixelInput(module, dtype, following.input)
    return Input(module, dtype)


def _order(x: Tensor) -> torch.memory_format:
    """Whether channels come last in memory."""
    last = x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format
