"""From a configuration to parts: the only place that assembles."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from async_rl.algorithms import Algorithm, Minibatches, Segment, make_algorithm
from async_rl.config import Config
from async_rl.envs import Streams, make_environment
from async_rl.networks import make_network
from async_rl.optimizers import OPTIMIZERS, Optimizer, make_optimizer
from async_rl.passes import Passes, make_passes
from async_rl.policies import draw_final_epsilon, ladder
from async_rl.precision import compute_dtype
from async_rl.replay import Experience, FromReplay, Online, Proportional, Replay, Uniform
from async_rl.rewards import REWARDS, Shape
from async_rl.rounded import Rounded
from async_rl.seeding import (
    STATE_SIZE,
    final_epsilon_generator,
    minibatch_generator,
    replay_generator,
    restore,
    stream_generators,
)
from async_rl.shared import Row, SharedTable, bind, bind_gradients, flatten, parameter_count
from async_rl.stopwatch import PHASES, Stopwatch
from async_rl.types import EnvSpec, UserError

GAMES_RING = 4096
"""Finished games a worker can hold until the supervisor reads them; it reads ten times a second."""

SUMS = ("td_loss", "value", "gradient_norm")
"""Columns of the row ``sums``: of each update the means over its steps and the norm of its gradient, added up."""

EXCHANGE = ("exchanges", "bytes", "seconds", "staleness_steps")
"""Columns of the row ``exchange``: totals of an island's exchanges with the others, see `async_rl.cluster`."""

GAME_FIELDS = ("total_steps", "stream", "score", "length", "epsilon")
"""Columns of the row ``games``."""


@dataclass(frozen=True)
class Parts:
    """What one worker works with; every tensor is made once, here."""

    streams: Streams
    segment: Segment
    passes: Passes  # of the network that is bound to ``parameters``
    parameters: Tensor  # [P], the shared theta itself or, where the algorithm says so, a private copy
    target: Passes  # of the network that is bound to the shared target; without one, of the network that learns
    gradient: Tensor  # [P], private; the network's gradients are views of it
    limited_gradients: list[Tensor]  # views of ``gradient`` whose norms are limited, each for itself
    optimizer: Optimizer
    algorithm: Algorithm
    experience: Experience
    minibatches: Minibatches | None  # None: a segment, or what is drawn from replay, makes one update
    shape_rewards: Shape
    final_epsilons: np.ndarray  # [E]
    emulator_generators: list[np.random.Generator]
    policy_generators: list[np.random.Generator]
    stopwatch: Stopwatch


def table_rows(config: Config, parameters: int) -> list[Row]:
    """Everything that processes share. W workers, E streams of each, P ``parameters``."""
    workers, streams = config.workers, config.envs_per_worker
    lock_free = "all workers, lock-free"
    statistics = [Row(name, (parameters,), "float32", lock_free, "optimiser") for name in shared_statistics(config)]
    return [
        Row("parameters", (parameters,), "float32", lock_free, "theta"),
        Row("target", (parameters,), "float32", "the refresher", "theta^-"),
        *statistics,
        Row("steps", (workers,), "int64", "own worker; of others the island", "steps; T is their sum"),
        Row("updates", (workers,), "int64", "own worker", "updates applied"),
        Row("dropped", (workers,), "int64", "own worker", "gradients dropped because they were not finite"),
        Row("odd_steps", (workers,), "int64", "own worker", "steps with a reward or observation that was not finite"),
        Row("largest_reward", (workers,), "float64", "own worker", "largest |reward| seen, but where they are raw"),
        Row("sums", (workers, len(SUMS)), "float64", "own worker", "totals of SUMS since the start"),
        Row("phases", (workers, len(PHASES)), "float64", "own worker", "seconds in each of PHASES"),
        Row("exchange", (workers, len(EXCHANGE)), "float64", "own island", "totals of EXCHANGE, at its first worker"),
        Row("heartbeat", (workers,), "float64", "own worker", "time.monotonic() of the last sign of life, seconds"),
        Row("environments_at", (workers,), "float64", "own worker", "the same, as one was made, begun or stepped"),
        Row("games", (workers, GAMES_RING, len(GAME_FIELDS)), "float64", "own worker", "ring of finished games"),
        Row("games_written", (workers,), "int64", "own worker", "games ever put into the ring"),
        Row("random_states", (workers, streams, 2, STATE_SIZE), "uint64", "own worker", "emulator, policy generators"),
        Row("target_refreshes", (1,), "int64", "the refresher", "multiples of its interval at the last one"),
        Row("refresher", (1,), "int64", "supervisor", "the worker whose duty it is to refresh the target"),
        Row("stop", (1,), "int64", "supervisor", "1: workers end after the segment they are in"),
    ]


