"""From finished games to the points of a curve: bins of T, the same for all runs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from async_rl.plotting.groups import Group
from async_rl.plotting.intervals import interquartile_mean, stratified_bootstrap
from async_rl.plotting.runs import Run
from async_rl.published import human_normalised
from async_rl.types import UserError

MOST_POINTS = 60
GAMES_PER_POINT = 20
"""Bins are chosen so that there are about as many games in each, but never more than `MOST_POINTS` of them."""

MOST_BINS = 2_000
"""With chosen ones; a picture has no more columns, and the bootstrap takes memory for each."""


@dataclass(frozen=True)
class Curve:
    """One line of the picture and its band, at B points.

    Attributes:
        label: of its group.
        runs: number of runs behind it.
        games: finished games in each bin, of all runs, [B] int64.
        total_steps: T in the middle of each bin; where no run has come so far, at the end of the longest. [B] float64.
        total_frames: emulator frames until then, [B] float64.
        seconds: of training until then, mean over the runs, [B] float64.
        score: of one run the mean over the bin's games; of several the interquartile mean over the runs' means.
        low, high: of one run the quartiles of single games, or ``score`` itself where games are only won or lost; of
            several the ends of the 95 % bootstrap interval of ``score``. [B] float64.
        by_epsilon: mean score of the streams with each final epsilon, [B] float64, NaN where they finished no game.
    """

    label: str
    runs: int
    games: np.ndarray
    total_steps: np.ndarray
    total_frames: np.ndarray
    seconds: np.ndarray
    score: np.ndarray
    low: np.ndarray
    high: np.ndarray
    by_epsilon: dict[float, np.ndarray] = field(default_factory=dict)


def choose_bin_steps(groups: Sequence[Group]) -> int:
    """Steps of a bin: 1, 2 or 5 times a power of ten, by `MOST_POINTS` and `GAMES_PER_POINT`; if T is 5, five bins."""
    runs = [run for group in groups for run in group.runs]
    longest = max(run.total_steps[-1] for run in runs)
    games = max(GAMES_PER_POINT * run.total_steps[-1] / len(run.scores) for run in runs)
    steps = [digit * 10**power for power in range(19) for digit in (1, 2, 5)]
    fitting = [step for step in steps if step <= max(longest / 5, 1)]
    return next((step for step in fitting if step >= max(longest / MOST_POINTS, games)), fitting[-1])


def make_curve(group: Group, bin_steps: int, random: np.random.Generator, by_epsilon: bool = False) -> Curve:
    """The curve of a group over the bins that all of its runs have reached.

    Runs that have not made half of a bin yet do not count, unless all are such; their point is where they have come to.

    Where the group plays several games its scores are human-normalised ones, and the games are the strata of the
    bootstrap. A bin without a finished game takes its score from its neighbours.

    Raises:
        UserError: several games, one of them without published human and random scores; the runs share no bin; or
            more than `MOST_BINS` bins.
    """
    if (longest := max(run.total_steps[-1] for run in group.runs)) > MOST_BINS * bin_steps:
        least = math.ceil(longest / MOST_BINS)
        raise UserError(f"--bin-steps must be at least {least:,} for {longest:,.0f} steps, got {bin_steps:,}.")
    begun = tuple(run for run in group.runs if 2 * run.total_steps[-1] >= bin_steps)
    group = replace(group, runs=begun or group.runs)
    runs = [(run, _scores(run, normalised=len(group.games) > 1)) for run in group.runs]
    shown = _shared_bins(group, bin_steps)
    means = [_means(_bins(run, bin_steps), scores, shown) for run, scores in runs]
    seconds = [_means(_bins(run, bin_steps), run.seconds, shown) for run, _ in runs]
    if len(runs) == 1:
        score = means[0]
        low, high = score, score
        if len(np.unique(runs[0][1])) > 2:
            low, high = _quartiles(_bins(runs[0][0], bin_steps), runs[0][1], shown)
    else:
        score = interquartile_mean(np.stack(means))
        strata = [np.stack([m for m, run in zip(means, group.runs, strict=True) if run.game == g]) for g in group.games]
        low, high = stratified_bootstrap(strata, random)
    middle = np.minimum((shown + 0.5) * bin_steps, longest)
    frames = middle * np.mean([run.frames_per_step for run in group.runs])
    counts = np.sum([np.bincount(_bins(run, bin_steps), minlength=shown[-1] + 1)[shown] for run in group.runs], axis=0)
    apart = _by_epsilon(runs, bin_steps, shown) if by_epsilon else {}
    apart = {epsilon: scores for epsilon, scores in apart.items() if not np.isnan(scores).all()}
    mean_seconds = np.mean(seconds, axis=0)
    return Curve(group.label, len(runs), counts, middle, frames, mean_seconds, score, low, high, apart)


def _shared_bins(group: Group, bin_steps: int) -> np.ndarray:
    """The numbers of the bins that all runs have reached, [B]."""
    last = min(_last_bin(run, bin_steps) for run in group.runs)
    first = max(_bins(run, bin_steps)[0] for run in group.runs)
    if last < first:
        raise UserError(
            f"the runs of {group.label} share no bin of {bin_steps:,} steps; let the shortest train longer."
        )
    return np.arange(first, last + 1)


def _scores(run: Run, normalised: bool) -> np.ndarray:
    if not normalised:
        return run.scores
    ends = human_normalised(run.game, 0.0), human_normalised(run.game, 1.0)
    if ends[0] is None or ends[1] is None:
        raise UserError(f"{run.game} has no published human score to compare it with other games; plot it alone.")
    return ends[0] + run.scores * (ends[1] - ends[0])


def _bins(run: Run, bin_steps: int) -> np.ndarray:
    """The number of the bin in which each game ended, [N] int64; a game that ended at T = bin_steps is in bin 0."""
    return np.maximum(np.ceil(run.total_steps / bin_steps) - 1, 0).astype(np.int64)


def _last_bin(run: Run, bin_steps: int) -> int:
    """The last bin that the run has reached at least to the half: one of a few games only would be mostly noise."""
    first, last = int(_bins(run, bin_steps)[0]), int(_bins(run, bin_steps)[-1])
    return max(first, last - (run.total_steps[-1] < (last + 0.5) * bin_steps))


def _means(bins: np.ndarray, values: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """The mean of each bin in ``shown``, [B]; empty bins between others are interpolated."""
    counts = np.bincount(bins)
    filled = np.flatnonzero(counts)
    return np.interp(shown, filled, np.bincount(bins, values)[filled] / counts[filled])


def _quartiles(bins: np.ndarray, scores: np.ndarray, shown: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    filled = np.unique(bins)
    order = np.argsort(bins, kind="stable")
    parts = np.split(scores[order], np.searchsorted(bins[order], filled[1:]))
    quartiles = np.array([np.quantile(part, (0.25, 0.75)) for part in parts])
    return np.interp(shown, filled, quartiles[:, 0]), np.interp(shown, filled, quartiles[:, 1])


def _by_epsilon(runs: Sequence[tuple[Run, np.ndarray]], bin_steps: int, shown: np.ndarray) -> dict[float, np.ndarray]:
    """Mean over all runs' games of the streams with each final epsilon, in each bin of ``shown``."""
    bins = np.concatenate([_bins(run, bin_steps) for run, _ in runs])
    scores = np.concatenate([own for _, own in runs])
    epsilons = np.concatenate([run.final_epsilons for run, _ in runs])
    curves = {}
    for epsilon in np.unique(epsilons[~np.isnan(epsilons)]).tolist():
        own = epsilons == epsilon
        counts = np.bincount(bins[own], minlength=shown[-1] + 1)[shown]
        with np.errstate(invalid="ignore"):  # no game: 0 / 0 is NaN, as it should be
            curves[epsilon] = np.bincount(bins[own], scores[own], minlength=shown[-1] + 1)[shown] / counts
    return curves
