"""Flat vectors behind modules: a whole-network operation is one call, and sharing a network is sharing a vector."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

Layout = dict[str, tuple[int, ...]]


def layout(module: nn.Module) -> Layout:
    """Name -> shape of every parameter, in the order in which they stand in a flat vector."""
    return {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}


def same_layout(one: Layout, other: Layout) -> bool:
    """Whether a flat vector of the one is one of the other: names, shapes and their order."""
    return list(one.items()) == list(other.items())


def parameter_count(module: nn.Module) -> int:
    """Length of the flat vector that holds all parameters of ``module``."""
    return sum(parameter.numel() for parameter in module.parameters())


def flatten(module: nn.Module) -> Tensor:
    """A copy of all parameters as one float32 vector ``[P]``."""
    return torch.cat([parameter.detach().reshape(-1) for parameter in module.parameters()])


def bind(module: nn.Module, vector: Tensor) -> None:
    """Re-point every parameter of ``module`` at its view of ``vector [P]``: writing one changes the other.

    The values of ``vector`` win. Raises ValueError if the length differs.
    """
    for parameter, view in views(module, vector):
        parameter.data = view


def bind_gradients(module: nn.Module, vector: Tensor) -> None:
    """Point the gradient of every parameter at its view of ``vector [P]``, so that backward passes add up there."""
    for parameter, view in views(module, vector):
        parameter.grad = view


def views(module: nn.Module, vector: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Every parameter of ``module``, and its view of ``vector`` [P]; raises ValueError if the length differs."""
    if vector.shape != (parameter_count(module),):
        raise ValueError(f"a vector of {parameter_count(module)} numbers is needed, got shape {tuple(vector.shape)}")
    start = 0
    for parameter in module.parameters():
        yield parameter, vector[start : start + parameter.numel()].view(parameter.shape)
        start += parameter.numel()
