"""Learning from the steps of a segment more than once, as Gallici et al. 2024, arXiv 2407.04811, do."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from async_rl.algorithms.segment import Segment


class Minibatches:
    """The steps of a segment in batches, each step once an epoch; every epoch has an order of its own.

    Args:
        batch: written with each batch, [1, B]; of its fields observation, action and weight.
        epochs: times that each step is given.
        random: draws the orders.
    """

    def __init__(self, batch: Segment, epochs: int, random: np.random.Generator):
        self._batch = batch
        self._epochs = epochs
        self._random = random

    def __call__(self, segment: Segment, returns: Tensor) -> Iterator[tuple[Segment, Tensor]]:
        """Batches of a segment [T, E] with the returns [1, B] of their steps, out of ``returns`` [T, E].

        The memory of the batches is the same again and again; B has to divide T * E.
        """
        observation, action, returns = segment.observation.flatten(0, 1), segment.action.flatten(), returns.flatten()
        for _ in range(self._epochs):
            for chosen in torch.from_numpy(self._random.permutation(len(returns))).split(self._batch.action.numel()):
                torch.index_select(observation, 0, chosen, out=self._batch.observation[0])
                torch.index_select(action, 0, chosen, out=self._batch.action[0])
                yield self._batch, returns[chosen].unsqueeze(0)
