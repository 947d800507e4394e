"""Metrics of recorded spike counts: the models of their rates alone, and bits per spike over them."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, xlogy

Array = NDArray[np.floating[Any]]

# Number of observations that are summed together.
ROWS = 2000
# Largest number of observations from which a dispersion is estimated, and the range of its logarithm.
DISPERSION_ROWS, LOG_TOTAL_COUNT_RANGE = 2000, (-7.0, 12.0)


def mean_rates(x: Any, exposure: Array | None = None) -> Array:
    """Returns the mean rate of each channel, in spikes per unit of exposure, of half a spike at least.

    Args:
        x: counts, shape (N, \\*shape), an array or what is read in parts as one; NaN where they are missing.
        exposure: length of each observation's window, shape (N,); by default 1.

    >>> mean_rates(np.array([[1.0, 0.0], [3.0, 0.0]])).tolist()
    [2.0, 0.25]
    """
    windows = np.ones(len(x)) if exposure is None else np.asarray(exposure, np.float64)
    spikes, known = np.zeros(x.shape[1:]), np.zeros(x.shape[1:])
    for first in range(0, len(x), ROWS):
        rows = slice(first, first + ROWS)
        part = x[rows]
        spikes += np.nansum(part, 0, dtype=np.float64)
        known += np.tensordot(windows[rows], ~np.isnan(part), 1)
    rates: Array = np.maximum(spikes, 0.5) / np.maximum(known, np.finfo(float).tiny)
    return rates


def poisson_nll(x: Array, rate: Array, exposure: Array | None = None) -> Array:
    """Returns the negative log-likelihood of counts by rates, in nats, shape (N, \\*shape); 0 where counts are missing.

    Args:
        x: counts, shape (N, \\*shape); NaN where they are missing.
        rate: rates, in spikes per unit of exposure, of a shape that broadcasts against that of ``x``.
        exposure: length of each observation's window, shape (N,); by default 1.
    """
    mean = rate if exposure is None else rate * _along(exposure, x)
    return np.nan_to_num(mean - xlogy(x, mean) + gammaln(x + 1.0), nan=0.0)


def negative_binomial_nll(x: Array, rate: Array, total_count: Array, exposure: Array | None = None) -> Array:
    """Returns the negative log-likelihood of negative-binomial counts, in nats, shape (N, \\*shape).

    Args:
        x: counts, shape (N, \\*shape); NaN where they are missing, which have the value 0.
        rate: means, per unit of exposure, of a shape that broadcasts against that of ``x``.
        total_count: dispersion: the variance is mean + mean^2 / total_count.
        exposure: length of each observation's window, shape (N,); by default 1.
    """
    mean = rate if exposure is None else rate * _along(exposure, x)
    log_pmf = (
        gammaln(x + total_count)
        - gammaln(total_count)
        - gammaln(x + 1.0)
        - total_count * np.log1p(mean / total_count)
        + xlogy(x, mean / (mean + total_count))
    )
    return np.nan_to_num(-log_pmf, nan=0.0)


def dispersions(x: Any, rate: Array, exposure: Array | None = None) -> Array:
    """Returns the total_count of each channel at which counts are likeliest, shape (\\*shape).

    With more than 2000 observations, 2000 at equal distances are taken.

    Args:
        x: counts, shape (N, \\*shape), an array or what is read in parts as one; NaN where they are missing.
        rate: means, per unit of exposure, shape (\\*shape).
        exposure: length of each observation's window, shape (N,); by default 1.
    """
    rows = np.unique(np.linspace(0, len(x) - 1, DISPERSION_ROWS).astype(int))
    counts, windows = np.asarray(x[rows], np.float64), None if exposure is None else exposure[rows]
    low, high = (np.full(rate.shape, limit) for limit in LOG_TOTAL_COUNT_RANGE)
    golden = (math.sqrt(5) - 1) / 2
    for _ in range(40):
        left, right = high - golden * (high - low), low + golden * (high - low)
        losses = [negative_binomial_nll(counts, rate, np.exp(place), windows).sum(0) for place in (left, right)]
        low, high = np.where(losses[0] > losses[1], left, low), np.where(losses[0] > losses[1], high, right)
    return np.exp((low + high) / 2)


def bits_per_spike(nll: float, null: float, spikes: float) -> float:
    """Returns the gain over the rates alone, in bits per spike.

    Args:
        nll: negative log-likelihood of counts by a model, in nats.
        null: negative log-likelihood of the same counts by the mean rates.
        spikes: number of spikes in them.

    Returns:
        The gain; NaN without a spike.

    Reference:
        Pei et al., Neural Latents Benchmark '21, NeurIPS Datasets and Benchmarks 2021, section 3.

    >>> round(bits_per_spike(math.log(2), 3 * math.log(2), 4), 6)
    0.5
    """
    return (null - nll) / (spikes * math.log(2)) if spikes > 0 else math.nan


def _along(exposure: Array, x: Array) -> Array:
    return np.asarray(exposure).reshape(-1, *(1,) * (x.ndim - 1))
