"""Forward and backward passes of the network that learns: what acting has computed is not computed again to learn.

The paper differentiates at the very parameters it acts with (Mnih et al. 2016, arXiv 1602.01783, Algorithm 1), so the
pass that chose an action holds all that its gradient needs. `async_rl.chain.Chain` keeps it: of the four passes that a
step of one-step Q-learning takes (act, value the next observation, forward, backward) the third goes. It takes the
published networks, and any ``nn.Sequential`` of the same layers, and works on memory that is made once: gradients are
written where the optimiser reads them. `Autograd` takes every other module, and passes again to learn.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from async_rl.chain import Chain, is_chain
from async_rl.rounded import Rounded


class Passes(Protocol):
    """How a worker uses a network, the target or the one that learns, with parameters and gradients in flat vectors."""

    rounded: Rounded | None
    """What layers compute with that compute in bfloat16 by hand; an optimiser may write it, see there."""

    def refresh(self) -> None:
        """Take the parameters as they are now.

        Some layers work on a copy of theirs, rounded or in another order, which is as old as the last call; all others
        on the live ones.
        """

    def __call__(self, observation: Tensor) -> Tensor:
        """Outputs [B, outputs] for observations [B, *observation_shape]; nothing is kept."""

    def act(self, observation: Tensor, step: int, steps: int, unseen: Sequence[int] | None = None) -> Tensor:
        """Outputs [E, outputs] for what E streams see at ``step`` of a segment of ``steps`` steps.

        It has to stay as it is until `backward`.

        ``unseen``: the streams for which this memory has changed since it was last shown to this network or to the one
        beside it; None: all may have. It makes no difference where something else was shown after it.
        """

    def kept(self, observation: Tensor) -> Tensor:
        """Outputs [T, E, outputs] of the whole segment [T, E, *observation_shape] that `act` has seen, to learn from.

        A `backward` has to follow before the next `act`.
        """

    def forward(self, observation: Tensor) -> Tensor:
        """The same for observations [T, E, *observation_shape] that `act` has not seen."""

    def backward(self, gradient: Tensor) -> None:
        """Write the gradients of the parameters, given that [T, E, outputs] of the outputs."""


class Autograd:
    """Passes of any module, differentiated by torch.

    Args:
        network: its parameters' gradients are views of ``gradient``.
        gradient: [P].
        dtype: bfloat16 for torch's automatic mixed precision, else float32.
    """

    def __init__(self, network: nn.Module, gradient: Tensor, dtype: torch.dtype):
        self.rounded: Rounded | None = None
        self._network = network
        self._gradient = gradient
        self._dtype = dtype

    def refresh(self) -> None:
        """See `Passes`."""

    @torch.no_grad()
    def __call__(self, observation: Tensor) -> Tensor:
        """See `Passes`."""
        return self._forward(observation)

    def act(self, observation: Tensor, step: int, steps: int, unseen: Sequence[int] | None = None) -> Tensor:
        """See `Passes`."""
        return self(observation)

    def kept(self, observation: Tensor) -> Tensor:
        """See `Passes`."""
        return self.forward(observation)

    def forward(self, observation: Tensor) -> Tensor:
        """See `Passes`."""
        self._outputs = self._forward(observation.flatten(0, 1))
        return self._outputs.detach().unflatten(0, observation.shape[:2])

    def backward(self, gradient: Tensor) -> None:
        """See `Passes`."""
        self._gradient.zero_()
        self._outputs.backward(gradient.flatten(0, 1))
        del self._outputs

    def _forward(self, observation: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self._dtype == torch.bfloat16):
            return self._network(observation.clone()).float()  # others' code may write into it


def make_passes(
    network: nn.Module,
    parameters: Tensor,
    gradient: Tensor,
    dtype: torch.dtype = torch.float32,
    beside: Passes | None = None,
) -> Passes:
    """The fastest passes for ``network``, which is bound to the vectors ``parameters`` and ``gradient`` [P].

    ``dtype`` is what layers compute in; parameters, outputs and gradients are float32 in any case. ``beside`` are those
    of another network of the same kind in the same dtype, which is shown the same observations.
    """
    if not is_chain(network):
        return Autograd(network, gradient, dtype)
    rounded = Rounded(parameters) if dtype == torch.bfloat16 else None
    return Chain(network, rounded, beside if isinstance(beside, Chain) else None)
