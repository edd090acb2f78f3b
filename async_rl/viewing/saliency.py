"""Where a network looks: how strongly each pixel of its input moves what it chose by."""

import cv2
import numpy as np
import torch
from torch import Tensor, nn

_BLUR = 0.025
"""Standard deviation of the blur, as a part of the input's height: 2 pixels of 84."""


class InputTap:
    """Makes the input of a network's first layer with parameters something to differentiate by.

    The gradient is asked for there and not at the observation, because observations are integers and the way from them
    to floats is the network's own business. A screen keeps its height and width on that way.

    Args:
        network: the module, whose parameters need no gradient.

    Attributes:
        input: of the first layer in the last pass.
    """

    def __init__(self, network: nn.Module) -> None:
        layers = [module for module in network.modules() if next(module.parameters(recurse=False), None) is not None]
        self._handles = [layer.register_forward_pre_hook(self._replace) for layer in layers]
        self._handles.append(network.register_forward_pre_hook(self._begin, prepend=True))
        self.input: Tensor | None = None

    def _begin(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.input = None

    def _replace(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if self.input is not None or not inputs[0].is_floating_point():  # a later layer, or the network itself
            return None
        self.input = inputs[0].detach().requires_grad_()
        return (self.input, *inputs[1:])

    def __enter__(self) -> "InputTap":
        return self

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()


def input_gradient(network: nn.Module, observation: np.ndarray, action: int, policy: bool) -> Tensor | None:
    """Gradient of Q(s, action), or of log pi(action | s), by the input of the first layer, in that input's shape.

    None where the outputs do not depend on that, or no layer has parameters.

    Args:
        network: [1, *observation_shape] -> [1, A], or [1, A + 1] for a policy.
        observation: [*observation_shape].
        action: its number.
        policy: whether the outputs are the logits of a policy and a value.
    """
    with InputTap(network) as tap, torch.enable_grad():
        outputs = network(torch.from_numpy(observation.copy())[None])[0]
        chosen = torch.log_softmax(outputs[:-1], dim=0)[action] if policy else outputs[action]
        if tap.input is None or not chosen.requires_grad:
            return None
        return torch.autograd.grad(chosen, tap.input)[0][0]


def saliency(network: nn.Module, observation: np.ndarray, action: int, policy: bool) -> np.ndarray | None:
    """Absolute gradient over the screen, smoothed, [height, width] float32; None where the input is no image.

    Of a stack of screens each pixel gets the largest gradient (Simonyan et al. 2014, arXiv 1312.6034, section 3).
    """
    if observation.ndim != 3:
        return None
    gradient = input_gradient(network, observation, action, policy)
    if gradient is None:
        return None
    gradient = gradient.abs()
    if gradient.numel() == observation.size and (gradient.ndim != 3 or gradient.shape == observation.shape):
        heat = gradient.reshape(observation.shape).amax(dim=2)  # flat, or not yet transposed: the observation's order
    elif gradient.ndim == 3:  # a convolution's input, [channels, height, width]
        heat = gradient.amax(dim=0)
    else:
        return None
    return cv2.GaussianBlur(heat.float().numpy(), (0, 0), max(_BLUR * len(heat), 0.3))
