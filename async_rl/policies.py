"""How actions are chosen from values."""

from collections.abc import Sequence

import numpy as np


def epsilon_greedy(values: np.ndarray, epsilons: np.ndarray, generators: Sequence[np.random.Generator]) -> np.ndarray:
    """A random action with probability epsilon, else the action of the largest value, for each stream on its own.

    Args:
        values: [E, A] float32.
        epsilons: [E].
        generators: one of each stream.

    Returns:
        Actions [E] int64.
    """
    actions = values.argmax(axis=1)
    for stream, generator in enumerate(generators):
        if generator.random() < epsilons[stream]:
            actions[stream] = generator.integers(values.shape[1])
    return actions


def softmax_sample(outputs: np.ndarray, epsilons: np.ndarray, generators: Sequence[np.random.Generator]) -> np.ndarray:
    """An action drawn from the policy ``softmax(logits)`` for each stream; A3C explores by its policy alone.

    Args:
        outputs: [E, A + 1] float32, logits and the value.
        epsilons: [E], not used.
        generators: one of each stream.

    Returns:
        Actions [E] int64.
    """
    logits = outputs[:, :-1].astype(np.float64)
    cumulative = np.exp(logits - logits.max(axis=1, keepdims=True)).cumsum(axis=1)
    drawn = [generator.random() for generator in generators] * cumulative[:, -1]
    return (cumulative <= drawn[:, None]).sum(axis=1)


def ladder(streams: int) -> np.ndarray:
    """``0.4^(1 + 7 i / (N - 1))`` for stream i of N, [N]: Ape-X (Horgan et al. 2018, arXiv 1803.00933)."""
    return 0.4 ** (1 + 7 * np.linspace(0, 1, streams))


def draw_final_epsilon(
    epsilons: Sequence[float], probabilities: Sequence[float], generator: np.random.Generator
) -> float:
    """One of ``epsilons`` with the given probabilities, for each actor-learner (Mnih et al. 2016, supplement 8)."""
    return float(generator.choice(epsilons, p=np.asarray(probabilities) / np.sum(probabilities)))
