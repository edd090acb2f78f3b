"""Robust statistics over few runs, as Agarwal et al. 2021 (rliable, arXiv 2108.13264) recommend them."""

from collections.abc import Sequence

import numpy as np

SAMPLES = 2_000
"""Bootstrap samples; rliable takes as many for curves."""


def interquartile_mean(scores: np.ndarray, axis: int = 0) -> np.ndarray:
    """The mean of the middle half: of N scores, the floor(N / 4) lowest and as many highest are left out.

    Below four scores nothing is left out and it is the mean. Source: Agarwal et al. 2021, section 4.3.

    Args:
        scores: any shape, finite, of one or more scores along ``axis``.

    Returns:
        The shape of ``scores`` without ``axis``, float64.
    """
    ordered = np.sort(scores, axis=axis)
    count = ordered.shape[axis]
    middle = np.arange(count // 4, count - count // 4)
    return ordered.take(middle, axis=axis).mean(axis=axis)


def stratified_bootstrap(
    strata: Sequence[np.ndarray], random: np.random.Generator, samples: int = SAMPLES
) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval, of 95 %, of the interquartile mean over all runs of all strata.

    Each sample draws as many runs as there are, with replacement, within each stratum apart; a run is drawn with all
    its points. Source: Agarwal et al. 2021, section 4.2.

    Args:
        strata: for each game the scores of its runs at each point, [runs of this game, points].

    Returns:
        Lower and upper end, [points] float64 each.
    """
    drawn = [scores[random.integers(len(scores), size=(samples, len(scores)))] for scores in strata]
    means = interquartile_mean(np.concatenate(drawn, axis=1), axis=1)  # [samples, points]
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    return low, high
