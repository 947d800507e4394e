"""Signs that a model has collapsed: latents that carry a constant, a posterior that ignores the data."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

# Distance of a latent's mean from the prior, in deviations of its posterior, from which on it is large, and the spread
# of its posterior mean over observations, in units of this distance, up to which it is the same for all. Where a
# Poisson latent had become the bias of 155 channels, it was 12 deviations off, with a spread below .01; Gaussian ones
# were 5 to 10 deviations off, with spreads of .15 to .18. In good fits the spread is above 1.
FROM_PRIOR, SPREAD = 3.0, 0.25
# KL divergence, in nats, beyond the information about the observation: the price of a bias.
PRICE = 1.0


@dataclass(frozen=True)
class Collapse:
    """Signs of a collapse.

    Attributes:
        constant: numbers of the latents that carry a constant.
        information: information of the latents about an observation, in nats.
        lost: nats by which the bound of each observation is worse than the marginal model, shape (N,).
    """

    constant: NDArray[np.int64]
    information: float
    lost: Array


def constant_latents(mean: Array, variance: Array, kl: Array, prior_mean: Array) -> NDArray[np.int64]:
    """Returns the numbers of the latents whose posterior mean is far from the prior and the same for all observations.

    Such a latent does the work of a bias of the decoder, and costs its KL divergence.

    Args:
        mean: posterior mean of the latents of each observation, shape (N, K).
        variance: posterior variance, shape (N, K).
        kl: mean KL divergence of each latent from its prior, in nats, shape (K,).
        prior_mean: mean of the prior, shape (K,).

    >>> mean = np.array([[30.0, 30.0, 0.1], [31.0, 31.0, 4.0]])
    >>> constant_latents(mean, np.ones((2, 3)), np.array([9.0, 9.0, 9.0]), np.array([3.0, 29.0, 1.0])).tolist()
    [0]
    """
    distance = np.abs(mean.mean(0, dtype=np.float64) - prior_mean)
    far = distance > FROM_PRIOR * np.sqrt(variance.mean(0, dtype=np.float64))
    dear = kl > PRICE + information(mean, variance)
    return np.flatnonzero(far & dear & (mean.std(0, dtype=np.float64) < SPREAD * distance))


def information(mean: Array, variance: Array) -> Array:
    """Returns about how much each latent says about an observation, in nats, shape (K,).

    It is the information of a Gaussian channel whose signal is the posterior mean, and whose noise the posterior
    variance: half the log of 1 + (variance of the mean over observations) / (mean of the variance).

    Args:
        mean: posterior mean of the latents of each observation, shape (N, K).
        variance: posterior variance, shape (N, K).

    >>> information(np.array([[0.0], [2.0]]), np.array([[1.0], [1.0]])).round(3).tolist()
    [0.347]
    """
    noise = np.maximum(variance.mean(0, dtype=np.float64), np.finfo(float).tiny)
    gain: Array = 0.5 * np.log1p(mean.var(0, dtype=np.float64) / noise)
    return gain
