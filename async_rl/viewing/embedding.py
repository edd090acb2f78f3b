"""Points of many dimensions laid out on a plane."""

import numpy as np

from async_rl.types import UserError

_BEFORE = 50
"""Dimensions to which principal components reduce before t-SNE, as its authors did."""


def pca(points: np.ndarray, dimensions: int = 2) -> np.ndarray:
    """Coordinates along the principal components, [N, dimensions] float64, by the eigenvectors of the covariance.

    The sign of each is such that the component's largest weight is positive. Missing dimensions are 0.

    Args:
        points: [N, D].
        dimensions: how many.
    """
    centred = points.astype(np.float64) - points.mean(axis=0, dtype=np.float64)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    components = vectors[:, ::-1][:, :dimensions]
    largest = np.abs(components).argmax(axis=0)
    components = components * np.sign(components[largest, np.arange(components.shape[1])])
    return np.pad(centred @ components, ((0, 0), (0, dimensions - components.shape[1])))


def tsne(points: np.ndarray, seed: int) -> np.ndarray:
    """t-SNE (van der Maaten and Hinton 2008) of the first 50 principal components, [N, 2].

    Where there is only one component that is what is given, and 0 if all points agree.

    Args:
        points: [N, D].
        seed: the same seed gives the same map.

    Raises:
        UserError: scikit-learn is not installed.
    """
    try:
        from sklearn.manifold import TSNE
    except ImportError:
        raise UserError(
            "--method tsne needs the extra 'explain': pip install '.[explain]'; or use --method pca."
        ) from None
    reduced = pca(points, min(_BEFORE, points.shape[1]))
    if min(reduced.shape) < 2 or not np.ptp(reduced):  # of equal points scikit-learn's would end the process
        return pca(points)
    perplexity = min(30.0, max(1.0, (len(points) - 1) / 3))
    return TSNE(init="pca", perplexity=perplexity, random_state=seed % 2**32).fit_transform(reduced)


def spread(points: np.ndarray, count: int) -> list[int]:
    """Indices of ``count`` points that lie far from each other: each is the one farthest from those before it.

    Args:
        points: [N, 2].
        count: at most N are given.
    """
    span = np.ptp(points, axis=0)
    scaled = (points - points.min(axis=0)) / np.where(span > 0, span, 1)
    chosen = [int(np.linalg.norm(scaled - scaled.mean(axis=0), axis=1).argmax())]
    distance = np.full(len(points), np.inf)
    while len(chosen) < min(count, len(points)):
        distance = np.minimum(distance, np.linalg.norm(scaled - scaled[chosen[-1]], axis=1))
        chosen.append(int(distance.argmax()))
    return chosen
