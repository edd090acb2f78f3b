"""The parts of a network as they are used: found by running it once, so that users' own modules are understood, too."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_NORMS = (nn.LayerNorm, nn.BatchNorm2d, nn.GroupNorm, nn.InstanceNorm2d)
_WINDOWS = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
_BATCH = 64


@dataclass(frozen=True)
class Field:
    """The part of the input that one unit of a layer sees; pairs are (rows, columns).

    Unit (y, x) sees ``size`` pixels from ``y * step + start``, which may lie before the edge where the layer pads.
    """

    size: tuple[int, int] = (1, 1)
    step: tuple[int, int] = (1, 1)
    start: tuple[int, int] = (0, 0)

    def through(self, layer: nn.Module) -> "Field":
        """The field of a unit behind a convolution or a pooling layer."""
        axes = range(2)
        kernel, stride, dilation = (_pair(getattr(layer, name, 1)) for name in ("kernel_size", "stride", "dilation"))
        padding = getattr(layer, "padding", 0)
        if isinstance(padding, str):
            padding = [dilation[a] * (kernel[a] - 1) // 2 if padding == "same" else 0 for a in axes]
        padding = _pair(padding)
        return Field(
            size=_pair([self.size[a] + (kernel[a] - 1) * dilation[a] * self.step[a] for a in axes]),
            step=_pair([self.step[a] * stride[a] for a in axes]),
            start=_pair([self.start[a] - padding[a] * self.step[a] for a in axes]),
        )


def _pair(value: Any) -> tuple[int, int]:
    first, second = (value, value) if isinstance(value, int) else value
    return int(first), int(second)


@dataclass(frozen=True)
class Convolution:
    """A convolution of a network.

    Attributes:
        name: of the module, as in the network's ``named_modules``.
        layer: it.
        output: the module whose output counts as the filters' activation: the rectifier, or the normalisation, that
            follows, if no other layer shares it, else the layer itself.
        field: what a unit sees.
    """

    name: str
    layer: nn.Conv2d
    output: nn.Module
    field: Field


@contextmanager
def watching(modules: Sequence[nn.Module], see: Callable[[nn.Module, Tensor, Tensor], None]) -> Iterator[None]:
    """Call ``see(module, input, output)`` after each pass through each of the modules."""

    def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        """Show what goes in and out, where both are tensors."""
        if inputs and isinstance(inputs[0], Tensor) and isinstance(output, Tensor):
            see(module, inputs[0], output)

    handles = [module.register_forward_hook(hook) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _leaves(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if not list(module.children())]


def convolutions(network: nn.Module, observation: np.ndarray) -> list[Convolution]:
    """The convolutions of a network, in the order in which they are used on ``observation`` [*observation_shape].

    Without those that are used more than once: their filters have more than one field.
    """
    used: list[nn.Module] = []
    with watching(_leaves(network), lambda module, _, __: used.append(module)):
        _pass(network, observation[None])
    names = {module: name for name, module in network.named_modules()}
    found, field = [], Field()
    for place, layer in enumerate(used):
        if isinstance(layer, _WINDOWS):
            field = field.through(layer)
        if isinstance(layer, nn.Conv2d) and used.count(layer) == 1:
            output: nn.Module = layer
            for after in used[place + 1 :]:
                if not isinstance(after, (*_NORMS, nn.ReLU)) or used.count(after) > 1:  # of other layers, too
                    break
                output = after
                if isinstance(after, nn.ReLU):
                    break
            found.append(Convolution(names[layer], layer, output, field))
    return found


def _pass(network: nn.Module, observations: np.ndarray) -> Tensor:
    with torch.no_grad():
        return network(torch.from_numpy(np.array(observations, order="C")))  # a copy: it may write into it


@dataclass(frozen=True)
class Peaks:
    """How strongly each state excites each filter of a layer, at the unit that it excites most.

    Attributes:
        activation: [N, filters] float32.
        place: (row, column) of that unit, [N, filters, 2] int64.
    """

    activation: np.ndarray
    place: np.ndarray


def peaks(network: nn.Module, layers: list[Convolution], observations: np.ndarray) -> list[Peaks]:
    """The peaks of each layer over the states [N, *observation_shape]."""
    found: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in layers]
    index = {layer.output: number for number, layer in enumerate(layers)}

    def see(module: nn.Module, _: Tensor, output: Tensor) -> None:
        """Note the largest activation of each filter, and where it is."""
        largest, flat = output.flatten(2).max(dim=2)
        place = torch.stack((flat // output.shape[3], flat % output.shape[3]), dim=2)
        found[index[module]].append((largest.float().numpy().copy(), place.numpy()))

    with watching(list(index), see):
        for start in range(0, len(observations), _BATCH):
            _pass(network, observations[start : start + _BATCH])
    return [Peaks(*(np.concatenate(part) for part in zip(*rows, strict=True))) for rows in found]


def last_hidden(network: nn.Module, observations: np.ndarray) -> np.ndarray:
    """The input of the last fully connected layer that is used, for each state, [N, units] float32.

    With duelling streams that is the hidden layer of the one that is used last, the advantage's or the value's. A
    network without such a layer is taken by its outputs.
    """
    rows = []
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    for start in range(0, len(observations), _BATCH):
        seen: list[Tensor] = []
        with watching(linear, lambda _, given, __, seen=seen: seen.append(given)):  # type: ignore[misc]
            outputs = _pass(network, observations[start : start + _BATCH])
        rows.append((seen[-1] if seen else outputs).flatten(1).float().numpy().copy())
    return np.concatenate(rows)


def first_weights(network: nn.Module, observation: np.ndarray) -> np.ndarray | None:
    """Weights of the first fully connected layer, [units, inputs], if it sees the observation itself; else None."""
    seen: list[tuple[nn.Module, int]] = []
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    with watching(linear, lambda module, given, _: seen.append((module, given[0].numel()))):
        _pass(network, observation[None])
    if not seen or seen[0][1] != observation.size:
        return None
    return seen[0][0].weight.detach().numpy().copy()  # type: ignore[operator]
