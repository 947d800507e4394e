"""Metrics of held-out data that every model is measured by."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyrocount.metrics import active_latents, lifetime_sparsity, mean_rate, zero_fraction

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Curves:
    """Averages over observations after each of the T steps of iterative inference, all of shape (T,).

    Attributes:
        r2: mean R^2.
        r2_median: median R^2.
        zero_fraction: fraction of zeros among the counts, or among the other latents as the decoder sees them.
        free_energy: free energy, in nats per observation.
    """

    r2: Array
    r2_median: Array
    zero_fraction: Array
    free_energy: Array


@dataclass(frozen=True)
class Evaluation:
    """Results of exact posterior samples on N observations, with S samples each.

    Attributes:
        metrics: ``nelbo`` (nats per observation, constants included), ``nll`` (its first part, the negative log
            likelihood), ``paper_loss`` (sum of squares + beta KL, for Gaussian noise), ``mse``, ``r2``, ``kl`` (nats
            per observation), ``mean_rate``, ``zero_fraction`` and ``lifetime_sparsity`` (of the latents as the decoder
            sees them), ``active_latents``.
        counts: posterior samples as the decoder sees them, shape (S, N, K); activities, of families without counts.
        reconstructions: means of the data given the first sample, shape (N, \\*shape).
        latent_kl: KL divergence of each latent, in nats, averaged over observations, shape (K,).
        posterior_mean: posterior mean of the latents, shape (N, K).
        posterior_variance: posterior variance of the latents, shape (N, K); 0 of points.
        per_observation: ``nelbo``, ``nll``, ``kl``, ``mse`` and ``r2`` of each observation, shape (N,).
        curves: averages over the steps of the inference, for iterative models.
    """

    metrics: dict[str, float]
    counts: Array
    reconstructions: Array
    latent_kl: Array
    posterior_mean: Array
    posterior_variance: Array
    per_observation: dict[str, Array]
    curves: Curves | None = None


def joined(parts: Sequence[dict[str, Array]]) -> dict[str, Array]:
    """Returns the arrays of several batches, one after the other; takes them out of the parts, to save memory."""
    return {name: np.concatenate([part.pop(name) for part in parts]) for name in list(parts[0])}


def summary(arrays: Mapping[str, Array], *, beta: float | None) -> Evaluation:
    """Returns the evaluation of N observations with S samples each.

    Args:
        arrays: ``nll``, ``squares`` (mean squared error) and ``r2``, shape (N, S); ``kl``, ``mean`` and ``variance``
            (those of the latents under the posterior), shape (N, K); ``counts``, shape (N, S, K); ``predictions``, of
            the first sample, shape (N, \\*shape).
        beta: weight of the KL in ``paper_loss``; None for noise that is not Gaussian, which has no such loss.
    """
    latent_kl = arrays["kl"].mean(0, dtype=np.float64)
    counts = arrays["counts"].swapaxes(0, 1)
    kl, nll, mse = (
        float(part) for part in (latent_kl.sum(), arrays["nll"].mean(dtype=np.float64), arrays["squares"].mean())
    )
    metrics: dict[str, float] = {"nelbo": nll + kl, "nll": nll}
    if beta is not None:
        metrics["paper_loss"] = mse * math.prod(arrays["predictions"].shape[1:]) + beta * kl
    metrics |= {
        "mse": mse,
        "r2": finite_mean(arrays["r2"]),
        "kl": kl,
        "mean_rate": mean_rate(counts),
        "zero_fraction": zero_fraction(counts),
        "lifetime_sparsity": lifetime_sparsity(counts),
        "active_latents": active_latents(latent_kl),
    }
    nll_each, kl_each = arrays["nll"].mean(1), arrays["kl"].sum(1)
    per_observation = {
        "nelbo": nll_each + kl_each,
        "nll": nll_each,
        "kl": kl_each,
        "mse": arrays["squares"].mean(1),
        "r2": arrays["r2"].mean(1),
    }
    moments = arrays["mean"], arrays["variance"]
    return Evaluation(metrics, counts, arrays["predictions"], latent_kl, *moments, per_observation)


def finite_mean(values: Array) -> float:
    """Returns the mean of the values that are not NaN, as the R^2 of constant observations is; NaN if all are."""
    return float(np.nanmean(values)) if not np.isnan(values).all() else math.nan
