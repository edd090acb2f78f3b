"""Random numbers: one seed for the run, one independent generator for each stream and purpose.

``SeedSequence(seed)`` -> worker -> stream -> {emulator, policy}, and so for replay memories, minibatches and others'
code without a generator of its own: for each incarnation of a worker and each T at which a session began, so that no
two streams ever play the same game, and neither a worker that was started again nor one that a resumed run has anew
repeats what was drawn before. The final epsilon of a stream depends on neither: whoever takes over a slot explores as
its predecessor did. Checkpoints hold the states of the streams' generators.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

STATE_SIZE = 6
"""Numbers (uint64) that hold the state of one generator; see `state_of`."""

_FINAL_EPSILON, _NETWORK, _EMULATOR, _POLICY, _LEARNING_RATE, _REPLAY, _EVALUATION, _MINIBATCHES, _OTHERS = range(9)
_LOW = 2**64 - 1

SCHEME = {
    "generators": "Generator(PCG64(SeedSequence(seed, spawn_key=[purpose, worker, stream, incarnation, first_step])))",
    "purposes": {"emulator": _EMULATOR, "policy": _POLICY},
}
"""How the generators of a stream come from the seed, for the record of a run."""


def _generator(seed: int, *key: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))


def network_seed(seed: int) -> int:
    """Seed of the initial parameters."""
    return int(_generator(seed, _NETWORK).integers(2**63))


def learning_rate_generator(seed: int) -> np.random.Generator:
    """For the draw of the run's learning rate."""
    return _generator(seed, _LEARNING_RATE)


def replay_generator(seed: int, worker: int, incarnation: int, first_step: int) -> np.random.Generator:
    """For what one worker draws from its replay memory."""
    return _generator(seed, _REPLAY, worker, incarnation, first_step)


def minibatch_generator(seed: int, worker: int, incarnation: int, first_step: int) -> np.random.Generator:
    """For the orders in which one worker learns from its steps again."""
    return _generator(seed, _MINIBATCHES, worker, incarnation, first_step)


def final_epsilon_generator(seed: int, worker: int, stream: int) -> np.random.Generator:
    """For the draw of one stream's final epsilon."""
    return _generator(seed, _FINAL_EPSILON, worker, stream)


def stream_generators(
    seed: int, worker: int, incarnation: int, first_step: int, streams: int
) -> tuple[list[np.random.Generator], list[np.random.Generator]]:
    """Generators for the emulators and for the policies of one worker's streams."""
    emulators = [_generator(seed, _EMULATOR, worker, stream, incarnation, first_step) for stream in range(streams)]
    policies = [_generator(seed, _POLICY, worker, stream, incarnation, first_step) for stream in range(streams)]
    return emulators, policies


def evaluation_seed(seed: int) -> int:
    """Seed of the evaluations during training: whoever evaluates the best of them anew plays other games by default."""
    return int(_generator(seed, _EVALUATION).integers(2**31))


def evaluation_generators(seed: int, game: int) -> tuple[np.random.Generator, np.random.Generator]:
    """Generators for the emulator and for the policy of one game of an evaluation."""
    emulator, policy = (_generator(seed, _EVALUATION, game, purpose) for purpose in (_EMULATOR, _POLICY))
    return emulator, policy


def seed_others(seed: int, *key: int) -> None:
    """Seed the generators of whole modules, out of which environments and networks of others may draw.

    Forks inherit them, so all workers, and those started again, would draw the same.

    Args:
        seed: of the run, or of an evaluation.
        key: tells its processes apart.
    """
    import torch  # takes seconds, and whoever only reads a checkpoint should not wait

    own = int(_generator(seed, _OTHERS, *key).integers(2**32))
    random.seed(own)
    np.random.seed(own)
    torch.manual_seed(own)


@contextmanager
def others_seeded(seed: int) -> Iterator[None]:
    """Meanwhile others' code draws from ``seed``, out of whatever module's generator; then these are as before."""
    import torch

    before = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])


def state_of(generator: np.random.Generator) -> tuple[int, ...]:
    """The whole state of a PCG64 generator as ``STATE_SIZE`` numbers below 2^64."""
    state = generator.bit_generator.state
    words = (state["state"]["state"], state["state"]["inc"])
    halves = [half for word in words for half in (word >> 64, word & _LOW)]
    return (*halves, state["has_uint32"], state["uinteger"])


def restore(generator: np.random.Generator, numbers: np.ndarray) -> None:
    """Put a generator into the state that `state_of` gave, uint64 [STATE_SIZE]."""
    high_state, low_state, high_inc, low_inc, has_uint32, uinteger = (int(number) for number in numbers)
    generator.bit_generator.state = {
        "bit_generator": "PCG64",
        "state": {"state": high_state << 64 | low_state, "inc": high_inc << 64 | low_inc},
        "has_uint32": has_uint32,
        "uinteger": uinteger,
    }