BOOKKEEPING = 53
"""Bytes that a step takes in a replay memory beside its screen: 21 in `Rings`, at most 32 in the sampler's sum tree."""


def stored_bytes(spec: EnvSpec) -> float:
    """What one step takes in a replay memory: of a stack of screens only the newest, and some numbers beside it."""
    return math.prod(spec.observation_shape) * np.dtype(spec.observation_dtype).itemsize / spec.stack + BOOKKEEPING


def shared_statistics(config: Config) -> tuple[str, ...]:
    """Names of the optimiser's vectors that are rows of the table: all, or none where each worker has its own."""
    return OPTIMIZERS[config.optimizer].statistics if config.statistics == "shared" else ()


def make_table(config: Config, spec: EnvSpec) -> SharedTable:
    """The shared table of a new run, with initial parameters and every count at 0.

    ``heartbeat`` stays NaN and ``random_states`` at its highest value until a worker writes them.
    """
    network = make_network(config, spec)
    table = SharedTable(table_rows(config, parameter_count(network)))
    initialise(table, config, spec)
    return table


def initialise(table: SharedTable, config: Config, spec: EnvSpec) -> None:
    """Put everything in a table into the state in which `make_table` gives it."""
    table.clear()
    parameters = flatten(make_network(config, spec))
    for name in ("parameters", "target"):
        table.tensor(name).copy_(parameters)
    zero_counts(table, config)


def zero_counts(table: SharedTable, config: Config) -> None:
    """Put all that is counted and summed, and the statistics of the optimiser, at 0."""
    counts = [row.name for row in table.rows if row.dtype == "int64"]
    for name in (*counts, "largest_reward", "sums", "phases", "exchange", *shared_statistics(config)):
        table[name].fill(0)


def unread_games(table: SharedTable, worker: int, read: int) -> tuple[np.ndarray, int]:
    """Records [n, fields] of the games of a worker from number ``read`` on, and the number of the next one.

    Without those that it has overwritten meanwhile, or may be overwriting in this moment.
    """
    ring, count = table["games"][worker], table["games_written"]
    written = int(count[worker])
    numbers = np.arange(max(read, written - GAMES_RING), written)
    games = ring[numbers % GAMES_RING]
    return games[(numbers > int(count[worker]) - GAMES_RING) & ~np.isnan(games[:, 0])], written


def make_parts(config: Config, index: int, incarnation: int, table: SharedTable, first_step: int = 0) -> Parts:
    """The parts of worker ``index``; random states that a checkpoint left in the table win over those of the seed."""
    start = (index, incarnation, first_step)  # T where the session began, see `seeding`
    emulators, policies = stream_generators(config.seed, *start, config.envs_per_worker)
    _restore_generators(emulators, policies, table["random_states"][index])
    stopwatch = Stopwatch()
    environments = (make_environment(config, generator, stopwatch) for generator in emulators)
    streams = Streams(environments, _sign_of_life(table, index))
    spec, algorithm = streams.spec, make_algorithm(config)
    network, shared = make_network(config, spec), table.tensor("parameters")
    parameters = shared.clone() if algorithm.copies_parameters else shared
    if parameter_count(network) != len(parameters):
        raise UserError(f"{spec.name} has other observations or actions in this worker than it had in the launcher.")
    bind(network, parameters)
    gradient = torch.zeros_like(shared)
    bind_gradients(network, gradient)
    dtype = compute_dtype(config, network)
    passes = make_passes(network, parameters, gradient, dtype)
    target = _target(config, spec, table, dtype, passes) if config.uses_target else passes
    return Parts(
        streams=streams,
        segment=Segment(spec, config.t_max, config.envs_per_worker),
        passes=passes,
        parameters=parameters,
        target=target,
        gradient=gradient,
        limited_gradients=_limited_gradients(config, network, gradient),
        optimizer=_optimizer(config, index, table, gradient, passes.rounded),
        algorithm=algorithm,
        minibatches=_minibatches(config, spec, minibatch_generator(config.seed, *start)),
        experience=_experience(config, spec, replay_generator(config.seed, *start)),
        shape_rewards=REWARDS[config.rewards](table["largest_reward"], index),
        final_epsilons=final_epsilons(config, index),
        emulator_generators=emulators,
        policy_generators=policies,
        stopwatch=stopwatch,
    )


