"""Signs that a model has collapsed: latents that carry a constant, a posterior that ignores the data."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

# Mean of a latent, in deviations of its posterior from 0, from which on it is large, and the spread of its posterior
# mean over observations, in units of this mean, up to which it is the same for all. Where a Poisson latent had become
# the bias of 155 channels, it was 12 deviations from 0, with a spread below .01; Gaussian ones were 5 to 10 deviations
# off, with spreads of .15 to .18. Latents of good fits have spreads above 1.
FROM_ZERO, SPREAD = 3.0, 0.25
# KL divergence, in nats, beyond the information about the observation: the price of a bias. Counts that keep a prior of
# a high rate are large and the same for all observations, too, but cost nothing.
PRICE = 1.0


def constant_latents(mean: Array, variance: Array, kl: Array) -> NDArray[np.int64]:
    """Returns the numbers of the latents whose posterior mean is large and the same for all observations, at a price.

    Such a latent does the work of a bias of the decoder, and costs its KL divergence.

    Args:
        mean: posterior mean of the latents of each observation, shape (N, K).
        variance: posterior variance, shape (N, K).
        kl: mean KL divergence of each latent from its prior, in nats, shape (K,).

    >>> mean = np.array([[30.0, 30.0, 0.1], [31.0, 31.0, 4.0]])
    >>> constant_latents(mean, np.ones((2, 3)), np.array([9.0, 0.0, 9.0])).tolist()
    [0]
    """
    level = np.abs(mean.mean(0, dtype=np.float64))
    large = level > FROM_ZERO * np.sqrt(variance.mean(0, dtype=np.float64))
    dear = kl > PRICE + information(mean, variance)
    return np.flatnonzero(large & dear & (mean.std(0, dtype=np.float64) < SPREAD * level))


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
