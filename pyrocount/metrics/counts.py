"""What the latent counts do."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


def mean_rate(counts: Array) -> float:
    """Mean count per latent and observation window.

    >>> mean_rate(np.array([[0.0, 3.0], [1.0, 0.0]]))
    1.0
    """
    return float(np.mean(counts, dtype=np.float64))


def zero_fraction(counts: Array) -> float:
    """Fraction of counts that are exactly 0.

    >>> zero_fraction(np.array([[0.0, 3.0], [1.0, 0.0]]))
    0.5
    """
    return float(np.mean(counts == 0))


def lifetime_sparsity(counts: Array) -> float:
    r"""How selective latents are, averaged over those that are ever active.

    .. math:: s = \Big(1 - \frac{(\sum_i |z_i|)^2}{N \sum_i z_i^2}\Big) \Big/ \Big(1 - \frac1N\Big)

    of a latent's activity over N observations: 1 if it responds to a single one, 0 if to all alike; 0.36 for a standard
    Gaussian, whose magnitude counts.

    Args:
        counts: shape (..., N, K); averaged over leading dimensions too.

    Returns:
        A number from 0 to 1; NaN if no latent is ever active.

    Reference:
        Vinje and Gallant, Sparse Coding and Decorrelation in Primary Visual Cortex, Science 2000; Vafaii, Galor and
        Yates, Poisson Variational Autoencoder, NeurIPS 2024, equation 5.

    >>> lifetime_sparsity(np.array([[1.0, 2.0, 0.0], [0.0, -2.0, 0.0]]))
    0.5
    """
    number = counts.shape[-2]
    sums, squares = np.abs(counts).sum(-2, dtype=np.float64), np.square(counts, dtype=np.float64).sum(-2)
    active = squares > 0
    if number < 2 or not active.any():
        return float("nan")
    return float(np.mean((1 - sums[active] ** 2 / (number * squares[active])) / (1 - 1 / number)))


def population_sparsity(counts: Array) -> float:
    """How few latents respond to an observation, averaged over those to which any does.

    The lifetime sparsity with observations and latents in each other's place.

    Args:
        counts: shape (..., N, K); averaged over leading dimensions too.

    Returns:
        A number from 0 to 1; NaN if there is no activity.

    Reference:
        Treves and Rolls, What Determines the Capacity of Autoassociative Memories in the Brain?, Network 1991; Willmore
        and Tolhurst, Characterizing the Sparseness of Neural Codes, Network 2001.

    >>> population_sparsity(np.array([[1.0, 0.0, 0.0], [2.0, 2.0, 2.0]]))
    0.5
    """
    return lifetime_sparsity(counts.swapaxes(-1, -2))


def active_latents(kl: Array, *, noise: float = 1e-3, information: float = 0.1) -> int:
    """Number of latents that carry information about the data.

    As in the histograms of Vafaii, Galor and Yates (Poisson Variational Autoencoder, NeurIPS 2024, figure 10) the
    threshold lies in the gap between small divergences and large ones: the widest on a logarithmic scale between
    ``noise``, below which every latent is dead, and ``information``, above which every latent is alive. Where there is
    no gap of a factor of two between them, the threshold is their geometric mean.

    Args:
        kl: divergence of each latent averaged over observations, in nats, shape (K,).
        noise: lower end of the range in which the gap is looked for, in nats.
        information: its upper end.

    >>> active_latents(np.array([1e-5, 2e-3, 0.03, 0.5, 0.9]))
    3
    >>> active_latents(np.array([1e-4, 3e-4]))
    0
    """
    between = np.sort(kl[(kl > noise) & (kl < information)])
    edges = np.concatenate([[noise], between, [information]])
    ratios = edges[1:] / edges[:-1]
    threshold = edges[1:][ratios.argmax()] if ratios.max() >= 2 else np.sqrt(noise * information)
    return int(np.count_nonzero(kl >= threshold))
