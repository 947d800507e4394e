"""Calibration of distributions: ranks among draws, which are uniform if the draws have the right distribution."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

Array = NDArray[np.floating[Any]]
Ranks = NDArray[np.int64]


def ranks(value: Array, draws: Array, *, seed: int = 0) -> Ranks:
    """Returns the rank of each value among draws, from 0 to S; ties, common among counts, are broken at random.

    If values and draws have the same distribution, the ranks are uniform. With values from the prior, data from the
    model given these values, and draws from the posterior given the data, this is simulation-based calibration.

    Args:
        value: values to rank, any shape.
        draws: draws among which the values are ranked, shape (S, \\*shape).
        seed: random seed with which ties are broken.

    Reference:
        Talts, Betancourt, Simpson, Vehtari and Gelman, Validating Bayesian Inference Algorithms with Simulation-Based
        Calibration, arXiv 1804.06788; for ties, Modrak et al., Bayesian Analysis 2023.

    >>> ranks(np.array([2.0]), np.array([[0.0], [1.0], [5.0]])).tolist()
    [2]
    """
    below, tied = (draws < value).sum(0), (draws == value).sum(0)
    return np.asarray(below + np.random.default_rng(seed).integers(0, tied + 1))


def randomised_pit(x: Array, replicates: Array, log_likelihood: Array | None = None, *, seed: int = 0) -> Array:
    """Computes the randomised probability integral transform (PIT) of data under their predictive distributions.

    A posterior has seen the datum, so that replicates from it are too close to the datum. If the log-likelihood of each
    datum is given, the replicates are weighted by the inverse likelihood, so that they predict the datum from the rest
    of its observation.

    Args:
        x: data, any shape.
        replicates: draws from the predictive distribution, shape (S, \\*shape).
        log_likelihood: pointwise log-likelihood of each datum given the latents of each replicate, in nats, shape
            (S, \\*shape).
        seed: random seed of the randomisation.

    Returns:
        PIT values between 0 and 1, of the shape of ``x``; uniform if the predictive distributions are right.

    References:
        Czado, Gneiting and Held, Predictive Model Assessment for Count Data, Biometrics 2009; Vehtari, Gelman and
        Gabry, Practical Bayesian Model Evaluation Using Leave-One-Out Cross-Validation, Statistics and Computing 2017.

    >>> pit = randomised_pit(np.zeros(4), np.zeros((9, 4)))
    >>> bool(((pit > 0) & (pit < 1)).all())
    True
    """
    size = len(replicates)
    if log_likelihood is None:
        weights = np.full((size, *(1,) * x.ndim), 1 / size)
    else:
        weights = softmax(-log_likelihood, axis=0)
    below, tied = ((weights * chosen).sum(0) for chosen in (replicates < x, replicates == x))
    # The datum itself counts as one more draw.
    pit: Array = (below + (tied + 1 / size) * np.random.default_rng(seed).random(x.shape)) / (1 + 1 / size)
    return pit


def uniformity_distance(values: Array) -> Array:
    """Returns the distance of each column from uniform: the largest difference of the two distribution functions.

    Args:
        values: values between 0 and 1, shape (N, K).

    Returns:
        Kolmogorov's statistic of each column, shape (K,), to be compared with ``chance_distance(N)``.

    >>> uniformity_distance(np.array([[0.125, 0.9], [0.375, 0.9], [0.625, 0.9], [0.875, 0.9]])).round(3).tolist()
    [0.125, 0.9]
    """
    number = len(values)
    ordered = np.sort(values, 0)
    steps = np.arange(number + 1)[:, None] / number
    distance: Array = np.maximum(ordered - steps[:-1], steps[1:] - ordered).max(0)
    return distance


def chance_distance(number: int) -> float:
    """Returns the average ``uniformity_distance`` of uniform values: the mean of Kolmogorov's distribution.

    Args:
        number: number of values.

    >>> round(chance_distance(1000), 4)
    0.0275
    """
    return float(np.sqrt(np.pi / 2) * np.log(2) / np.sqrt(number))
