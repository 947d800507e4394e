"""Metrics of what latents do to data, and data to latents."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.floating[Any]]


def carriers(effects: Array, part: float = 0.5) -> int:
    """Returns the least number of latents whose effects together are a part of the sum of all positive effects.

    It is 0 where no effect is positive.

    Args:
        effects: effect of each latent, shape (K,); negative effects count as none.
        part: part of the sum, from 0 to 1.

    >>> carriers(np.array([1.0, 6.0, 3.0, -2.0])), carriers(np.ones(10))
    (1, 5)
    """
    largest = np.sort(np.maximum(effects, 0.0).astype(np.float64))[::-1]
    total = largest.cumsum()
    if len(total) == 0 or total[-1] == 0:
        return 0
    # Rounding must not ask for one latent more.
    return int(np.argmax(total >= part * total[-1] * (1 - 1e-9))) + 1


def root_mean_square(changes: Array) -> Array:
    """Returns the root of the mean square of the change of each observation, shape (N,), from changes (N, \\*shape)."""
    flat = changes.reshape(len(changes), -1).astype(np.float64)
    size: Array = np.sqrt(np.square(flat).mean(1))
    return size


def rank_correlation(first: Array, second: Array) -> float:
    """Returns Spearman's correlation of two effects of the latents, each of shape (K,); NaN where one is constant.

    >>> round(rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 5.0])), 6)
    1.0
    """
    if min(np.ptp(first), np.ptp(second)) == 0:
        return float("nan")
    return float(stats.spearmanr(first, second).statistic)


def cosines(first: Array, second: Array) -> Array:
    """Returns the cosine of the angle of each pair of a row, shape (N,), from arrays (N, \\*shape); 0 where one is 0.

    >>> cosines(np.array([[1.0, 0.0], [0.0, 0.0]]), np.array([[2.0, 2.0], [1.0, 1.0]])).round(4).tolist()
    [0.7071, 0.0]
    """
    flat = [part.reshape(len(part), -1).astype(np.float64) for part in (first, second)]
    lengths = np.prod([np.linalg.norm(part, axis=1) for part in flat], axis=0)
    products: Array = (flat[0] * flat[1]).sum(1)
    return np.divide(products, lengths, out=np.zeros(len(first)), where=lengths > 0)
