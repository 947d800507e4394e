"""Metrics of held-out data that every model is measured by."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyrocount.data import Units
from pyrocount.metrics import active_latents, sparsity_of_sums
from pyrocount.process.progress import progress_bar

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

    The evaluation of a run keeps ``counts``, ``reconstructions`` and moments of its first observations alone, so that
    its memory does not depend on their number; it keeps a few numbers of each.

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


class Totals:
    """Sums over observations in batches, from which the evaluation of all of them follows.

    Args:
        keep: number of the first observations whose samples, moments and reconstructions are kept; None for all.
    """

    def __init__(self, keep: int | None = None) -> None:
        self.keep = keep
        self._number = 0
        self._sums: dict[str, Any] = {}
        self._parts: list[dict[str, Array]] = []
        self._each: list[dict[str, Array]] = []

    def add(self, arrays: Mapping[str, Array]) -> None:
        """Adds a batch of N observations with S samples each.

        Args:
            arrays: ``nll``, ``squares`` (mean squared error) and ``r2``, shape (N, S); ``kl``, ``mean`` and
                ``variance`` (those of the latents under the posterior), shape (N, K); ``counts``, shape (N, S, K);
                ``predictions``, of the first sample, shape (N, \\*shape).
        """
        counts = arrays["counts"]
        sums = {
            "kl": arrays["kl"].sum(0, dtype=np.float64),
            "nll": arrays["nll"].sum(dtype=np.float64),
            "squares": arrays["squares"].sum(dtype=np.float64),
            "r2": np.nansum(arrays["r2"], dtype=np.float64),
            "with_r2": np.count_nonzero(~np.isnan(arrays["r2"])),
            "counts": counts.sum((0, 1), dtype=np.float64),
            "zeros": np.count_nonzero(counts == 0),
            "magnitudes": np.abs(counts).sum(0, dtype=np.float64),
            "square_counts": np.square(counts, dtype=np.float64).sum(0),
            "samples": arrays["nll"].size,
        }
        self._sums = {name: self._sums.get(name, 0) + part for name, part in sums.items()}
        nll, kl = arrays["nll"].mean(1), arrays["kl"].sum(1)
        squares, r2 = arrays["squares"].mean(1), arrays["r2"].mean(1)
        self._each.append({"nelbo": nll + kl, "nll": nll, "kl": kl, "mse": squares, "r2": r2})
        left = len(nll) if self.keep is None else min(len(nll), self.keep - self._number)
        if left > 0 or not self._parts:
            kept = ("counts", "predictions", "mean", "variance")
            self._parts.append({name: arrays[name][:left] for name in kept})
        self._number += len(nll)

    @property
    def mean_counts(self) -> Array:
        """Returns the mean of each latent as the decoder sees it, shape (K,)."""
        mean: Array = self._sums["counts"] / self._sums["samples"]
        return mean

    def evaluation(self, *, beta: float | None) -> Evaluation:
        """Returns the evaluation of all observations.

        Args:
            beta: weight of the KL in ``paper_loss``; None for noise that is not Gaussian, which has no such loss.
        """
        sums, arrays = self._sums, joined(self._parts)
        latent_kl = sums["kl"] / self._number
        kl = float(latent_kl.sum())
        nll, mse = (float(sums[name] / sums["samples"]) for name in ("nll", "squares"))
        metrics: dict[str, float] = {"nelbo": nll + kl, "nll": nll}
        if beta is not None:
            metrics["paper_loss"] = mse * math.prod(arrays["predictions"].shape[1:]) + beta * kl
        values = sums["samples"] * len(latent_kl)
        metrics |= {
            "mse": mse,
            "r2": float(sums["r2"] / sums["with_r2"]) if sums["with_r2"] else math.nan,
            "kl": kl,
            "mean_rate": float(sums["counts"].sum() / values),
            "zero_fraction": float(sums["zeros"] / values),
            "lifetime_sparsity": sparsity_of_sums(sums["magnitudes"], sums["square_counts"], self._number),
            "active_latents": active_latents(latent_kl),
        }
        counts = arrays["counts"].swapaxes(0, 1)
        moments = arrays["mean"], arrays["variance"]
        return Evaluation(metrics, counts, arrays["predictions"], latent_kl, *moments, joined(self._each))


def counted(sizes: Mapping[str, int]) -> dict[str, int]:
    """Returns the numbers of parameters of encoder, decoder and the whole model, from those by name.

    >>> counted({"decoder.weight": 6, "decoder.bias": 2, "prior.log_rate": 3})
    {'encoder': 0, 'decoder': 8, 'total': 11}
    """
    found = {
        part: sum(size for name, size in sizes.items() if name.startswith(f"{part}."))
        for part in ("encoder", "decoder")
    }
    return found | {"total": sum(sizes.values())}


def finite_mean(values: Array) -> float:
    """Returns the mean of the values that are not NaN, as the R^2 of constant observations is; NaN if all are."""
    return float(np.nanmean(values)) if not np.isnan(values).all() else math.nan


def in_batches(
    x: Array | Units, exposure: Array | None, size: int, progress: bool = False
) -> Iterator[tuple[Array, Array | None]]:
    """Yields observations (N, \\*shape) and lengths of their windows (N,), some at a time, perhaps with a bar."""
    starts = range(0, len(x), size)
    for first in progress_bar(starts, shown=progress, unit="batch", leave=False):
        rows = slice(first, first + size)
        yield x[rows], None if exposure is None else exposure[rows]
