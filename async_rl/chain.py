"""Sequences of layers forward and backward by hand, on memory that is made once; see `async_rl.passes`."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from async_rl.convolutions import BlockConvolution, CompiledConvolution, Convolution, PixelInput
from async_rl.layers import (
    Affine,
    Flattening,
    FullyConnected,
    Input,
    Kept,
    Layer,
    Parameters,
    Rectifier,
    Rows,
)
from async_rl.networks import Dueling, FlattenPixels, Pixels, Scale
from async_rl.normalization import Normalization
from async_rl.rounded import Rounded
from async_rl.shared import views


class Chain:
    """Passes of a sequence of layers that is known here, by hand.

    Args:
        network: one that `is_chain`; its parameters and their gradients are views of flat vectors.
        rounded: the parameters, rounded, for all layers but the last, which then compute and keep in bfloat16; None:
            all is float32. Outputs and gradients are float32 in any case.
        beside: passes of another network of the same kind, which is shown the same observations.
    """

    def __init__(self, network: nn.Module, rounded: Rounded | None, beside: "Chain | None" = None):
        self.rounded = rounded
        self._layers = make_layers(network, {} if rounded is None else dict(views(network, rounded.vector)))
        self._learning = list(_learning(self._layers))
        self._kept_outputs = Kept()
        for own, others in zip(self._layers, beside._layers if beside else (), strict=False):
            if isinstance(own, PixelInput) and isinstance(others, PixelInput):
                own.share(others)
        self.refresh()

    @torch.no_grad()
    def refresh(self) -> None:
        """See `Passes`."""
        if self.rounded is not None:
            self.rounded.refresh()
        for layer in self._learning:
            layer.refresh()

    @torch.no_grad()
    def __call__(self, observation: Tensor) -> Tensor:
        """See `Passes`."""
        return forward(self._layers, observation, None).float()

    @torch.no_grad()
    def act(self, observation: Tensor, step: int, steps: int, unseen: Sequence[int] | None = None) -> Tensor:
        """See `Passes`."""
        rows = Rows(step * len(observation), steps * len(observation), unseen)
        outputs = forward(self._layers, observation, rows).float()
        self._kept_outputs.put(outputs, rows)
        return outputs

    def kept(self, observation: Tensor) -> Tensor:
        """See `Passes`."""
        return self._kept_outputs.all.view(*observation.shape[:2], -1)

    def forward(self, observation: Tensor) -> Tensor:
        """See `Passes`."""
        self.act(observation.flatten(0, 1), step=0, steps=1)
        return self.kept(observation)

    @torch.no_grad()
    def backward(self, gradient: Tensor) -> None:
        """See `Passes`."""
        backward(self._layers, gradient.flatten(0, 1), needed=False)


class DuelingHeads:
    """``Q = V + A - mean A``, see `async_rl.networks.Dueling`."""

    def __init__(self, module: Dueling, rounded: Parameters):
        self._value, self._advantage = make_layers(module.value, rounded), make_layers(module.advantage, rounded)
        self.layers = [*self._value, *self._advantage]

    def forward(self, x: Tensor, rows: Rows | None) -> Tensor:
        """See `Layer`."""
        advantage = forward(self._advantage, x, rows)
        return forward(self._value, x, rows) + advantage - advantage.mean(dim=-1, keepdim=True)

    def backward(self, gradient: Tensor, needed: bool) -> Tensor:
        """See `Layer`."""
        of_value = backward(self._value, gradient.sum(dim=-1, keepdim=True), needed)
        of_advantage = backward(self._advantage, gradient - gradient.mean(dim=-1, keepdim=True), needed)
        return of_value + of_advantage if needed else gradient


def forward(layers: list[Layer], x: Tensor, rows: Rows | None) -> Tensor:
    """`Layer.forward` of one after the other."""
    for layer in layers:
        x = layer.forward(x, rows)
    return x


def backward(layers: list[Layer], gradient: Tensor, needed: bool) -> Tensor:
    """As `Layer.backward`; below the first layer that learns nobody needs a gradient."""
    learns = (isinstance(layer, Affine | Normalization | DuelingHeads) for layer in layers)
    first = 0 if needed else list(learns).index(True)
    for number in range(len(layers) - 1, first - 1, -1):
        gradient = layers[number].backward(gradient, needed or number > first)
    return gradient


def _learning(layers: list[Layer]) -> Iterator[Affine | Normalization]:
    """Those with parameters."""
    for layer in layers:
        if isinstance(layer, DuelingHeads):
            yield from _learning(layer.layers)
        elif isinstance(layer, Affine | Normalization):
            yield layer


def is_chain(network: nn.Module) -> bool:
    """Whether ``network`` is a sequence of layers that `Chain` knows, pixels and the like before those that learn."""
    if type(network) is not nn.Sequential or _has_hooks(network):
        return False
    modules = list(network)
    parameters = [parameter for _, parameter in network.named_parameters(remove_duplicate=False)]
    each_its_own = len(set(parameters)) == len(parameters)
    all_or_none_learn = len({parameter.requires_grad for parameter in parameters}) <= 1
    hooked = any(parameter._backward_hooks or parameter._post_accumulate_grad_hooks for parameter in parameters)
    if hooked or not (each_its_own and all_or_none_learn and all(map(_is_known, [None, *modules], modules))):
        return False
    learning = [any(True for _ in module.parameters()) for module in modules]
    return any(learning) and not any(isinstance(m, _INPUTS) for m in modules[learning.index(True) :])


_INPUTS = (Pixels, Scale)


def _has_hooks(module: nn.Module) -> bool:
    return any((module._forward_pre_hooks, module._forward_hooks, module._backward_pre_hooks, module._backward_hooks))


def _is_known(before: nn.Module | None, module: nn.Module) -> bool:
    if _has_hooks(module):
        return False
    if type(module) is Dueling:
        return is_chain(module.value) and is_chain(module.advantage)
    if isinstance(module, Pixels):
        return type(module).forward is Pixels.forward  # else it is not what `Pixels.write` writes
    if type(module) in (nn.ReLU, nn.Flatten, FlattenPixels) or isinstance(module, Scale):
        return True
    if [name for name, _ in module.named_parameters()] != ["weight", "bias"]:
        return False
    if type(module) is nn.Conv2d:
        return module.padding == (0, 0) and module.dilation == (1, 1) and module.groups == 1
    if type(module) is nn.LayerNorm:
        axes = 3 if isinstance(before, nn.Conv2d) else 1 if isinstance(before, nn.Linear) else None
        return len(module.normalized_shape) == axes
    return type(module) is nn.Linear


def make_layers(network: nn.Module, rounded: Parameters) -> list[Layer]:
    """The layers of a ``network`` that `is_chain`, on its own parameters or on those ``rounded`` has in their place.

    The last one that learns computes in float32, and so does what follows it: with the 8 bits of bfloat16 two values
    near 1 that differ by less than 0.004 are the same, and the gaps between actions are not much larger than that.
    """
    assert isinstance(network, nn.Sequential)
    modules = list(network)
    befores, layers = [None, *modules], list[Layer]()
    last = max(number for number, module in enumerate(modules) if any(True for _ in module.parameters()))
    for number, module in reversed(list(enumerate(modules))):  # a layer may have to know those beside it
        exact = number >= last and not isinstance(module, Dueling)
        layers.insert(0, _layer(befores[number], module, {} if exact else rounded, layers[0] if layers else None))
    return layers


def _layer(before: nn.Module | None, module: nn.Module, rounded: Parameters, following: Layer | None) -> Layer:
    if isinstance(module, nn.Conv2d) and CompiledConvolution.takes(module, before, rounded):
        return CompiledConvolution(module, before, rounded, following)
    if isinstance(module, nn.Conv2d):
        in_blocks = isinstance(before, Pixels) and BlockConvolution.takes(module)
        return (BlockConvolution if in_blocks else Convolution)(module, rounded)
    if isinstance(module, nn.Linear):
        return FullyConnected(module, rounded)
    if isinstance(module, nn.LayerNorm):
        return Normalization(module, rounded)
    if isinstance(module, Dueling):
        return DuelingHeads(module, rounded)
    if isinstance(module, nn.ReLU):
        return Rectifier(before, following)
    if isinstance(module, nn.Flatten | FlattenPixels):
        return Flattening(module)
    if isinstance(module, Pixels) and isinstance(following, Affine):
        return PixelInput(module, following)
    return Input(module)
