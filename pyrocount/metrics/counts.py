"""Metrics of latent counts: mean rate, sparsity and the number of active latents."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


def mean_rate(counts: Array) -> float:
    """Returns the mean count per latent and observation window.

    >>> mean_rate(np.array([[0.0, 3.0], [1.0, 0.0]]))
    1.0
    """
    return float(np.mean(counts, dtype=np.float64))


def zero_fraction(counts: Array) -> float:
    """Returns the fraction of counts that are exactly 0.

    >>> zero_fraction(np.array([[0.0, 3.0], [1.0, 0.0]]))
    0.5
    """
    return float(np.mean(counts == 0))


def lifetime_sparsity(counts: Array, *, silent: float | None = None) -> float:
    r"""Returns the lifetime sparsity, averaged over the latents that are ever active.

    It measures how selective a latent is. With activity :math:`z_i` in N observations, a latent has the sparsity

    .. math:: s = \Big(1 - \frac{(\sum_i |z_i|)^2}{N \sum_i z_i^2}\Big) \Big/ \Big(1 - \frac1N\Big)

    It is 1 if the latent responds to a single observation, and 0 if it responds to all observations alike. It is 0.36
    for a standard Gaussian latent, of which the magnitude is taken.

    Args:
        counts: latent counts, shape (..., N, K); leading dimensions are averaged over too.
        silent: sparsity of latents that are never active, which are averaged over too; by default they are left out.
            The code of Vafaii et al. counts them as 1.

    Returns:
        Sparsity from 0 to 1; NaN if no latent is averaged over.

    Reference:
        Vinje and Gallant, Sparse Coding and Decorrelation in Primary Visual Cortex, Science 2000; Vafaii, Galor and
        Yates, Poisson Variational Autoencoder, NeurIPS 2024, equation 5.

    >>> lifetime_sparsity(np.array([[1.0, 2.0, 0.0], [0.0, -2.0, 0.0]]))
    0.5
    """
    sums, squares = np.abs(counts).sum(-2, dtype=np.float64), np.square(counts, dtype=np.float64).sum(-2)
    return sparsity_of_sums(sums, squares, counts.shape[-2], silent=silent)


def sparsity_of_sums(sums: Array, squares: Array, number: int, *, silent: float | None = None) -> float:
    """Returns the lifetime sparsity from the sums of magnitudes and of squares over observations, of any one shape.

    Args:
        sums: sum of the magnitudes of each latent over observations.
        squares: sum of the squares of each latent.
        number: number of observations in each sum.
        silent: sparsity of latents that are never active; by default they are left out.

    >>> sparsity_of_sums(np.array([1.0, 4.0]), np.array([1.0, 8.0]), 2)
    0.5
    """
    active = squares > 0
    if number < 2 or not (active.any() or (silent is not None and active.size)):
        return float("nan")
    each = (1 - sums[active] ** 2 / (number * squares[active])) / (1 - 1 / number)
    return float(np.mean(each if silent is None else np.append(each, np.full(active.size - each.size, silent))))


def population_sparsity(counts: Array, *, silent: float | None = None) -> float:
    """Returns the population sparsity, averaged over the observations to which any latent responds.

    It is the lifetime sparsity with the roles of observations and latents exchanged: 1 if a single latent responds to
    an observation, and 0 if all latents respond alike.

    Args:
        counts: latent counts, shape (..., N, K); leading dimensions are averaged over too.
        silent: sparsity of observations to which no latent responds; by default they are left out.

    Returns:
        Sparsity from 0 to 1; NaN if no observation is averaged over.

    Reference:
        Treves and Rolls, What Determines the Capacity of Autoassociative Memories in the Brain?, Network 1991; Willmore
        and Tolhurst, Characterizing the Sparseness of Neural Codes, Network 2001.

    >>> population_sparsity(np.array([[1.0, 0.0, 0.0], [2.0, 2.0, 2.0]]))
    0.5
    """
    return lifetime_sparsity(counts.swapaxes(-1, -2), silent=silent)


def active_latents(kl: Array, *, noise: float = 1e-3, information: float = 0.1) -> int:
    """Returns the number of latents that carry information about the data.

    These are the latents whose KL divergence reaches a threshold. As in the histograms of Vafaii, Galor and Yates
    (Poisson Variational Autoencoder, NeurIPS 2024, figure 10), the threshold lies in the gap between small and large
    divergences. The gap is the widest one, on a logarithmic scale, between ``noise``, below which every latent is dead,
    and ``information``, above which every latent is alive. If there is no gap of a factor of two between the two
    values, the threshold is their geometric mean.

    Args:
        kl: KL divergence of each latent, averaged over observations, in nats, shape (K,).
        noise: lower end of the range in which the gap is sought, in nats.
        information: upper end of the range in which the gap is sought, in nats.

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
