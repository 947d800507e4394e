"""How close reconstructions are to the data."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


def mean_squared_error(x: Array, prediction: Array) -> float:
    """Squared error averaged over everything; ``prediction`` has the shape of ``x`` or broadcasts against it.

    >>> mean_squared_error(np.array([[0.0, 2.0]]), np.array([[1.0, 1.0]]))
    1.0
    """
    return float(np.mean(np.square(x - prediction, dtype=np.float64)))


def r_squared(x: Array, prediction: Array) -> float:
    """Fraction of each observation's variance around its own mean that is explained, averaged over observations.

    Args:
        x: observations, shape (N, \\*shape).
        prediction: of a shape that broadcasts to (..., N, \\*shape).

    Returns:
        At most 1; NaN if every observation is constant. Constant observations are left out.

    >>> r_squared(np.array([[0.0, 2.0]]), np.array([[0.0, 1.0]]))
    0.5
    """
    each = r_squared_of_each(x, prediction)
    return float(np.nanmean(each)) if np.isfinite(each).any() else float("nan")


def r_squared_of_each(x: Array, prediction: Array) -> Array:
    """The same for each observation, shape (..., N); NaN for those that are constant."""
    axes = tuple(range(1 - x.ndim, 0))
    total = np.square(x - x.mean(axes, keepdims=True), dtype=np.float64).sum(axes)
    residual = np.square(x - prediction, dtype=np.float64).sum(axes)
    varied = x.max(axes) > x.min(axes)
    explained: Array = 1 - residual / np.where(varied, total, np.nan)
    return explained
