"""Co-smoothing: how well codes of some channels of a recording predict the others, and simple codes to compare with.

Codes are arrays (N, K) with one row for each observation, and counts are arrays (N, channels).
"""

import warnings
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import NMF, FactorAnalysis
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import PoissonRegressor
from sklearn.preprocessing import StandardScaler

from .representation import Labels, logistic
from .spikes import bits_per_spike, mean_rates, poisson_nll

Array = NDArray[np.floating[Any]]

# Penalties of the regression, from which each set of codes takes its best, and the part of the training observations
# that chooses it.
PENALTIES, VALIDATION = (1e-4, 1e-3, 1e-2, 0.1, 1.0), 0.2
# Least predicted rate, in spikes a window, which keeps a single spike from costing everything.
LEAST_RATE = 1e-3


class Coder(Protocol):
    """Fits codes to training counts; returns those of training and of held-out counts."""

    def __call__(self, train: Array, test: Array, latents: int, seed: int) -> tuple[Array, Array]:
        """Returns the codes of counts (N, channels) and (M, channels), shapes (N, latents) and (M, latents)."""
        ...


def factor_analysis(train: Array, test: Array, latents: int, seed: int) -> tuple[Array, Array]:
    """Returns factors of the square roots of counts, whose variance hardly depends on the rate.

    Reference:
        Yu et al., Gaussian-Process Factor Analysis, Journal of Neurophysiology 2009.
    """
    # A channel that is the same in all observations has no noise to divide by.
    varying = train.min(0) < train.max(0)
    if not varying.any():
        return np.zeros((len(train), latents)), np.zeros((len(test), latents))
    roots, others = np.sqrt(train[:, varying]), np.sqrt(test[:, varying])
    model = FactorAnalysis(min(latents, roots.shape[1]), random_state=seed).fit(roots)
    return model.transform(roots), model.transform(others)


def poisson_factorization(train: Array, test: Array, latents: int, seed: int) -> tuple[Array, Array]:
    """Returns nonnegative factors by the likelihood of Poisson counts (Lee and Seung, NIPS 2001)."""
    if not train.any():
        return np.zeros((len(train), latents)), np.zeros((len(test), latents))
    model = NMF(latents, init="nndsvda", solver="mu", beta_loss="kullback-leibler", max_iter=500, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit_transform(train), model.transform(test)


BASELINES: dict[str, Coder] = {"factor analysis": factor_analysis, "Poisson NMF": poisson_factorization}


def held_out_channels(channels: int, part: float, seed: int) -> NDArray[np.int64]:
    """Returns the numbers of a random part of the channels, in order; at least one is in it, and one is not.

    >>> len(held_out_channels(8, 0.25, seed=0))
    2
    """
    number = min(max(round(part * channels), 1), channels - 1)
    return np.sort(np.random.default_rng(seed).permutation(channels)[:number])


def predicted_rates(
    train_codes: Array, train: Array, codes: Array, *, train_exposure: Array | None = None, seed: int = 0
) -> Array:
    """Returns rates of channels that a Poisson regression predicts from codes, per unit of exposure, shape (M, C).

    The codes are standardised. The penalty is the one at which a fifth of the training observations, left out, are
    likeliest, all channels together.

    Args:
        train_codes: codes of the training observations, shape (N, K).
        train: their counts in the channels, shape (N, C); NaN where they are missing.
        codes: codes of other observations, shape (M, K).
        train_exposure: length of each training observation's window, shape (N,); by default 1.
        seed: seed of the choice of the fifth.
    """
    # Latents that repeat each other leave a Hessian that single precision cannot invert.
    train_codes, codes = train_codes.astype(np.float64), codes.astype(np.float64)
    scaler = StandardScaler().fit(train_codes)
    inputs, others = scaler.transform(train_codes), scaler.transform(codes)
    windows = np.ones(len(train)) if train_exposure is None else np.asarray(train_exposure, np.float64)
    order = np.random.default_rng(seed).permutation(len(train))
    left, kept = np.split(order, [max(1, round(VALIDATION * len(train)))])

    def loss(penalty: float) -> float:
        rates = _regression(inputs[kept], train[kept], windows[kept], inputs[left], penalty)
        return float(poisson_nll(train[left], rates, windows[left]).sum())

    best = min(PENALTIES, key=loss) if len(kept) else PENALTIES[-1]
    return _regression(inputs, train, windows, others, best)


def co_smoothing(
    train_codes: Array,
    train: Array,
    codes: Array,
    counts: Array,
    *,
    train_exposure: Array | None = None,
    exposure: Array | None = None,
    seed: int = 0,
) -> float:
    """Returns the bits per spike that codes gain over the mean rates of channels that they have not seen.

    Args:
        train_codes: codes of the training observations by other channels, shape (N, K).
        train: their counts in the channels, shape (N, C).
        codes: codes of held-out observations, shape (M, K).
        counts: their counts, shape (M, C).
        train_exposure: length of each training observation's window, shape (N,); by default 1.
        exposure: length of each held-out observation's window, shape (M,); by default 1.
        seed: seed of the choice of the penalty.

    Reference:
        Macke et al., Empirical Models of Spiking in Neural Populations, NIPS 2011; Pei et al., Neural Latents
        Benchmark '21, 2021 (co-bps).
    """
    rates = predicted_rates(train_codes, train, codes, train_exposure=train_exposure, seed=seed)
    return gain(counts, rates, mean_rates(train, train_exposure), exposure)


def gain(counts: Array, rates: Array, null: Array, exposure: Array | None = None) -> float:
    """Returns the bits per spike of rates (M, C) over those of a null model, shape (C,), for counts (M, C)."""
    nll = [poisson_nll(counts, np.maximum(part, LEAST_RATE), exposure).sum() for part in (rates, null)]
    return bits_per_spike(float(nll[0]), float(nll[1]), float(np.nansum(counts)))


def decoding_accuracy(
    train_codes: Array, train_labels: Labels, codes: Array, labels: Labels, *, standardised: bool = True
) -> float:
    """Returns the accuracy of a logistic regression on codes, by default standardised, of held-out observations."""
    return float(logistic(standardised=standardised).fit(train_codes, train_labels).score(codes, labels))


def _regression(inputs: Array, counts: Array, windows: Array, others: Array, penalty: float) -> Array:
    rates = np.full((len(others), counts.shape[1]), LEAST_RATE)
    known = ~np.isnan(counts)
    # The regression of no spike at all has no optimum.
    for place in np.flatnonzero(np.nansum(counts, 0) > 0):
        seen = known[:, place]
        model = PoissonRegressor(alpha=penalty, solver="newton-cholesky", max_iter=200)
        model.fit(inputs[seen], counts[seen, place] / windows[seen], sample_weight=windows[seen])
        rates[:, place] = model.predict(others)
    return rates
