"""Trains pfrl's A3C as its Atari example does, and prints steps and seconds; started by `benchmarks.peers`.

What is not pfrl's own here: the emulator, which speaks the old Gym's language to it, and the stopwatch.
"""

import multiprocessing
import tempfile
from dataclasses import dataclass
from typing import Any

import gym
import numpy as np
import pfrl
import torch
import tyro
from pfrl.agents.a3c import A3C
from pfrl.experiments import LinearInterpolationHook, train_agent_async
from pfrl.optimizers import SharedRMSpropEpsInsideSqrt
from pfrl.policies import SoftmaxCategoricalHead
from pfrl.wrappers import atari_wrappers
from torch import nn

from benchmarks import peers_common as common


@dataclass(frozen=True)
class Options:
    """Measure a training run of pfrl's A3C."""

    game: str = "pong"
    """Plain name of an Atari game."""
    processes: int = 2
    """Processes, with one emulator each."""
    seconds: float = 15.0
    """Seconds that are measured, after the warm-up."""


class OldGym(gym.Env):
    """The emulator with the signatures of Gym 0.21, and pfrl's mark of a game that was cut."""

    def __init__(self, game: str, seed: int):
        self._emulator = common.emulator(game)
        self._emulator.reset(seed=seed)
        self.ale = self._emulator.ale
        self.np_random = self._emulator.np_random
        self.action_space = gym.spaces.Discrete(len(self._emulator.get_action_meanings()))
        self.observation_space = gym.spaces.Box(0, 255, self._emulator.observation_space.shape, np.uint8)

    def get_action_meanings(self) -> list[str]:
        """Names of the actions."""
        return self._emulator.get_action_meanings()

    def reset(self) -> np.ndarray:
        """Start a game."""
        return self._emulator.reset()[0]

    def step(self, action: int) -> tuple[np.ndarray, float, bool, dict[str, Any]]:
        """Play one frame."""
        screen, reward, terminated, truncated, _ = self._emulator.step(action)
        return screen, reward, terminated, {"needs_reset": True} if truncated else {}


def make_environment(game: str, seed: int) -> gym.Env:
    """The emulator in pfrl's wrappers, those of its ``make_atari`` and ``wrap_deepmind``."""
    environment = atari_wrappers.NoopResetEnv(OldGym(game, seed), noop_max=30)
    environment = atari_wrappers.MaxAndSkipEnv(environment, skip=4)
    return atari_wrappers.wrap_deepmind(environment, episode_life=False)


def make_agent(actions: int) -> A3C:
    """The agent of pfrl's example: the network, optimiser and settings of Mnih et al. 2016."""
    model = nn.Sequential(
        nn.Conv2d(4, 16, 8, stride=4),
        nn.ReLU(),
        nn.Conv2d(16, 32, 4, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(2592, 256),
        nn.ReLU(),
        pfrl.nn.Branched(nn.Sequential(nn.Linear(256, actions), SoftmaxCategoricalHead()), nn.Linear(256, 1)),
    )
    optimizer = SharedRMSpropEpsInsideSqrt(
        model.parameters(), lr=common.LEARNING_RATE, alpha=common.RMS_DECAY, eps=common.RMS_EPSILON
    )
    return A3C(
        model,
        optimizer,
        t_max=common.T_MAX,
        gamma=common.GAMMA,
        beta=common.ENTROPY_WEIGHT,
        phi=lambda screens: np.asarray(screens, dtype=np.float32) / 255,
        max_grad_norm=common.MAX_GRADIENT_NORM,
    )


def set_learning_rate(environment: gym.Env, agent: A3C, value: float) -> None:
    """What pfrl's linear schedule calls at each step."""
    for group in agent.optimizer.param_groups:
        group["lr"] = value


class Measure:
    """Called by every process after each of its steps; the first process stops them all when time is over."""

    def __init__(self, processes: int, seconds: float, stop_event: Any):
        self._learns = multiprocessing.RawArray("b", processes)
        self._stopwatch = common.Stopwatch(seconds)
        self._stop_event = stop_event

    def __call__(self, environment: gym.Env, agent: A3C, total_steps: int) -> None:
        """Count; ``total_steps`` are those of all processes."""
        self._learns[agent.process_idx] = agent.t_start > 0  # its first update is done
        if agent.process_idx == 0 and all(self._learns) and self._stopwatch.over(total_steps):
            self._stop_event.set()


def main() -> None:
    """Train, and print the measurement."""
    options = tyro.cli(Options, prog="python -m benchmarks.peers_pfrl")
    multiprocessing.set_start_method("fork")  # pfrl hands closures to its processes
    torch.set_num_threads(1)  # inherited by each process: with more, they take the cores from each other
    stop_event = multiprocessing.Event()
    measure = Measure(options.processes, options.seconds, stop_event)
    schedule = LinearInterpolationHook(common.TOTAL_STEPS, common.LEARNING_RATE, 0, set_learning_rate)
    with tempfile.TemporaryDirectory() as folder:
        train_agent_async(
            outdir=folder,
            processes=options.processes,
            make_env=lambda index, test: make_environment(options.game, seed=index),
            steps=common.TOTAL_STEPS,
            eval_interval=None,
            agent=make_agent(len(common.emulator(options.game).get_action_meanings())),
            global_step_hooks=[schedule, measure],
            random_seeds=list(range(options.processes)),
            stop_event=stop_event,
        )


if __name__ == "__main__":
    main()
