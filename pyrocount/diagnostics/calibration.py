"""Whether probabilities are what they say: ranks among draws, which are uniform where the draws have the right law."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

Array = NDArray[np.floating[Any]]
Ranks = NDArray[np.int64]


def ranks(value: Array, draws: Array, *, seed: int = 0) -> Ranks:
    """The rank of values among draws, from 0 to S; ties, which counts have many of, are broken at random.

    Where values and draws have one law, the ranks are uniform. With values from the prior, data from the model given
    them, and draws from the posterior of the data, that is simulation-based calibration.

    Args:
        value: any shape.
        draws: shape (S, \\*shape).
        seed: of the ties.

    Reference:
        Talts, Betancourt, Simpson, Vehtari and Gelman, Validating Bayesian Inference Algorithms with Simulation-Based
        Calibration, arXiv 1804.06788; for ties, Modrak et al., Bayesian Analysis 2023.

    >>> ranks(np.array([2.0]), np.array([[0.0], [1.0], [5.0]])).tolist()
    [2]
    """
    below, tied = (draws < value).sum(0), (draws == value).sum(0)
    return np.asarray(below + np.random.default_rng(seed).integers(0, tied + 1))


def randomised_pit(x: Array, replicates: Array, log_likelihood: Array | None = None, *, seed: int = 0) -> Array:
    """The randomised probability integral transform of data under their predictive distributions.

    Replicates that are drawn from a posterior have seen the datum, and are too close to it. With the log likelihood of
    each datum they are weighted by its inverse, so that they predict the datum from the rest of its observation.

    Args:
        x: any shape.
        replicates: draws of the predictive distribution, shape (S, \\*shape).
        log_likelihood: of each datum given the latents of each replicate, in nats, shape (S, \\*shape).
        seed: of the randomisation.

    Returns:
        Numbers between 0 and 1, of the shape of x, uniform where the predictive distributions are right.

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
    # The datum itself is one more of them.
    pit: Array = (below + (tied + 1 / size) * np.random.default_rng(seed).random(x.shape)) / (1 + 1 / size)
    return pit


def uniformity_distance(values: Array) -> Array:
    """How far each column is from uniform: the largest distance between the two distribution functions.

    Args:
        values: between 0 and 1, shape (N, K).

    Returns:
        Kolmogorov's statistic, shape (K,), to be compared with ``chance_distance(N)``.

    >>> uniformity_distance(np.array([[0.125, 0.9], [0.375, 0.9], [0.625, 0.9], [0.875, 0.9]])).round(3).tolist()
    [0.125, 0.9]
    """
    number = len(values)
    ordered = np.sort(values, 0)
    steps = np.arange(number + 1)[:, None] / number
    distance: Array = np.maximum(ordered - steps[:-1], steps[1:] - ordered).max(0)
    return distance


def chance_distance(number: int) -> float:
    """What ``uniformity_distance`` is on average of so many uniform values: the mean of Kolmogorov's distribution.

    >>> round(chance_distance(1000), 4)
    0.0275
    """
    return float(np.sqrt(np.pi / 2) * np.log(2) / np.sqrt(number))
