"""A trained network as something that plays."""

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

from async_rl import checkpoint
from async_rl.config import Config
from async_rl.networks import make_network
from async_rl.shared import bind
from async_rl.types import EnvSpec, UserError
from async_rl.user_code import code_named


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


def load(run_or_checkpoint: str | Path, trust_code: bool = False) -> Agent:
    """The agent of a run directory (its latest whole checkpoint) or of a checkpoint file.

    Args:
        run_or_checkpoint: where it is.
        trust_code: whether functions that the file names as its environment or network, ``package.module:function``,
            may be imported and called. Nothing else in a file is ever executed, so without this one from a stranger
            is only data.

    Raises:
        UserError: there is none, it is damaged, or it names functions and is not trusted.
    """
    saved = checkpoint.read(Path(run_or_checkpoint))
    for sentence in saved.passed_over:
        warnings.warn(sentence, RuntimeWarning, stacklevel=2)
    code = code_named(saved.config.env, saved.config.network)
    if code and not trust_code:
        raise UserError(
            f"{saved.path} names code to import, {' and '.join(code)}; "
            "if you know where it comes from, load(..., trust_code=True)."
        )
    network = make_network(saved.config, saved.spec)
    bind(network, saved.parameters)
    return Agent(network.requires_grad_(False), saved.config, saved.spec, saved.progress.total_steps)
