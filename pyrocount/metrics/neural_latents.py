"""Metrics of the Neural Latents Benchmark for trials x bins x channels.

Reference:
    Pei et al., Neural Latents Benchmark '21: Evaluating latent variable models of neural population activity, NeurIPS
    Datasets and Benchmarks 2021, section 3.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV

from .representation import Labels
from .spikes import bits_per_spike, poisson_nll

Array = NDArray[np.floating[Any]]

# Penalties of the ridge regression of the velocity, of which cross-validation takes the best.
PENALTIES = np.logspace(-4, 0, 9)


def co_bps(spikes: Array, rates: Array) -> float:
    """Returns bits per spike of predicted rates over the mean rates of the same spikes (co-bps, fp-bps).

    Of held-out channels it is the benchmark's co-smoothing, of later bins its forward prediction.

    Args:
        spikes: counts, shape (trials, bins, channels); NaN where they are missing.
        rates: predicted counts, of the same shape.

    >>> co_bps(np.array([[[1.0], [3.0]]]), np.array([[[1.0], [3.0]]])).__round__(4)
    0.1887
    """
    null: Array = np.asarray(np.nanmean(spikes, (0, 1), dtype=np.float64))
    loss, most = (float(poisson_nll(spikes, part).sum()) for part in (rates, null))
    return bits_per_spike(loss, most, float(np.nansum(spikes)))


def velocity_r_squared(train_rates: Array, train_velocity: Array, rates: Array, velocity: Array) -> float:
    """Returns R^2 of velocities that a ridge regression predicts from rates, averaged over their components.

    Args:
        train_rates: rates of training data, shape (trials, bins, channels) or (observations, channels).
        train_velocity: velocities at these, shape (trials, bins, components) or (observations, components).
        rates: rates of held-out data.
        velocity: velocities at these.
    """
    inputs, others = (part.reshape(-1, part.shape[-1]) for part in (train_rates, rates))
    targets, truth = (part.reshape(-1, part.shape[-1]) for part in (train_velocity, velocity))
    decoder = GridSearchCV(Ridge(), {"alpha": PENALTIES}).fit(inputs, targets)
    return float(decoder.score(others, truth))


def psth_r_squared(spikes: Array, rates: Array, conditions: Labels) -> float:
    """Returns R^2 of the mean rates of each condition, over time, averaged over the channels.

    Args:
        spikes: counts, shape (trials, bins, channels).
        rates: predicted counts, of the same shape.
        conditions: condition of each trial, shape (trials,).
    """
    known = np.unique(conditions)
    recorded, predicted = (
        np.stack([part[conditions == condition].mean(0, dtype=np.float64) for condition in known])
        for part in (spikes, rates)
    )
    flat = [part.reshape(-1, part.shape[-1]) for part in (recorded, predicted)]
    return float(r2_score(*flat))
