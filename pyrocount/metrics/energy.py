"""Metrics of the cost of spikes and of what they tell."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .representation import Array, Labels, logistic


def spikes_per_observation(counts: NDArray[Any]) -> NDArray[np.float64]:
    """Returns the number of spikes of each observation, summed over the latents, shape (N,), from counts (N, K).

    >>> spikes_per_observation(np.array([[0, 3], [1, 1]])).tolist()
    [3.0, 2.0]
    """
    total: NDArray[np.float64] = counts.sum(-1, dtype=np.float64)
    return total


def thinned(counts: NDArray[Any], part: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Returns counts of which each spike is kept with a probability, as in a part of the observation window.

    Thinned Poisson counts are Poisson counts of so much lower rates, and likewise for the negative binomial.

    Args:
        counts: whole numbers, any shape.
        part: probability with which a spike is kept.
        rng: random generator.
    """
    kept: NDArray[np.int64] = rng.binomial(np.asarray(counts).astype(np.int64), part)
    return kept


def probe_hits(train_codes: Array, train_labels: Labels, codes: Array, labels: Labels) -> NDArray[np.bool_]:
    """Returns which held-out labels a logistic regression on standardised codes predicts, shape (M,).

    Args:
        train_codes: codes to learn from, shape (N, K).
        train_labels: their labels, shape (N,), of at least two classes.
        codes: held-out codes, shape (M, K).
        labels: their labels, shape (M,).
    """
    hits: NDArray[np.bool_] = logistic().fit(train_codes, train_labels).predict(codes) == labels
    return hits


def bits_per_spike_of_latents(kl: float, spikes: float) -> float:
    """Returns the information of the latents in bits for each spike; NaN without a spike.

    The mean divergence of the posterior from the prior is an upper bound of the mutual information of data and latents.

    Args:
        kl: mean KL divergence of an observation, in nats.
        spikes: mean number of spikes of an observation.
    """
    return kl / math.log(2) / spikes if spikes > 0 else math.nan
