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
