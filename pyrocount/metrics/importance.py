"""Metrics of an approximate posterior that are based on importance weights.

All functions take log weights log p(x, z) - log q(z | x) of S samples of each of N observations, shape (S, N), in nats.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from pyrocount.errors import InputError, require_extra

Array = NDArray[np.floating[Any]]

# Smallest number of samples, and of weights in the tail: with fewer weights, the tail has no shape.
FEWEST, FEWEST_IN_TAIL = 25, 5
# Decimal digits to which log weights are rounded, and their floor, in nats: smaller weights would underflow.
DIGITS, FLOOR = 3, -300.0


def importance_weighted_elbo(log_weights: Array) -> Array:
    """Returns the lower bound of log p(x) from S samples at once, in nats, shape (N,).

    With one sample, the bound is the ELBO. It rises with S and tends to log p(x).

    Reference:
        Burda, Grosse and Salakhutdinov, Importance Weighted Autoencoders, ICLR 2016, equation 8.

    >>> importance_weighted_elbo(np.log([[1.0], [3.0]])).round(4).tolist()
    [0.6931]
    """
    bound: Array = logsumexp(log_weights.astype(np.float64), axis=0) - np.log(len(log_weights))
    return bound


def effective_sample_size(log_weights: Array) -> Array:
    """Returns the number of exact posterior samples that the weighted samples are worth, from 1 to S, shape (N,).

    Reference:
        Kong, Liu and Wong, Sequential Imputations and Bayesian Missing Data Problems, JASA 1994.

    >>> effective_sample_size(np.log([[1.0, 1.0], [1.0, 1e-9]])).round(4).tolist()
    [2.0, 1.0]
    """
    weights = np.exp(log_weights.astype(np.float64) - log_weights.max(0))
    size: Array = np.square(weights.sum(0)) / np.square(weights).sum(0)
    return size


def pareto_k(log_weights: Array) -> Array:
    """Returns the shape k-hat of the tail of the weights of each observation, shape (N,).

    Above 0.7 the weights are so uneven that the posterior that drew the samples misses regions where the exact
    posterior has mass. Samples of counts repeat, and so do their weights. If such ties reach into the tail, the tail
    consists of the weights above the ties. If these are fewer than five, or all alike, they have no shape: k-hat is
    then infinite if they make up more than half of the sum of all weights, and otherwise minus infinity, as for a
    bounded tail. It is NaN if a log weight is NaN or the largest one is infinite.

    Raises:
        InputError: naming ``samples``, if there are fewer than 25, or ``diagnostics``, if arviz-stats is not installed.

    Reference:
        Vehtari, Simpson, Gelman, Yao and Gabry, Pareto Smoothed Importance Sampling, JMLR 2024; Yao, Vehtari, Simpson
        and Gelman, Yes, but Did It Work?, ICML 2018. The tail is fitted by arviz-stats.

    >>> exponential = np.random.default_rng(0).exponential(size=(4000, 3))
    >>> pareto_k(exponential * [0.3, 1.2, -5.0]) > 0.7
    array([False,  True, False])
    """
    if len(log_weights) < FEWEST:
        expected = f"at least {FEWEST} samples, so that the weights have a tail"
        raise InputError("samples", f"{len(log_weights)} samples", expected)
    with require_extra("evaluate", "diagnostics", "k-hat"):
        from arviz_stats.base import array_stats  # type: ignore[attr-defined]
    return np.array([_tail(array_stats.psislw, one) for one in log_weights.T.astype(np.float64)])


def _tail(smoothed: Any, log_weights: Array) -> float:
    if not np.isfinite(log_weights.max()) or np.isnan(log_weights).any():
        return float("nan")
    # Weights far below the largest one do not matter, and weights that differ by single precision alone are equal.
    ordered = np.sort(np.round(np.maximum(log_weights - log_weights.max(), FLOOR), DIGITS))
    size = _tail_size(len(ordered))
    above = ordered[ordered > ordered[-size - 1]]
    if len(above) < FEWEST_IN_TAIL or above[0] == above[-1]:
        return math.inf if np.exp(above).sum() > np.exp(ordered).sum() / 2 else -math.inf
    if len(above) < size:
        # Copies of the tied weight fill up the samples, so that their tail consists of the weights above the tie.
        total = next(total for total in range(len(ordered)) if _tail_size(total) == len(above))
        ordered = np.concatenate([np.full(total - len(above), ordered[-size - 1]), above])
    # The function takes log likelihoods; leave-one-out weights are inverse likelihoods, hence the sign.
    return float(smoothed(-ordered)[1])


def _tail_size(samples: int) -> int:
    """Returns the number of samples in the tail, as in the paper."""
    return int(3 * samples**0.5) if samples > 225 else samples // 5
