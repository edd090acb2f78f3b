"""How well the network's input lets gradient descent tell states apart.

``python -m benchmarks.conditioning``: eigenvalues of the tangent kernel K(s, s') = grad Q(s, a) . grad Q(s', a) of
fresh networks over states of random play (Jacot et al. 2018, arXiv 1806.07572). Plain gradient descent learns along an
eigenvector at a rate proportional to its eigenvalue, and is stable only as long as its rate suits the first one: the
ratio of the first to the n-th eigenvalue is about the number of updates that the n-th direction takes.
"""

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import nn

from async_rl.config import Config
from async_rl.envs import make_environment
from async_rl.networks import make_network
from async_rl.shared import bind_gradients, parameter_count
from async_rl.types import UserError
from benchmarks import command_line, table

Pixels = Literal["standardized", "unit"]
RANKS = (1, 5, 20)


@dataclass(frozen=True)
class Options:
    """Measure the spectrum of the fresh network's tangent kernel."""

    games: tuple[str, ...] = ("pong", "breakout", "space_invaders")
    """Games whose states are looked at."""
    states: int = 100
    """States of random play, 15 steps apart."""
    seeds: int = 3
    """Initialisations; the table gives medians."""
    output: Path | None = None
    """CSV file for the results."""


def states(game: str, count: int) -> torch.Tensor:
    """Observations [count, *observation_shape] of random play, 15 steps apart."""
    random = np.random.default_rng(0)
    environment = make_environment(Config(env=game), random)
    observation = np.zeros(environment.spec.observation_shape, environment.spec.observation_dtype)
    environment.reset(observation)
    seen = []
    for step in range(15 * count):
        if environment.step(int(random.integers(len(environment.spec.action_names))), observation).over:
            environment.reset(observation)
        if step % 15 == 0:
            seen.append(observation.copy())
    return torch.from_numpy(np.stack(seen))


def eigenvalues(network: nn.Module, observations: torch.Tensor) -> torch.Tensor:
    """Eigenvalues of the tangent kernel of the first action's value, divided by the number of states, largest first."""
    gradient = torch.zeros(parameter_count(network))
    bind_gradients(network, gradient)
    gradients = []
    for observation in observations:
        gradient.zero_()
        network(observation[None])[0, 0].backward()
        gradients.append(gradient.clone())
    stacked = torch.stack(gradients).double()
    return torch.linalg.eigvalsh(stacked @ stacked.T).flip(0) / len(observations)


def measure_all(options: Options) -> None:
    """Measure, print the table and write the CSV file."""
    if options.states < RANKS[-1]:
        raise UserError(f"--states must be at least {RANKS[-1]}, got {options.states}.")
    header = ("game", "pixels", *(f"eigenvalue_{rank}" for rank in RANKS), *(f"ratio_{rank}" for rank in RANKS[1:]))
    rows = []
    print(" ".join(f"{title:>14}" for title in header))
    for game in options.games:
        observations = states(game, options.states)
        spec = make_environment(Config(env=game), np.random.default_rng(0)).spec
        for pixels in get_args(Pixels):
            configs = [Config(env=game, pixels=pixels, seed=seed) for seed in range(options.seeds)]
            spectra = [eigenvalues(make_network(config, spec), observations).tolist() for config in configs]
            values = [statistics.median(spectrum[rank - 1] for spectrum in spectra) for rank in RANKS]
            ratios = [statistics.median(s[0] / s[rank - 1] for s in spectra) for rank in RANKS[1:]]
            rows.append((game, pixels, *(f"{value:.3g}" for value in values), *(f"{ratio:.0f}" for ratio in ratios)))
            print(" ".join(f"{value:>14}" for value in rows[-1]), flush=True)
    table.write(options.output, header, rows)


def main() -> None:
    """Run the command."""
    command_line.run(Options, "benchmarks.conditioning", measure_all)


if __name__ == "__main__":
    main()
