"""Networks: observation -> one value an action; for a3c logits of the policy, and V.

[1] is Mnih et al. 2016, arXiv 1602.01783, whose network is that of Mnih et al. 2013, arXiv 1312.5602.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from async_rl import kernels
from async_rl.config import Config
from async_rl.kernels.convolving import Geometry
from async_rl.seeding import network_seed, others_seeded
from async_rl.types import EnvSpec, UserError
from async_rl.user_code import import_function, one_line

_SMALLEST_IMAGE = 36  # pixels; below, the second convolution of the paper's network has next to nothing to see
_MLP_UNITS = 64


class Pixels(nn.Module):
    """``[B, height, width, stack]`` uint8 -> ``[B, stack, height, width]``, without moving a pixel.

    Observations lie in memory in the order that convolutions prefer (channels last), and the result keeps it. Forward
    and backward of the paper's network at batch 16 take 190 microseconds a sample so, 230 where the order is changed on
    the way in, and 270 in torch's default order (one core of a Zen 5 EPYC).
    """

    def forward(self, observation: Tensor) -> Tensor:
        """The pixels in float32."""
        batch, height, width, channels = observation.shape
        out = torch.empty(observation.shape)
        self.write(observation.numpy(), out.view(batch, height, 1, 1, width * channels).numpy())
        return out.permute(0, 3, 1, 2)

    def write(self, observation: np.ndarray, out: np.ndarray) -> None:
        """Fill ``out`` [B, rows, columns, h, w * stack] with blocks of h x w pixels.

        It is float32, or uint16 for the bits of bfloat16. What does not fill a block at the right and at the bottom is
        left out. The same screens are made the same, alone or with others: to learn, they may be made once more.
        """
        raise NotImplementedError


class UnitPixels(Pixels):
    """Grey levels in [0, 1]."""

    def write(self, observation: np.ndarray, out: np.ndarray) -> None:
        """See `Pixels`."""
        _, rows, columns, height, length = out.shape
        used = torch.from_numpy(observation).flatten(2)[:, : rows * height, : columns * length]
        blocks = used.unflatten(2, (columns, length)).unflatten(1, (rows, height)).permute(0, 1, 3, 2, 4)
        rounded = torch.bfloat16 if out.dtype == np.uint16 else torch.float32
        torch.mul(blocks, 1 / 255, out=torch.from_numpy(out).view(rounded))


class StandardizedPixels(Pixels):
    """Each stack of screens has mean 0 and variance 1 (short of 1 where contrast is small).

    Why: of the fresh network's tangent kernel over 100 states of Pong, the first eigenvalue, which is the common level
    of all values, is 17,000 times the twentieth; with standardised screens 1,700 times. Gradient descent must be slow
    enough for the first, so what tells states apart should be learnt faster (``python -m benchmarks.conditioning``).

    With one core of a Zen 4 EPYC a sample takes 4 microseconds; 12 to 15 with plain tensor operations, which read and
    write the floats four times, 140 with ``functional.layer_norm``. In bfloat16 it takes 9 on a Xeon with AMX, where
    float32 first and torch's rounding after it take 16.
    """

    def write(self, observation: np.ndarray, out: np.ndarray) -> None:
        """See `Pixels`."""
        pixels = observation.reshape(*observation.shape[:2], -1)
        if out.dtype == np.uint16:
            kernels.standardize_bfloat16(pixels, out, np.empty(pixels.shape[2], np.float32))
        else:
            kernels.standardize(pixels, out)


PIXELS: dict[str, type[Pixels]] = {"standardized": StandardizedPixels, "unit": UnitPixels}
"""How screens enter a convolutional network."""


class FlattenPixels(nn.Module):
    """``[B, channels, height, width]`` -> ``[B, height * width * channels]``, the order in which they lie in memory."""

    def forward(self, x: Tensor) -> Tensor:
        """See `FlattenPixels`."""
        return x.permute(0, 2, 3, 1).flatten(1)


class Scale(nn.Module):
    """uint8 -> float32 in [0, 1]; float32 stays as it is."""

    def forward(self, observation: Tensor) -> Tensor:
        """See `Scale`."""
        return observation.float() / 255 if observation.dtype == torch.uint8 else observation


class Dueling(nn.Module):
    """``Q = V + A - mean A`` of two streams over the same features (Wang et al. 2016, arXiv 1511.06581, eq. 9)."""

    def __init__(self, value: nn.Module, advantage: nn.Module):
        super().__init__()
        self.value = value  # [B, features] -> [B, 1]
        self.advantage = advantage  # [B, features] -> [B, A]

    def forward(self, features: Tensor) -> Tensor:
        """See `Dueling`."""
        advantage = self.advantage(features)
        return self.value(features) + advantage - advantage.mean(dim=-1, keepdim=True)


def _rectifier(norm: str, shape: tuple[int, ...]) -> list[nn.Module]:
    return [nn.LayerNorm(shape), nn.ReLU()] if norm == "layer" else [nn.ReLU()]


@dataclass(frozen=True)
class Convolutions:
    """A published network for screens: (filters, kernel, stride) of each convolution, then one hidden layer."""

    layers: tuple[tuple[int, int, int], ...]
    hidden: int

    def geometries(self, shape: Sequence[int]) -> list[Geometry]:
        """Of each convolution, for screens [height, width, channels] of ``shape``."""
        made: list[Geometry] = []
        for filters, kernel, stride in self.layers:
            height, width, channels = shape
            made.append(Geometry(height, width, channels, filters, kernel, stride))
            shape = made[-1].output_shape
        return made


CONVOLUTIONS = {
    "nips": Convolutions(((16, 8, 4), (32, 4, 2)), 256),  # [1], supplement 8; Mnih et al. 2013
    "nature": Convolutions(((32, 8, 4), (64, 4, 2), (64, 3, 1)), 512),  # Mnih et al. 2015
}


def _convolutional_features(
    shape: tuple[int, ...], convolutions: Convolutions, pixels: str, norm: str
) -> tuple[list[nn.Module], int]:
    layers: list[nn.Module] = [PIXELS[pixels]()]
    for geometry in convolutions.geometries(shape):
        _, _, channels, filters, kernel, stride = geometry
        *image, _ = shape = geometry.output_shape
        layers += [nn.Conv2d(channels, filters, kernel, stride), *_rectifier(norm, (filters, *image))]
    return [*layers, FlattenPixels()], math.prod(shape)


def _mlp_features(shape: tuple[int, ...], norm: str) -> tuple[list[nn.Module], int]:
    """One layer of 64 ReLU units, for vectors and small images."""
    linear = nn.Linear(math.prod(shape), _MLP_UNITS)
    return [nn.Flatten(), Scale(), linear, *_rectifier(norm, (_MLP_UNITS,))], _MLP_UNITS


def _head(features: int, hidden: int, outputs: int, norm: str) -> list[nn.Module]:
    return [nn.Linear(features, hidden), *_rectifier(norm, (hidden,)), nn.Linear(hidden, outputs)]


def make_network(config: Config, spec: EnvSpec) -> nn.Module:
    """The network that ``config`` names for an environment, initialised from ``config.seed``.

    Weights and biases are U(-1/sqrt(fan_in), 1/sqrt(fan_in)) ([1], authors' mail), which is what torch's own layers
    start with. For a3c the outputs are the policy's logits and, last, the value, linear in the same trunk.

    Returns:
        A module [B, *observation_shape] -> [B, A] float32; [B, A + 1] for a3c.

    Raises:
        UserError: a convolutional network for an observation that is no image of at least 36x36 pixels, or a function
            of the user's that cannot be used.
    """
    shape, actions = spec.observation_shape, len(spec.action_names)
    outputs = actions + 1 if config.has_policy else actions
    name = network_name(config, spec)
    if name in CONVOLUTIONS and not _is_image(spec):
        raise UserError(
            f"--network {name} needs an image of at least {_SMALLEST_IMAGE}x{_SMALLEST_IMAGE} pixels (uint8), "
            f"{spec.name} gives {spec.observation_dtype} {shape}; use --network mlp or auto."
        )
    seed = network_seed(config.seed)
    if name not in CONVOLUTIONS and name != "mlp":
        return _users_own(name, spec, outputs, seed)
    with others_seeded(seed):
        return _published(name, config, shape, actions, outputs)


def network_name(config: Config, spec: EnvSpec) -> str:
    """The network that ``config.network`` stands for, where it is ``auto``."""
    return config.network if config.network != "auto" else "nips" if _is_image(spec) else "mlp"


def _is_image(spec: EnvSpec) -> bool:
    shape = spec.observation_shape
    return len(shape) == 3 and min(shape[:2]) >= _SMALLEST_IMAGE and spec.observation_dtype == "uint8"


def _published(name: str, config: Config, shape: tuple[int, ...], actions: int, outputs: int) -> nn.Module:
    if name == "mlp":
        (layers, features), hidden = _mlp_features(shape, config.norm), _MLP_UNITS
    else:
        convolutions = CONVOLUTIONS[name]
        layers, features = _convolutional_features(shape, convolutions, config.pixels, config.norm)
        hidden = convolutions.hidden
    if config.dueling:
        value, advantage = (nn.Sequential(*_head(features, hidden, size, config.norm)) for size in (1, actions))
        return nn.Sequential(*layers, Dueling(value, advantage))
    return nn.Sequential(*layers, *_head(features, hidden, outputs, config.norm))


def _users_own(name: str, spec: EnvSpec, outputs: int, seed: int) -> nn.Module:
    """What the user's function makes, tried on two observations as it will be used: its outputs are differentiated."""
    try:
        with others_seeded(seed):  # a module may seed or draw as it is imported
            function = import_function(name)
        with others_seeded(seed), torch.inference_mode(False), torch.enable_grad():
            network = function(spec.observation_shape, outputs)
            before = _buffers(network)
            made = network(torch.zeros(2, *spec.observation_shape, dtype=getattr(torch, spec.observation_dtype)))
        with others_seeded(seed + 1):
            drawn = _different(before, _buffers(function(spec.observation_shape, outputs))) if before else []
        changed = _different(_buffers(network), before)
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # others' code: anything may come
        raise UserError(f"--network {name} failed on {spec.name}: {one_line(error)}.") from error
    got = f"{list(made.shape)} {made.dtype}" if isinstance(made, Tensor) else type(made).__name__
    if not isinstance(network, nn.Module) or got != f"[2, {outputs}] torch.float32":
        raise UserError(
            f"--network {name} must give a torch module [B, *{spec.observation_shape}] -> [B, {outputs}] float32, "
            f"got {type(network).__name__} -> {got} with B = 2."
        )
    _require_fixed_buffers(name, changed, drawn)
    parameters = list(network.parameters())
    if any(x.dtype != torch.float32 for x in parameters) or not any(x.requires_grad for x in parameters):
        raise UserError(f"--network {name} must have parameters to learn, all of them float32.")
    if not made.requires_grad:
        raise UserError(
            f"--network {name} gives outputs that cannot be differentiated in its parameters: is there a detach() or a "
            "no_grad() in its forward?"
        )
    return network


def _require_fixed_buffers(name: str, changed: Sequence[str], drawn: Sequence[str]) -> None:
    """Raise UserError for buffers that passes have changed, or that another seed would draw otherwise."""
    if changed:
        raise UserError(
            f"--network {name} changes its buffer {changed[0]} in every pass, as batch normalisation does; workers do "
            "not share such a state, and it is not saved: use layer or group normalisation."
        )
    if drawn:
        raise UserError(
            f"--network {name} draws its buffer {drawn[0]} at random; it is not saved, and another --seed would change "
            "what was learnt: draw it from a generator of its own, torch.Generator().manual_seed(0)."
        )


def _different(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    """Names of the buffers that are not the same in both."""
    return [name for name, x in one.items() if name not in other or not torch.equal(x, other[name])]


def _buffers(network: Any) -> dict[str, Tensor]:
    """Copies of what a module keeps beside its parameters; of what is no module nothing."""
    return {name: x.clone() for name, x in network.named_buffers()} if isinstance(network, nn.Module) else {}
