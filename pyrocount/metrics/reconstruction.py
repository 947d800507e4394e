"""Metrics of the distance between reconstructions and data."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


def mean_squared_error(x: Array, prediction: Array) -> float:
    """Returns the squared error, averaged over all values.

    Args:
        x: observations, shape (N, \\*shape); NaN where they are missing.
        prediction: reconstructions, of the shape of ``x`` or of one that broadcasts against it.

    >>> mean_squared_error(np.array([[0.0, 2.0]]), np.array([[1.0, 1.0]]))
    1.0
    """
    return float(np.nanmean(np.square(x - prediction, dtype=np.float64)))


def squared_errors(x: Array, prediction: Array) -> Array:
    """Returns the squared error of each observation, averaged over the values that are not missing, shape (..., N).

    Args:
        x: observations, shape (N, \\*shape); NaN where they are missing.
        prediction: reconstructions, of a shape that broadcasts to (..., N, \\*shape).
    """
    axes = tuple(range(1 - x.ndim, 0))
    return _sum(np.square(prediction - x, dtype=np.float64), axes) / np.maximum((~np.isnan(x)).sum(axes), 1)


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
        x: observations, shape (N, \\*shape); NaN where they are missing.
        prediction: reconstructions, of a shape that broadcasts to (..., N, \\*shape).
    """
    axes = tuple(range(1 - x.ndim, 0))
    known = ~np.isnan(x)
    mean = _sum(x, axes, keepdims=True) / np.maximum(known.sum(axes, keepdims=True), 1)
    total = _sum(np.square(x - mean, dtype=np.float64), axes)
    residual = _sum(np.square(x - prediction, dtype=np.float64), axes)
    varied = x.max(axes, initial=-np.inf, where=known) > x.min(axes, initial=np.inf, where=known)
    explained: Array = 1 - residual / np.where(varied, total, np.nan)
    return explained


def _sum(values: Array, axes: tuple[int, ...], keepdims: bool = False) -> Array:
    """Returns sums of what is not missing."""
    sums: Array = values.sum(axes, keepdims=keepdims, where=~np.isnan(values))
    return sums
