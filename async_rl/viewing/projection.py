"""What a unit saw, projected back into pixels: guided backpropagation.

Springenberg et al. 2015 (arXiv 1412.6806, section 3.4): the gradient of one unit's activation by the input, where each
rectifier lets through only what is positive on the way back and was positive on the way there.

Why not the deconvolution of Zeiler and Fergus 2014 (arXiv 1311.2901)? It lets through what is positive on the way back
alone and knows the picture only by the maxima that pooling layers remember. The networks of the Atari papers have
strides instead of pooling: deconvolution would give the same picture of a filter, whatever it saw (ibid.).

Layer normalisation counts as the scale and shift that it was for this state; so a unit is projected to its own
receptive field and not, by way of the mean, to the whole screen.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from async_rl.types import UserError
from async_rl.viewing.anatomy import Convolution, watching
from async_rl.viewing.saliency import InputTap

_RECTIFIERS = (functional.relu, functional.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_)


class _GuidedReLU(torch.autograd.Function):
    """Forward a rectifier; backward only what is positive, where the output was."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        """max(x, 0)."""
        out = x.clamp(min=0)
        context.save_for_backward(out)
        return out

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        """See the class."""
        (out,) = context.saved_tensors
        return gradient.clamp(min=0) * (out > 0)


def _scaled(
    x: Tensor, shape: Any, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Layer normalisation whose mean and variance have no gradient."""
    axes = tuple(range(-len(tuple(shape)), 0))
    mean = x.detach().mean(axes, keepdim=True)
    variance = x.detach().var(axes, unbiased=False, keepdim=True)
    x = (x - mean) / torch.sqrt(variance + eps)
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


class Guided(TorchFunctionMode):
    """While it is active every rectifier and layer normalisation, of modules and functions alike, is as above."""

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Replace those functions."""
        if func in _RECTIFIERS:
            return _GuidedReLU.apply(args[0])
        if func is functional.layer_norm:
            return _scaled(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def project(
    network: nn.Module, layer: Convolution, observations: np.ndarray, filter_number: int, places: np.ndarray
) -> tuple[Tensor, Tensor]:
    """One filter's units projected back, one of each observation.

    Args:
        network: [B, *observation_shape] -> anything.
        layer: one of its convolutions.
        observations: [B, *observation_shape].
        filter_number: of the layer.
        places: (row, column) of the unit in each observation, [B, 2].

    Returns:
        The projections, 0 outside the units' fields, and the input of the first layer, both
        [B, channels, height, width].

    Raises:
        UserError: the units do not depend on that input.
    """
    outputs: list[Tensor] = []
    with InputTap(network) as tap, torch.enable_grad(), Guided():
        with watching([layer.output], lambda _, __, output: outputs.append(output)):
            network(torch.from_numpy(np.array(observations, order="C")))
        rows, columns = torch.from_numpy(places).unbind(dim=1)
        units = outputs[0][torch.arange(len(observations)), filter_number, rows, columns]
        if tap.input is None or not units.requires_grad:
            raise UserError("filters that do not come after the network's first layer cannot be projected back by it.")
        pair = torch.autograd.grad(units.sum(), tap.input)[0], tap.input.detach()
    if tap.input.shape == observations.shape:  # of a first layer that sees the channels last
        pair = pair[0].permute(0, 3, 1, 2), pair[1].permute(0, 3, 1, 2)
    return pair
