"""What the filters of a network have learnt, as pictures: weights, what excites them, and that projected back."""

from dataclasses import dataclass

import numpy as np
from torch import nn

from async_rl.viewing.anatomy import Convolution, Field, Peaks
from async_rl.viewing.projection import project
from async_rl.viewing.sampling import States, strongest

EXAMPLES = 9
_APART = 30
"""Steps between two examples of one game: two seconds on Atari."""


@dataclass(frozen=True)
class Filter:
    """One filter and what excites it.

    Attributes:
        number: in its layer.
        weights: [input channels, rows, columns].
        channel: the channel of the input (on Atari: the screen) on which the projections are strongest.
        states: the states that excite it most, strongest first, [n], n at most 9.
        patches: what the unit saw of them on that channel, 0 to 1, NaN beyond the edge, [n, rows, columns].
        projections: the same projected back, [n, rows, columns].
    """

    number: int
    weights: np.ndarray
    channel: int
    states: np.ndarray
    patches: np.ndarray
    projections: np.ndarray


def understand(network: nn.Module, layer: Convolution, peaks: Peaks, states: States) -> list[Filter]:
    """All filters of a layer."""
    return [_filter(network, layer, peaks, states, number) for number in range(layer.layer.out_channels)]


def _filter(network: nn.Module, layer: Convolution, peaks: Peaks, states: States, number: int) -> Filter:
    weights = layer.layer.weight[number].detach().float().numpy()
    chosen = strongest(peaks.activation[:, number], states, EXAMPLES, _APART)
    if not len(chosen):
        none = np.zeros((0, *layer.field.size), np.float32)
        return Filter(number, weights, 0, chosen, none, none)
    observations, places = states.observations[chosen], peaks.place[chosen, number]
    pair = project(network, layer, observations, number, places)
    projected, seen = (tensor.float().numpy() for tensor in pair)
    channel = int((projected**2).sum(axis=(0, 2, 3)).argmax())
    low, high = (end(seen, axis=(1, 2, 3), keepdims=True) for end in (np.min, np.max))
    grey = (seen - low) / np.maximum(high - low, 1e-6)
    cut = [
        np.stack(
            [crop(picture, layer.field, place) for picture, place in zip(pictures[:, channel], places, strict=True)]
        )
        for pictures in (grey, projected)
    ]
    return Filter(number, weights, channel, chosen, cut[0], np.nan_to_num(cut[1]))


def crop(picture: np.ndarray, field: Field, place: np.ndarray) -> np.ndarray:
    """What the unit at ``place`` (row, column) sees of a picture [height, width]; NaN beyond the edge."""
    out = np.full(field.size, np.nan, np.float32)
    first = [int(place[a]) * field.step[a] + field.start[a] for a in range(2)]
    inside = [slice(max(first[a], 0), min(first[a] + field.size[a], picture.shape[a])) for a in range(2)]
    out[tuple(slice(inside[a].start - first[a], inside[a].stop - first[a]) for a in range(2))] = picture[tuple(inside)]
    return out
