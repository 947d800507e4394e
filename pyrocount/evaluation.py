"""What every fitted model is measured by on held-out data."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyrocount.metrics import active_latents, lifetime_sparsity, mean_rate, zero_fraction

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Evaluation:
    """What exact posterior samples give on N observations, with S samples each.

    Attributes:
        figures: ``nelbo`` (nats per observation, constants included), ``nll`` (its first part, the negative log
            likelihood), ``paper_loss`` (sum of squares + beta KL, for Gaussian noise), ``mse``, ``r2``, ``kl`` (nats
            per observation), ``mean_rate``, ``zero_fraction`` and ``lifetime_sparsity`` (of what the decoder sees),
            ``active_latents``.
        counts: posterior samples as the decoder sees them, shape (S, N, K); activities, of families without counts.
        reconstructions: means of the data given the first sample, shape (N, \\*shape).
        latent_kl: KL divergence of each latent, in nats, averaged over observations, shape (K,).
        each: ``nelbo``, ``nll``, ``kl``, ``mse`` and ``r2`` of each observation, shape (N,).
    """

    figures: dict[str, float]
    counts: Array
    reconstructions: Array
    latent_kl: Array
    each: dict[str, Array]


def joined(parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """The arrays of several batches, one after the other."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def summary(arrays: Mapping[str, Array], *, beta: float | None) -> Evaluation:
    """What every model is measured by, of N observations with S samples each.

    Args:
        arrays: ``nll``, ``squares`` (mean squared error) and ``r2``, shape (N, S); ``kl``, shape (N, K); ``counts``,
            shape (N, S, K); ``predictions``, of the first sample, shape (N, \\*shape).
        beta: weight of the KL in ``paper_loss``; None where there is none, as the noise is not Gaussian.
    """
    latent_kl = arrays["kl"].mean(0, dtype=np.float64)
    counts = arrays["counts"].swapaxes(0, 1)
    kl, nll, mse = (
        float(part) for part in (latent_kl.sum(), arrays["nll"].mean(dtype=np.float64), arrays["squares"].mean())
    )
    figures: dict[str, float] = {"nelbo": nll + kl, "nll": nll}
    if beta is not None:
        figures["paper_loss"] = mse * math.prod(arrays["predictions"].shape[1:]) + beta * kl
    figures |= {
        "mse": mse,
        "r2": finite_mean(arrays["r2"]),
        "kl": kl,
        "mean_rate": mean_rate(counts),
        "zero_fraction": zero_fraction(counts),
        "lifetime_sparsity": lifetime_sparsity(counts),
        "active_latents": active_latents(latent_kl),
    }
    nll_each, kl_each = arrays["nll"].mean(1), arrays["kl"].sum(1)
    each = {
        "nelbo": nll_each + kl_each,
        "nll": nll_each,
        "kl": kl_each,
        "mse": arrays["squares"].mean(1),
        "r2": arrays["r2"].mean(1),
    }
    return Evaluation(figures, counts, arrays["predictions"], latent_kl, each)


def finite_mean(values: Array) -> float:
    """The mean of what is not NaN, as the R^2 of constant observations is; NaN if all are."""
    return float(np.nanmean(values)) if not np.isnan(values).all() else math.nan