def _sign_of_life(table: SharedTable, index: int) -> Callable[[], None]:
    """What a worker's streams call: to make an environment, to begin a game, and even a step, may take seconds."""
    environments_at = table["environments_at"]

    def show() -> None:
        """Now is the time."""
        environments_at[index] = time.monotonic()

    return show


def _target(config: Config, spec: EnvSpec, table: SharedTable, dtype: torch.dtype, beside: Passes) -> Passes:
    network = make_network(config, spec).requires_grad_(False)
    parameters = table.tensor("target")
    bind(network, parameters)
    return make_passes(network, parameters, torch.empty(0), dtype, beside)


def _limited_gradients(config: Config, network: nn.Module, gradient: Tensor) -> list[Tensor]:
    if config.clip_gradients == "whole":
        return [gradient]
    return [parameter.grad for parameter in network.parameters() if parameter.grad is not None]


def _experience(config: Config, spec: EnvSpec, random: np.random.Generator) -> Experience:
    """What a worker learns from; its share of the replay memory, if there is one, starts empty."""
    if not config.replay:
        return Online()
    share, batch = config.replay // config.workers, Segment(spec, 1, config.batch_size)
    starts = min(config.learning_starts // config.workers, share // 4)  # games of one step take two rows for each
    sampler = Proportional(config.steps) if config.prioritized else Uniform()
    return FromReplay(Replay(spec, share, config.envs_per_worker, sampler, random), batch, starts)


def _minibatches(config: Config, spec: EnvSpec, random: np.random.Generator) -> Minibatches | None:
    return Minibatches(Segment(spec, 1, config.batch_size), config.epochs, random) if config.epochs > 1 else None


def _optimizer(config: Config, index: int, table: SharedTable, gradient: Tensor, rounded: Rounded | None) -> Optimizer:
    """Over the shared parameters, with statistics in the table or, where each worker has its own, new ones."""
    shared = shared_statistics(config)
    statistics = {
        name: table.tensor(name) if name in shared else torch.zeros_like(gradient)
        for name in OPTIMIZERS[config.optimizer].statistics
    }
    updates = table["updates"]
    own = int(updates[index])

    def count() -> int:
        """Updates that the statistics have seen: of all workers, or of this one since it was started."""
        return int(updates.sum()) if shared else int(updates[index]) - own

    return make_optimizer(config, table.tensor("parameters"), gradient, rounded, statistics, count)


def final_epsilons(config: Config, index: int) -> np.ndarray:
    """Final epsilon of each stream of worker ``index``, [E]; a3c has none: 0."""
    if config.has_policy:
        return np.zeros(config.envs_per_worker)
    if config.exploration == "ladder":
        first = index * config.envs_per_worker
        return ladder(config.streams)[first : first + config.envs_per_worker]
    return np.array(
        [
            draw_final_epsilon(
                config.final_epsilons,
                config.final_epsilon_probabilities,
                final_epsilon_generator(config.seed, index, stream),
            )
            for stream in range(config.envs_per_worker)
        ]
    )


def _restore_generators(
    emulators: list[np.random.Generator], policies: list[np.random.Generator], states: np.ndarray
) -> None:
    for stream, pair in enumerate(zip(emulators, policies, strict=True)):
        for generator, numbers in zip(pair, states[stream], strict=True):
            if numbers[-2] <= 1:  # has_uint32 is 0 or 1; memory that was never written holds the highest value
                restore(generator, numbers)
