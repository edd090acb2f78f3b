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
_NIPS_UNITS = 256
_MLP_UNITS = 64


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


class Scale(nn.Module):
    """uint8 -> float32 in [0, 1]; float32 stays as it is."""

    def forward(self, observation: Tensor) -> Tensor:
        return observation.float() / 255 if observation.dtype == torch.uint8 else observation


class Dueling(nn.Module):
    """``Q = V + A - mean A`` of two streams over the same features (Wang et al. 2016, arXiv 1511.06581, eq. 9)."""

    def __init__(self, value: nn.Module, advantage: nn.Module):
        super().__init__()
        self.value = value  # [B, features] -> [B, 1]
        self.advantage = advantage  # [B, features] -> [B, A]

    def forward(self, features: Tensor) -> Tensor:
        advantage = self.advantage(features)
        return self.value(features) + advantage - advantage.mean(dim=-1, keepdim=True)


def _rectifier(norm: str, shape: tuple[int, ...]) -> list[nn.Module]:
    return [nn.LayerNorm(shape), nn.ReLU()] if norm == "layer" else [nn.ReLU()]


def _after(size: int, kernel: int, stride: int) -> int:
    """Height or width after a convolution without padding."""
    return (size - kernel) // stride + 1


def _nips_features(shape: tuple[int, ...], pixels: str, norm: str) -> tuple[list[nn.Module], int]:
    """The convolutions of [1], section 5.1: 16 8x8 filters stride 4, 32 4x4 stride 2, ReLU after each."""
    first = (16, *(_after(size, 8, 4) for size in shape[:2]))
    second = (32, *(_after(size, 4, 2) for size in first[1:]))
    layers = [
        PIXELS[pixels](),
        nn.Conv2d(shape[2], 16, kernel_size=8, stride=4),
        *_rectifier(norm, first),
        nn.Conv2d(16, 32, kernel_size=4, stride=2),
        *_rectifier(norm, second),
        nn.Flatten(),
    ]
    return layers, math.prod(second)


def _mlp_features(shape: tuple[int, ...], norm: str) -> tuple[list[nn.Module], int]:
    """One layer of 64 ReLU units, for vectors and small images."""
    linear = nn.Linear(math.prod(shape), _MLP_UNITS)
    return [nn.Flatten(), Scale(), linear, *_rectifier(norm, (_MLP_UNITS,))], _MLP_UNITS


def _head(features: int, hidden: int, outputs: int, norm: str) -> list[nn.Module]:
    return [nn.Linear(features, hidden), *_rectifier(norm, (hidden,)), nn.Linear(hidden, outputs)]


def make_network(config: Config, spec: EnvSpec) -> nn.Module:
    """The network that ``config`` names for an environment, initialised from ``config.seed``.

    nips is that of [1]: two convolutions, 256 units, ReLU after each, one linear output an action. mlp has two layers
    of 64. Weights and biases are U(-1/sqrt(fan_in), 1/sqrt(fan_in)) ([1], authors' mail), which is what torch's own
    layers start with. For a3c the outputs are the policy's logits and, last, the value, linear in the same trunk.

    Returns:
        A module [B, *observation_shape] -> [B, A] float32; [B, A + 1] for a3c.

    Raises:
        UserError: a convolutional network for an observation that is no image of at least 36x36 pixels.
    """
    shape, actions, norm = spec.observation_shape, len(spec.action_names), config.norm
    image = len(shape) == 3 and min(shape[:2]) >= _SMALLEST_IMAGE and spec.observation_dtype == "uint8"
    if config.network == "nips" and not image:
        raise UserError(
            f"--network nips needs an image of at least {_SMALLEST_IMAGE}x{_SMALLEST_IMAGE} pixels (uint8), "
            f"{spec.name} gives {spec.observation_dtype} {shape}; use --network mlp or auto."
        )
    convolutional = image and config.network != "mlp"
    with torch.random.fork_rng():
        torch.manual_seed(network_seed(config.seed))
        layers, features = _nips_features(shape, config.pixels, norm) if convolutional else _mlp_features(shape, norm)
        hidden = _NIPS_UNITS if convolutional else _MLP_UNITS
        if config.dueling:
            value, advantage = (nn.Sequential(*_head(features, hidden, size, norm)) for size in (1, actions))
            return nn.Sequential(*layers, Dueling(value, advantage))
        outputs = actions + 1 if config.algorithm == "a3c" else actions
        return nn.Sequential(*layers, *_head(features, hidden, outputs, norm))
