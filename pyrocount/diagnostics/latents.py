"""Comparisons of the latents of a fitted model with their prior, and with the latents of another fit."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.stats import ks_2samp

Array = NDArray[np.floating[Any]]


def aggregate_distance(posterior: Array, prior: Array) -> Array:
    """Returns the distance of each latent's posterior, averaged over observations, from its prior.

    A model whose aggregate posterior is not its prior generates from latents that no data have.

    Args:
        posterior: posterior samples of the latents of N observations, shape (S, N, K).
        prior: samples of the prior, shape (M, K).

    Returns:
        Largest difference of the two distribution functions of each latent, from 0 to 1, shape (K,).

    Reference:
        Hoffman and Johnson, ELBO Surgery, NIPS workshop on Advances in Approximate Bayesian Inference 2016.

    >>> aggregate_distance(np.array([[[0.0], [0.0]]]), np.array([[0.0], [1.0]])).tolist()
    [0.5]
    """
    drawn = posterior.reshape(-1, posterior.shape[-1])
    return np.array(
        [ks_2samp(one, other, method="asymp").statistic for one, other in zip(drawn.T, prior.T, strict=True)]
    )


def match_latents(reference: Array, dictionary: Array, *, symmetric: bool = False) -> tuple[NDArray[np.int64], Array]:
    """Pairs the latents of two fits, whose order means nothing, by their columns of the decoder.

    The pairs are those with the largest sum of cosines, or of the magnitudes of the cosines if ``symmetric`` (the
    Hungarian algorithm).

    Args:
        reference: response of the decoder of the first fit to one unit of each latent, shape (K, \\*shape).
        dictionary: response of the decoder of the second fit to one unit of each latent, shape (K, \\*shape).
        symmetric: whether columns of opposite sign are alike, as those of Gaussian latents are.

    Returns:
        Number of the second fit's latent that is paired with each latent of the first fit, shape (K,), and the cosine
        of each pair, shape (K,).

    >>> order, cosine = match_latents(np.eye(3), np.eye(3)[[2, 0, 1]] * 5)
    >>> order.tolist(), cosine.tolist()
    ([1, 2, 0], [1.0, 1.0, 1.0])
    """
    first, second = (_unit(part.reshape(len(part), -1)) for part in (reference, dictionary))
    cosine = first @ second.T
    rows, order = linear_sum_assignment(-np.abs(cosine) if symmetric else -cosine)
    return order.astype(np.int64), cosine[rows, order]


def _unit(rows: Array) -> Array:
    rows = rows.astype(np.float64)
    unit: Array = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)
    return unit
