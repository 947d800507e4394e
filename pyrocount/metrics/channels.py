"""Metrics of the channels of a recording, and of what latents and channels prefer."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .representation import Labels
from .spikes import mean_rates, poisson_nll

Array = NDArray[np.floating[Any]]


def channel_bits_per_spike(x: Array, rates: Array, null: Array, exposure: Array | None = None) -> Array:
    """Returns the bits per spike of rates over those of a null model for each channel, shape (C,); NaN without a spike.

    Args:
        x: counts, shape (N, C); NaN where they are missing.
        rates: rates, in spikes per unit of exposure, shape (N, C).
        null: rates of the null model, shape (C,).
        exposure: length of each observation's window, shape (N,); by default 1.

    >>> x, rates = np.array([[1.0], [3.0]]), np.array([[1.0], [3.0]])
    >>> channel_bits_per_spike(x, rates, np.array([2.0])).round(4).tolist()
    [0.1887]
    """
    gained = (poisson_nll(x, null, exposure) - poisson_nll(x, rates, exposure)).sum(0)
    spikes: Array = np.asarray(np.nansum(x, 0, dtype=np.float64))
    return np.divide(gained, spikes * np.log(2), out=np.full(len(spikes), np.nan), where=spikes > 0)


def fano_factors(x: Array) -> Array:
    """Returns variance over mean of each channel across observations (N, C), shape (C,); NaN for silent channels.

    >>> fano_factors(np.array([[0.0, 0.0], [2.0, 0.0]])).tolist()
    [1.0, nan]
    """
    mean = known_mean(x)
    variance = known_mean(np.square(x - mean, dtype=np.float64))
    return np.divide(variance, mean, out=np.full(len(mean), np.nan), where=mean > 0)


def residual_dispersion(x: Array, mean: Array) -> Array:
    """Returns the mean of (x - mean)^2 / mean of each channel, shape (C,): 1 for Poisson counts of the right means.

    Args:
        x: counts, shape (N, C); NaN where they are missing.
        mean: predicted means, shape (N, C).

    Reference:
        McCullagh and Nelder, Generalized Linear Models, 1989, section 4.5 (Pearson's statistic over its degrees of
        freedom).
    """
    known = ~np.isnan(x)
    square = np.square(np.where(known, x - mean, 0.0), dtype=np.float64) / np.maximum(mean, np.finfo(np.float32).tiny)
    spread: Array = square.sum(0) / np.maximum(known.sum(0), 1)
    return spread


def by_label(values: Array, labels: Labels, exposure: Array | None = None) -> tuple[Labels, Array]:
    """Returns the labels that occur, and the means of values (N, C) over the observations of each, shape (L, C).

    Args:
        values: counts or codes, shape (N, C); NaN where they are missing.
        labels: label of each observation, shape (N,).
        exposure: length of each observation's window, shape (N,), to which counts are related.
    """
    known = np.unique(labels)
    rows = [labels == label for label in known]
    if exposure is None:
        return known, np.stack([known_mean(values[chosen], known_mean(values)) for chosen in rows])
    return known, np.stack([mean_rates(values[chosen], exposure[chosen]) for chosen in rows])


def selectivity(values: Array, labels: Labels) -> Array:
    """Returns the part of the variance of each column of values (N, C) that the labels explain, shape (C,).

    It is eta squared: the variance of the means of the labels over the whole variance, 0 for a constant column.

    >>> selectivity(np.array([[0.0, 1.0], [0.0, -1.0], [2.0, 1.0], [2.0, -1.0]]), np.array([0, 0, 1, 1])).tolist()
    [1.0, 0.0]
    """
    known, means = by_label(values, labels)
    weights = np.array([(labels == label).mean() for label in known])
    whole = known_mean(values)
    between = (weights[:, None] * np.square(means - whole)).sum(0)
    total = known_mean(np.square(values - whole, dtype=np.float64))
    return np.divide(between, total, out=np.zeros(len(total)), where=total > 0)


def known_mean(values: Array, otherwise: Array | float = 0.0) -> Array:
    """Returns the mean of each column of values over what is not missing, shape (C,).

    Args:
        values: values, shape (N, C); NaN where they are missing.
        otherwise: value of a column of which nothing is known.
    """
    number = (~np.isnan(values)).sum(0)
    total = np.nansum(values, 0, dtype=np.float64)
    return np.where(number > 0, total / np.maximum(number, 1), otherwise)
