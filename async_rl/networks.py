"""Q-networks: observation -> one value an action.

[1] is Mnih et al. 2016, arXiv 1602.01783, whose network is that of Mnih et al. 2013, arXiv 1312.5602.
"""

import math

import torch
from torch import Tensor, nn

from async_rl.config import Config
from async_rl.seeding import network_seed
from async_rl.types import EnvSpec, UserError

_SMALLEST_IMAGE = 36  # pixels; below, the second convolution of the paper's network has next to nothing to see
_HIDDEN_UNITS = 64


class UnitPixels(nn.Module):
    """``[B, height, width, stack]`` uint8 -> ``[B, stack, height, width]`` float32 in [0, 1], without moving a pixel.

    Observations lie in memory in the order that convolutions prefer (channels last), and the result keeps it. Forward
    and backward of the paper's network at batch 16 take 190 microseconds a sample so, 230 where the order is changed on
    the way in, and 270 in torch's default order (one core of a Zen 5 EPYC).
    """

    def forward(self, observation: Tensor) -> Tensor:
        return observation.permute(0, 3, 1, 2).to(torch.float32).mul_(1 / 255)


class StandardizedPixels(nn.Module):
    """Like `UnitPixels`, but each stack of screens has mean 0 and variance 1 (short of 1 where contrast is small).

    Why: of the fresh network's tangent kernel over 100 states of Pong, the first eigenvalue, which is the common level
    of all values, is 12,000 times the twentieth; with standardised screens 1,900 times. Gradient descent must be slow
    enough for the first, so what tells states apart is learnt that much faster (``python -m benchmarks.conditioning``).

    ``functional.layer_norm`` does the same in 140 microseconds a sample, ``torch.std_mean`` in 160, this way takes 10.
    """

    def forward(self, observation: Tensor) -> Tensor:
        pixels = observation.to(torch.float32).flatten(1)
        count = pixels.shape[1]
        mean = pixels.sum(dim=1, keepdim=True).div_(count)
        square = torch.linalg.vector_norm(pixels, dim=1, keepdim=True).square_().div_(count)
        # Grey levels run to 255: adding 1 to their variance changes nothing but a screen of one colour.
        scale = square.sub_(mean.square()).add_(1.0).rsqrt_()
        return pixels.sub_(mean).mul_(scale).view(observation.shape).permute(0, 3, 1, 2)


PIXELS: dict[str, type[nn.Module]] = {"standardized": StandardizedPixels, "unit": UnitPixels}
"""How screens enter a convolutional network."""


def nips(observation_shape: tuple[int, ...], outputs: int, pixels: str) -> nn.Module:
    """The network of [1], section 5.1: 16 8x8 filters stride 4, 32 4x4 stride 2, 256 units, ReLU after each.

    Args:
        observation_shape: (height, width, stack).
        outputs: one linear output an action.
        pixels: a key of `PIXELS`.

    Returns:
        A module ``[B, *observation_shape]`` uint8 -> ``[B, outputs]`` float32.
    """
    convolutions = nn.Sequential(
        PIXELS[pixels](),
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


def make_network(config: Config, spec: EnvSpec) -> nn.Module:
    """The network that ``config`` names for an environment, initialised from ``config.seed``.

    Weights and biases are U(-1/sqrt(fan_in), 1/sqrt(fan_in)) ([1], authors' mail), which is what torch's own
    layers start with.

    Raises:
        UserError: a convolutional network for an observation that is no image of at least 36x36 pixels.
    """
    shape, actions = spec.observation_shape, len(spec.action_names)
    image = len(shape) == 3 and min(shape[:2]) >= _SMALLEST_IMAGE and spec.observation_dtype == "uint8"
    if config.network == "nips" and not image:
        raise UserError(
            f"--network nips needs an image of at least {_SMALLEST_IMAGE}x{_SMALLEST_IMAGE} pixels (uint8), "
            f"{spec.name} gives {spec.observation_dtype} {shape}; use --network mlp or auto."
        )
    with torch.random.fork_rng():
        torch.manual_seed(network_seed(config.seed))
        if config.network == "mlp" or not image:
            return mlp(shape, actions)
        return nips(shape, actions, config.pixels)
