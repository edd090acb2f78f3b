"""A trained network as something that plays."""

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

from async_rl.algorithms import make_algorithm
from async_rl.evaluation import Evaluation, make_protocol
from async_rl.export import SavedNetwork, Which, read_network
from async_rl.match import evaluate


class Agent:
    """Chooses actions by a trained network.

    Every method takes one observation ``[*spec.observation_shape]`` of ``spec.observation_dtype``, or a batch of B of
    them, and raises ValueError for anything else.

    Attributes:
        config: of the run that trained it.
        spec: of the environment it was trained on.
        total_steps: T at which it was saved.
        path: of the file that it comes from.
        network: the network itself; see `async_rl.networks.make_network` for what goes in and comes out.
        has_policy: whether it is one of a3c, with a policy and V(s) instead of Q-values.
    """

    def __init__(self, saved: SavedNetwork):
        self.config = saved.config
        self.spec = saved.spec
        self.total_steps = saved.total_steps
        self.path = saved.path
        self._saved = saved
        self.network: nn.Module = saved.make()
        self.has_policy = saved.config.has_policy

    def q_values(self, observation: np.ndarray) -> np.ndarray:
        """Q(s, a) of each action, [A] float32 or [B, A].

        Raises:
            ValueError: an a3c network, which has none.
        """
        if self.has_policy:
            raise ValueError("an a3c network has no Q-values; use policy(observation) and value(observation).")
        return self._outputs(observation)

    def policy(self, observation: np.ndarray) -> np.ndarray:
        """Probability of each action by an a3c network, [A] float32 or [B, A].

        Raises:
            ValueError: a network of action values, which has no policy of its own.
        """
        if not self.has_policy:
            raise ValueError(f"a network of {self.config.algorithm} has no policy; use q_values(observation).")
        return torch.softmax(torch.from_numpy(self._outputs(observation)[..., :-1]), dim=-1).numpy()

    def value(self, observation: np.ndarray) -> np.ndarray:
        """V(s), [] float32 or [B]: what an a3c network says, else the largest Q(s, a)."""
        outputs = self._outputs(observation)
        return outputs[..., -1] if self.has_policy else outputs.max(axis=-1)

    def act(
        self, observation: np.ndarray, epsilon: float = 0.0, random: np.random.Generator | None = None
    ) -> int | np.ndarray:
        """An action, or for a batch [B] int64: the one of the largest value; a3c draws it from its policy.

        Actions count from 0, those of a Discrete space that starts elsewhere, too: add its ``start``.

        Args:
            observation: one, or a batch.
            epsilon: probability of a random action instead, for each observation on its own; a3c has none.
            random: source of all chance; default: a fresh one at each call.

        Raises:
            ValueError: an epsilon that is no probability, or above 0 for an a3c network.
        """
        if not 0 <= epsilon <= 1:
            raise ValueError(f"epsilon is a probability, between 0 and 1, got {epsilon}.")
        if epsilon and self.has_policy:
            raise ValueError(f"an a3c network acts by its policy and has no epsilon, got {epsilon}.")
        outputs = self._outputs(observation)
        rows = np.atleast_2d(outputs)
        random = random or np.random.default_rng()
        generators = [random] * len(rows)
        actions = make_algorithm(self.config).policy(rows, np.full(len(rows), epsilon), generators)
        return int(actions[0]) if outputs.ndim == 1 else actions

    def evaluate(
        self,
        episodes: int = 30,
        epsilon: float | None = None,
        no_ops: int | None = None,
        sticky: float | None = None,
        seed: int = 0,
        workers: int | None = None,
    ) -> Evaluation:
        """Play whole games in processes of their own; the same as ``python -m launch.evaluate``, which has the details.

        A script calls this under ``if __name__ == "__main__":``, see `async_rl.train`.

        Args:
            episodes: games.
            epsilon: probability of a random action; default 0.05; a3c has none.
            no_ops: Atari: most no-op actions at the start of a game; default: as in training.
            sticky: Atari: probability that the emulator repeats the previous action; default: as in training.
            seed: of all random numbers.
            workers: processes; default: one a core.

        Raises:
            UserError: a value out of range, or an environment that cannot be made or fails.
        """
        protocol = make_protocol(self.config, epsilon, episodes=episodes, no_ops=no_ops, sticky=sticky, seed=seed)
        return evaluate(self._saved, protocol, workers)

    def _outputs(self, observation: np.ndarray) -> np.ndarray:
        observation = np.asarray(observation)
        shape, dtype = self.spec.observation_shape, self.spec.observation_dtype
        if dtype == "float32" and observation.dtype.kind in "fiu":  # as in training
            observation = observation.astype(dtype)
        batch = observation.ndim == len(shape) + 1
        if observation.shape[batch:] != shape or str(observation.dtype) != dtype:
            raise ValueError(
                f"expected an observation {dtype} {shape} or a batch of them, as AsGymnasium(agent.config) gives them, "
                f"got {observation.dtype} {observation.shape}"
            )
        with torch.no_grad():
            inputs = torch.from_numpy(np.array(observation, order="C"))  # a copy: others' code may write into it
            outputs = self.network(inputs if batch else inputs[None]).numpy()
        return outputs if batch else outputs[0]


def load(run_or_file: str | Path, checkpoint: Which = "latest", trust_code: bool = False) -> Agent:
    """The agent of a run directory (its latest or best whole checkpoint), of a checkpoint or of an exported network.

    Args:
        run_or_file: where it is.
        checkpoint: which one of a run directory.
        trust_code: whether functions that the file names as its environment or network, ``package.module:function``,
            may be imported and called. Nothing else in a file is ever executed: without this it is only data.

    Raises:
        UserError: there is none, it is damaged, was written by another version, or names functions and is not trusted.
    """
    saved = read_network(Path(run_or_file), checkpoint, trust_code)
    for sentence in saved.passed_over:
        warnings.warn(sentence, RuntimeWarning, stacklevel=2)
    return Agent(saved)
