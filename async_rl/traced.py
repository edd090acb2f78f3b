"""A trained network for programs without this one: TorchScript.

It computes in plain tensor operations what the network computes, on any number of observations, and is compared with
it before it is kept.
"""

import copy
import io
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from async_rl import storage
from async_rl.export import SavedNetwork, metadata
from async_rl.networks import Pixels, StandardizedPixels
from async_rl.types import EnvSpec, UserError
from async_rl.user_code import one_line

TOLERANCE = 1e-4
"""Largest difference of an output, relative to the largest output where that is above 1: sums are taken in another
order."""

_BATCHES = (1, 3, 16)


class PlainPixels(nn.Module):
    """What a `Pixels` module does, without the compiled loop and the memory of its own that tracing would miss."""

    def __init__(self, pixels: Pixels):
        super().__init__()
        self._standardized = isinstance(pixels, StandardizedPixels)

    def forward(self, observation: Tensor) -> Tensor:
        """See `PlainPixels`."""
        x = observation.float()
        if self._standardized:
            variance, mean = torch.var_mean(x, dim=(1, 2, 3), correction=0, keepdim=True)
            x = (x - mean) / torch.sqrt(variance + 1)
        else:
            x = x / 255
        return x.permute(0, 3, 1, 2)


def plain(network: nn.Module) -> nn.Module:
    """A copy of ``network`` that can be traced."""
    network = copy.deepcopy(network)
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, Pixels):
                setattr(module, name, PlainPixels(child))
    return network.eval()


def write_torchscript(saved: SavedNetwork, path: Path) -> float:
    """Write the network as TorchScript, with its `metadata` as extra files; returns the largest difference found.

    Raises:
        UserError: it cannot be traced, does not agree with the network, or cannot be written.
    """
    network = saved.make()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that tracing is old, and may miss branches: the outputs are compared below
        try:
            traced = torch.jit.trace(plain(network), random_observations(saved.spec, 2, seed=0), check_trace=False)
        except Exception as error:  # the network may be the user's own
            raise UserError(f"the network cannot be traced: {one_line(error)}.") from error
        content = io.BytesIO()
        torch.jit.save(traced, content, _extra_files=metadata(saved))
        try:
            difference = agreement(network, torch.jit.load(io.BytesIO(content.getvalue())), saved.spec)
        except RuntimeError as error:  # such as where a number of rows was traced as it was
            raise UserError(f"the traced network fails on other observations: {one_line(error)}.") from error
    storage.write_result(path, content.getvalue())
    return difference


def agreement(network: nn.Module, exported: Callable[[Tensor], Tensor], spec: EnvSpec) -> float:
    """Largest difference between the outputs of the two on random observations, relative to the largest above 1.

    Raises:
        UserError: it is more than `TOLERANCE`.
    """
    largest = 0.0
    for batch in _BATCHES:
        observation = random_observations(spec, batch, seed=batch)
        with torch.no_grad():
            expected, got = network(observation), exported(observation)
        # Infinite outputs, as of actions that a policy rules out, have to be the same.
        apart = torch.where(expected == got, 0.0, (expected - got).abs()).max()
        difference = float(apart / torch.nan_to_num(expected, 0, 0, 0).abs().max().clamp(min=1))
        largest = max(largest, difference) if difference == difference else float("inf")
    if largest > TOLERANCE:
        raise UserError(f"the exported network differs from the trained one by {largest:.2g}; it was not written.")
    return largest


def random_observations(spec: EnvSpec, batch: int, seed: int) -> Tensor:
    """[batch, *observation_shape], uniform over all pixels, or normal."""
    random, shape = np.random.default_rng(seed), (batch, *spec.observation_shape)
    if spec.observation_dtype == "uint8":
        return torch.from_numpy(random.integers(0, 256, shape, dtype=np.uint8))
    return torch.from_numpy(random.standard_normal(shape, dtype=np.float32))
