"""Machine code of convolutions is made once for all workers: by each of them it would take seconds, all at once."""

import torch
from torch import nn

from async_rl.chain import is_chain
from async_rl.config import Config
from async_rl.envs import atari_game
from async_rl.kernels.convolving import compile_loops
from async_rl.kernels.products import most_sums
from async_rl.networks import CONVOLUTIONS, make_network
from async_rl.passes import make_passes
from async_rl.precision import compute_dtype, fast_in_bfloat16
from async_rl.shared import bind, bind_gradients, flatten
from async_rl.types import EnvSpec


def _is_published(config: Config) -> bool:
    """Whether it is a published network for Atari screens, whose shapes are known before there is an environment."""
    return atari_game(config) is not None and config.network in ("auto", *CONVOLUTIONS)


def compile_published(config: Config) -> None:
    """In the fork server: what its forks take in float32. No tensor is touched, as torch's threads survive no fork."""
    if not _is_published(config) or most_sums() == 0 or (config.precision != "float32" and fast_in_bfloat16()):
        return
    from async_rl.envs.screens import SIZE, STACK  # with the emulator

    network = CONVOLUTIONS["nips" if config.network == "auto" else config.network]
    for geometry in network.geometries((SIZE, SIZE, STACK)):
        compile_loops(geometry)


def compile_others(config: Config, spec: EnvSpec) -> None:
    """In the launcher: all other networks, by a pass there and back, for which workers find the code on the disk."""
    if _is_published(config):
        return
    network = make_network(config, spec)
    convolves = any(isinstance(module, nn.Conv2d) for module in network.modules())
    if not convolves or not is_chain(network):
        return
    parameters = flatten(network)
    bind(network, parameters)
    gradient = torch.zeros_like(parameters)
    bind_gradients(network, gradient)
    passes = make_passes(network, parameters, gradient, compute_dtype(config, network))
    outputs = passes.forward(torch.zeros(1, 1, *spec.observation_shape, dtype=getattr(torch, spec.observation_dtype)))
    passes.backward(torch.zeros_like(outputs))
