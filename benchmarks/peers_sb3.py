"""Trains Stable-Baselines3's A2C or DQN, and prints steps and seconds; started by `benchmarks.peers`."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
import tyro
from stable_baselines3 import A2C, DQN
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_atari_env
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecFrameStack
from torch import nn

from benchmarks import peers_common as common

LEARNING_STARTS = 500
"""DQN: steps before the first update."""


@dataclass(frozen=True)
class Options:
    """Measure a training run of Stable-Baselines3."""

    game: str = "pong"
    """Plain name of an Atari game."""
    algorithm: Literal["a2c", "dqn"] = "a2c"
    """Algorithm."""
    emulators: int = 8
    """Emulators."""
    emulators_in: Literal["one-process", "own-processes"] = "one-process"
    """Where the emulators run: in the learner (DummyVecEnv), or in a process each (SubprocVecEnv)."""
    threads: int = 1
    """Threads of torch."""
    seconds: float = 15.0
    """Seconds that are measured, after the warm-up."""


class NipsNetwork(BaseFeaturesExtractor):
    """The hidden layers of Mnih et al. 2013 and 2016, which Stable-Baselines3 does not bring along."""

    def __init__(self, observation_space: Any):
        super().__init__(observation_space, features_dim=256)
        self.layers = nn.Sequential(
            nn.Conv2d(4, 16, 8, stride=4),
            nn.ReLU(),
            nn.Conv2d(16, 32, 4, stride=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(2592, 256),
            nn.ReLU(),
        )

    def forward(self, screens: torch.Tensor) -> torch.Tensor:
        """[N, 4, 84, 84] -> [N, 256]."""
        return self.layers(screens)


POLICY = {"features_extractor_class": NipsNetwork, "net_arch": []}


class Measure(BaseCallback):
    """Called after each step of all emulators; stops the training when time is over."""

    def __init__(self, seconds: float):
        super().__init__()
        self._stopwatch = common.Stopwatch(seconds)

    def _on_step(self) -> bool:
        learns = self.model._n_updates > 0
        return not (learns and self._stopwatch.over(self.num_timesteps))


def make_environment(options: Options) -> VecEnv:
    """The emulators in the library's own Atari wrappers."""
    environments = make_atari_env(
        common.emulator,
        n_envs=options.emulators,
        seed=0,
        env_kwargs={"game": options.game},
        wrapper_kwargs={"terminal_on_life_loss": False},
        vec_env_cls=DummyVecEnv if options.emulators_in == "one-process" else SubprocVecEnv,
    )
    return VecFrameStack(environments, n_stack=4)


def make_model(options: Options, environment: VecEnv) -> BaseAlgorithm:
    """A2C with the settings of A3C in Mnih et al. 2016; DQN with those of Mnih et al. 2015, but the library's Adam.

    DQN explores at its final epsilon from the first update on, as it does in nearly all of a long run: the library
    saves the forward pass of a random action. Its memory holds 10,000 steps, 0.6 GB.
    """
    if options.algorithm == "a2c":
        return A2C(
            "CnnPolicy",
            environment,
            learning_rate=lambda left: left * common.LEARNING_RATE,
            n_steps=common.T_MAX,
            gamma=common.GAMMA,
            ent_coef=common.ENTROPY_WEIGHT,
            max_grad_norm=common.MAX_GRADIENT_NORM,
            rms_prop_eps=common.RMS_EPSILON,
            policy_kwargs=POLICY,
            device="cpu",
        )
    return DQN(
        "CnnPolicy",
        environment,
        buffer_size=10_000,
        learning_starts=LEARNING_STARTS,
        batch_size=32,
        gamma=common.GAMMA,
        train_freq=4,
        target_update_interval=10_000,
        exploration_fraction=LEARNING_STARTS / common.TOTAL_STEPS,
        exploration_final_eps=0.1,
        policy_kwargs=POLICY,
        device="cpu",
    )


def main() -> None:
    """Train, and print the measurement."""
    options = tyro.cli(Options, prog="python -m benchmarks.peers_sb3")
    torch.set_num_threads(options.threads)
    environment = make_environment(options)
    try:
        make_model(options, environment).learn(common.TOTAL_STEPS, callback=Measure(options.seconds))
    finally:
        environment.close()


if __name__ == "__main__":
    main()
