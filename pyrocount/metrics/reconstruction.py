"""Metrics of the distance between reconstructions and data."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


def mean_squared_error(x: Array, prediction: Array) -> float:
    """Returns the squared error, averaged over all values.

    Args:
        x: observations, shape (N, \\*shape).
        prediction: reconstructions, of the shape of ``x`` or of one that broadcasts against it.

    >>> mean_squared_error(np.array([[0.0, 2.0]]), np.array([[1.0, 1.0]]))
    1.0
    """
    return float(np.mean(np.square(x - prediction, dtype=np.float64)))


def r_squared(x: Array, prediction: Array) -> float:
    """Returns the fraction of variance explained (R^2), averaged over observations.

    The variance of an observation is the one around the mean of its own values. Constant observations are left out.

    Args:
        x: observations, shape (N, \\*shape).
        prediction: reconstructions, of a shape that broadcasts to (..., N, \\*shape).

    Returns:
        Fraction of at most 1; NaN if every observation is constant.

    >>> r_squared(np.array([[0.0, 2.0]]), np.array([[0.0, 1.0]]))
    0.5
    """
    each = r_squared_per_observation(x, prediction)
    return float(np.nanmean(each)) if np.isfinite(each).any() else float("nan")


def r_squared_per_observation(x: Array, prediction: Array) -> Array:
    """Returns R^2 of each observation, shape (..., N); NaN for constant observations.

    Args:
        x: observations, shape (N, \\*shape).
        prediction: reconstructions, of a shape that broadcasts to (..., N, \\*shape).
    """
    axes = tuple(range(1 - x.ndim, 0))
    total = np.square(x - x.mean(axes, keepdims=True), dtype=np.float64).sum(axes)
    residual = np.square(x - prediction, dtype=np.float64).sum(axes)
    varied = x.max(axes) > x.min(axes)
    explained: Array = 1 - residual / np.where(varied, total, np.nan)
    return explained
