"""Posterior predictive checks: comparisons of data drawn from the posterior with the observed data."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

# Fraction of the draws in the interval of a statistic.
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Comparison:
    """Statistic of the data beside the same statistic of data drawn from the posterior.

    Attributes:
        name: name of the statistic.
        observed: statistic of the data.
        predicted: mean of the statistic over the draws.
        low: lower end of the interval that holds the statistic of 95 % of the draws.
        high: upper end of the interval that holds the statistic of 95 % of the draws.
        p_value: two-sided p-value; small if hardly any draw is as extreme as the data.
        error: distance of ``predicted`` from ``observed``, relative to ``observed``; for the mean and the maximum of
            data other than counts, relative to the standard deviation of the data.
    """

    name: str
    observed: float
    predicted: float
    low: float
    high: float
    p_value: float
    error: float


def fano_factor(x: Array) -> float:
    """Returns variance over mean across observations (N, ...), averaged over the features that are ever active.

    Missing values (NaN) are left out.

    >>> fano_factor(np.array([[0.0, 0.0], [2.0, 0.0]]))
    1.0
    """
    rows = x.reshape(len(x), -1).astype(np.float64)
    known = ~np.isnan(rows)
    active = rows.sum(0, where=known) > 0
    mean, variance = (part(rows[:, active], 0, where=known[:, active]) for part in (np.mean, np.var))
    return float(np.mean(variance / mean)) if active.any() else float("nan")


STATISTICS: dict[str, Callable[[Array], float]] = {
    "mean": lambda x: float(np.nanmean(x, dtype=np.float64)),
    "Fano factor": fano_factor,
    "variance": lambda x: float(np.nanvar(x, dtype=np.float64)),
    "zero fraction": lambda x: float(np.mean(x == 0, where=~np.isnan(x))),
    "maximum": lambda x: float(np.nanmax(x)),
}
# Names of the statistics that are compared for counts, and for other data.
OF_COUNTS = ("mean", "Fano factor", "zero fraction", "maximum")
OF_NUMBERS = ("mean", "variance", "maximum")


def predictive_checks(x: Array, replicates: Array, *, counts: bool) -> list[Comparison]:
    """Compares statistics of all data with those of draws from the posterior predictive distribution.

    Args:
        x: observations, shape (N, \\*shape); NaN where they are missing.
        replicates: draws from the posterior predictive distribution, shape (S, N, \\*shape), with NaN likewise.
        counts: whether the data are counts. For counts, mean, Fano factor, zero fraction and maximum are compared; for
            other data, mean, variance and maximum.

    Reference:
        Gelman, Meng and Stern, Posterior Predictive Assessment of Model Fitness via Realized Discrepancies, Statistica
        Sinica 1996.

    >>> rng = np.random.default_rng(0)
    >>> x, same = rng.poisson(2.0, (500, 3)), rng.poisson(2.0, (200, 500, 3))
    >>> [check.p_value > 0.05 for check in predictive_checks(x, same, counts=True)]
    [True, True, True, True]
    """
    found = []
    for name in OF_COUNTS if counts else OF_NUMBERS:
        statistic = STATISTICS[name]
        observed, drawn = statistic(x), np.array([statistic(one) for one in replicates])
        above, below = (
            ((drawn >= observed).sum() + 1) / (len(drawn) + 1),
            ((drawn <= observed).sum() + 1) / (len(drawn) + 1),
        )
        low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        predicted = float(drawn.mean())
        size = abs(observed) if counts or name == "variance" else float(np.nanstd(x, dtype=np.float64))
        miss = abs(predicted - observed)
        error = 0.0 if miss == 0 else miss / size if size > 0 and math.isfinite(miss) else math.inf
        # If both are NaN, as the Fano factors of features that are never active, there is nothing to compare.
        error = math.nan if math.isnan(predicted) and math.isnan(observed) else error
        p_value = min(1.0, 2 * float(min(above, below)))
        found.append(Comparison(name, observed, predicted, float(low), float(high), p_value, error))
    return found


def rootogram(counts: Array, expected: Array, *, largest: int = 40) -> tuple[Array, Array]:
    """Returns how often each count is observed and expected, for a figure of the square roots.

    Args:
        counts: observed counts, any shape; NaN where they are missing.
        expected: draws of the expected counts, any shape; likewise.
        largest: count from which on all counts are pooled.

    Returns:
        Observed and expected relative frequencies of the counts 0, 1, ..., up to the largest count that occurs, or up
        to ``largest``.

    Reference:
        Tukey, Some Graphic and Semigraphic Displays, 1972; Kleiber and Zeileis, Visualizing Count Data Regressions
        Using Rootograms, The American Statistician 2016.

    >>> rootogram(np.array([0.0, 0.0, 1.0, 3.0]), np.array([0.0, 1.0]))[0].tolist()
    [0.5, 0.25, 0.0, 0.25]
    """
    counts, expected = counts[~np.isnan(counts)], expected[~np.isnan(expected)]
    top = int(min(largest, max(counts.max(), expected.max())))
    observed, drawn = (
        np.bincount(np.minimum(values, top).astype(int).ravel(), minlength=top + 1) / values.size
        for values in (counts, expected)
    )
    return observed, drawn
