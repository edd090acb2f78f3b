"""Networks as a run would have saved them, without the training; and what users write themselves."""

import dataclasses
from pathlib import Path

import gymnasium
import torch
from torch import nn

from async_rl.config import Config
from async_rl.envs import describe
from async_rl.export import SavedNetwork, write_network
from async_rl.networks import make_network
from async_rl.shared import flatten, layout


def untrained(config: Config) -> SavedNetwork:
    """The network that a run of ``config`` starts with."""
    spec = describe(config)
    network = make_network(config, spec)
    return SavedNetwork(Path("untrained"), config, spec, layout(network), 1234, 5.5, flatten(network).numpy())


def light_run(config: Config, run_dir: Path) -> SavedNetwork:
    """A run directory that holds nothing but the network."""
    saved = untrained(config)
    write_network(saved, run_dir / "checkpoints" / "latest.safetensors")
    return dataclasses.replace(saved, path=run_dir / "checkpoints" / "latest.safetensors")


class OwnNetwork(nn.Module):
    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.first, self.second = nn.Linear(inputs, 8), nn.Linear(8, outputs)

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        return self.second(torch.tanh(self.first(observation.flatten(1).float())))


def own_network(shape: tuple[int, ...], outputs: int) -> nn.Module:
    return OwnNetwork(torch.Size(shape).numel(), outputs)


class RulingOut(OwnNetwork):
    """Its first action is never chosen."""

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        outputs = super().forward(observation)
        return torch.cat((torch.full_like(outputs[:, :1], -torch.inf), outputs[:, 1:]), dim=1)


def ruling_out(shape: tuple[int, ...], outputs: int) -> nn.Module:
    return RulingOut(torch.Size(shape).numel(), outputs)


class CountingRows(OwnNetwork):
    """A loop over the rows, of which a trace has as many as it was made of."""

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        return torch.stack([super(CountingRows, self).forward(row[None])[0] for row in observation])


def counting_rows(shape: tuple[int, ...], outputs: int) -> nn.Module:
    return CountingRows(torch.Size(shape).numel(), outputs)


def dropping(shape: tuple[int, ...], outputs: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(*shape, 64), nn.Dropout(0.5), nn.Linear(64, outputs))


class Failing(gymnasium.Wrapper):
    """CartPole that breaks in the third step of a game."""

    def step(self, action):  # type: ignore[no-untyped-def]
        self.steps = getattr(self, "steps", 0) + 1
        if self.steps == 3:
            raise RuntimeError("the pole broke")
        return super().step(action)


def failing() -> gymnasium.Env:
    return Failing(gymnasium.make("CartPole-v1"))


class Growing(gymnasium.Env):
    """Each game, of all environments of the process, is longer than the one before, whatever the seed."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,))
    action_space = gymnasium.spaces.Discrete(2)
    games = 0

    def reset(self, *, seed=None, options=None):  # type: ignore[no-untyped-def]
        Growing.games += 1
        self.left = 3 * Growing.games
        return self.observation_space.sample(), {}

    def step(self, action):  # type: ignore[no-untyped-def]
        self.left -= 1
        return self.observation_space.sample(), 0.5, self.left == 0, False, {}


def make_growing() -> Growing:
    return Growing()
