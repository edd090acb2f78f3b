"""A trained network as something that plays."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from async_rl import checkpoint
from async_rl.config import Config
from async_rl.networks import make_network
from async_rl.shared import bind
from async_rl.types import EnvSpec


class Agent:
    """Chooses actions by a Q-network.

    Attributes:
        config: of the run that trained it.
        spec: of the environment it was trained on.
        total_steps: T at which it was saved.
    """

    def __init__(self, network: nn.Module, config: Config, spec: EnvSpec, total_steps: int):
        self._network = network
        self.config = config
        self.spec = spec
        self.total_steps = total_steps

    @property
    def network(self) -> nn.Module:
        """The network itself: [B, *spec.observation_shape] -> [B, A] float32; [B, A + 1] for a3c."""
        return self._network

    def values(self, observation: np.ndarray) -> np.ndarray:
        """Q(s, a) of one observation [*spec.observation_shape] for each action, [A] float32; a3c: the policy's logits.

        Raises:
            ValueError: the observation has another shape or dtype than ``spec`` says.
        """
        observation = np.asarray(observation)
        expected = (self.spec.observation_shape, self.spec.observation_dtype)
        if (observation.shape, str(observation.dtype)) != expected:
            raise ValueError(f"expected an observation {expected}, got {(observation.shape, str(observation.dtype))}")
        with torch.no_grad():
            outputs = self._network(torch.from_numpy(np.ascontiguousarray(observation))[None])[0]
        return outputs[: len(self.spec.action_names)].numpy()  # a3c has its value behind them

    def act(self, observation: np.ndarray, epsilon: float = 0.0, random: np.random.Generator | None = None) -> int:
        """The action of the largest value or, with probability ``epsilon``, a random one; see `values`."""
        random = random or np.random.default_rng()
        if epsilon > 0 and random.random() < epsilon:
            return int(random.integers(len(self.spec.action_names)))
        return int(self.values(observation).argmax())


def load(run_or_checkpoint: str | Path) -> Agent:
    """The agent of a run directory (its latest checkpoint) or of a checkpoint file.

    Nothing in the file is executed; but where the network is a function of the user's own, that function is called.

    Raises:
        UserError: there is none, or it is damaged.
    """
    saved = checkpoint.read(Path(run_or_checkpoint))
    network = make_network(saved.config, saved.spec)
    bind(network, saved.parameters)
    return Agent(network.requires_grad_(False), saved.config, saved.spec, saved.progress.total_steps)
