"""Figures of merit of a fitted VAE on held-out data, always of exact samples."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyrocount.metrics import active_latents, lifetime_sparsity, mean_rate, r_squared_of_each, zero_fraction
from pyrocount.models import VAE, CategoricalLatent, GaussianLikelihood, linear_weight

Array = NDArray[np.floating[Any]]

# Reconstructions that are kept for pictures.
KEPT = 100


@dataclass(frozen=True)
class Evaluation:
    """What exact posterior samples give on N observations, with S samples each.

    Attributes:
        figures: ``nelbo`` (nats per observation, constants included), ``nll`` (its first part, the negative log
            likelihood), ``paper_loss`` (sum of squares + beta KL, for Gaussian noise), ``mse``, ``r2``, ``kl`` (nats
            per observation), ``mean_rate``, ``zero_fraction`` and ``lifetime_sparsity`` (of what the decoder sees),
            ``active_latents``.
        counts: posterior samples as the decoder sees them, shape (S, N, K); activities, of families without counts.
        reconstructions: means of the data given the first sample, of up to 100 observations, shape (n, \\*shape).
        latent_kl: KL divergence of each latent, in nats, averaged over observations, shape (K,).
    """

    figures: dict[str, float]
    counts: Array
    reconstructions: Array
    latent_kl: Array


@torch.no_grad()
def evaluate(
    vae: VAE,
    x: Tensor,
    exposure: Tensor | None = None,
    *,
    beta: float = 1.0,
    samples: int = 8,
    seed: int = 0,
    batch_size: int = 500,
) -> Evaluation:
    """Evaluates a VAE on data of shape (N, \\*shape) on its device; leaves its mode and the random state as they were.

    Args:
        vae: the model.
        x: observations.
        exposure: length of each observation's window, shape (N,), for likelihoods of counts.
        beta: weight of the KL in ``paper_loss``.
        samples: exact samples drawn for each observation.
        seed: of those samples.
        batch_size: observations at a time.
    """
    windows = [None] * math.ceil(len(x) / batch_size) if exposure is None else exposure.split(batch_size)
    with _evaluation_mode(vae, seed):
        parts = [_evaluate_batch(vae, *both, samples) for both in zip(x.split(batch_size), windows, strict=True)]
    whole = joined(parts)
    evaluation = summary(whole, beta=beta if isinstance(vae.likelihood, GaussianLikelihood) else None)
    evaluation.figures["active_latents"] = _active(vae, evaluation.latent_kl, whole["counts"])
    return evaluation


def joined(parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """The arrays of several batches, one after the other."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def summary(arrays: Mapping[str, Array], *, beta: float | None) -> Evaluation:
    """What every model is measured by, of N observations with S samples each.

    Args:
        arrays: ``nll``, ``squares`` (mean squared error) and ``r2``, shape (N, S); ``kl``, shape (N, K); ``counts``,
            shape (N, S, K); ``predictions``, of the first sample of some observations, shape (n, \\*shape).
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
    return Evaluation(figures, counts, arrays["predictions"][:KEPT], latent_kl)


def finite_mean(values: Array) -> float:
    """The mean of what is not NaN, as the R^2 of constant observations is; NaN if all are."""
    return float(np.nanmean(values)) if not np.isnan(values).all() else math.nan


def _evaluate_batch(vae: VAE, x: Tensor, exposure: Tensor | None, samples: int) -> dict[str, Array]:
    """What ``summary`` takes, of a batch."""
    posterior = vae.posterior(x, exposure)
    z = posterior.sample((samples,))
    law = vae.likelihood(vae.decode(z), exposure)
    nll = -law.log_prob(x).flatten(2).sum(2)
    predictions, data = law.mean.cpu().numpy(), x.cpu().numpy()
    return {
        "nll": nll.T.cpu().numpy(),
        "kl": vae.latent.divergence(posterior).cpu().numpy(),
        "squares": np.square(predictions - data, dtype=np.float64).mean(tuple(range(2, predictions.ndim))).T,
        "r2": r_squared_of_each(data, predictions).T,
        "counts": vae.latent.activity(z).transpose(0, 1).cpu().numpy(),
        "predictions": predictions[0, :KEPT],
    }


def _active(vae: VAE, latent_kl: Array, counts: Array) -> int:
    """Latents that carry information.

    Of a categorical's classes, those that a linear decoder tells apart from silence; with any other decoder, which
    answers those too that it never saw, those that are chosen a tenth as often as all would be alike.
    """
    if not isinstance(vae.latent, CategoricalLatent):
        return active_latents(latent_kl)
    if linear_weight(vae.decoder) is None:
        return int((counts.mean((0, 1)) > 0.1 / len(latent_kl)).sum())
    norms = np.linalg.norm(dictionary(vae).reshape(len(latent_kl), -1), axis=1)
    return active_latents(norms / norms.max(), noise=1e-2, information=0.5)


@contextmanager
def _evaluation_mode(vae: VAE, seed: int) -> Iterator[None]:
    training = vae.training
    vae.eval()
    device = next(vae.parameters()).device
    try:
        # Seeds the generators of the CPU and of this device alone, as only they are put back.
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.default_generator.manual_seed(seed)
            if device.type == "cuda":
                with torch.cuda.device(device):
                    torch.cuda.manual_seed(seed)
            yield
    finally:
        vae.train(training)


@torch.no_grad()
def prior_samples(vae: VAE, number: int, *, seed: int = 0) -> Array:
    """Means of the data given exact latents drawn from the prior, shape (number, \\*shape)."""
    with _evaluation_mode(vae, seed):
        law = vae.likelihood(vae.decode(vae.latent.prior().sample((number,))))
    means: Array = law.mean.cpu().numpy()
    return means


@torch.no_grad()
def dictionary(vae: VAE) -> Array:
    """The decoder's response to one unit of activity in each latent, over that to none, shape (K, \\*shape)."""
    units = torch.eye(vae.latent.latent_dim).to(next(vae.parameters()))
    with _evaluation_mode(vae, seed=0):
        response: Array = (vae.decoder(units) - vae.decoder(torch.zeros_like(units[:1]))).cpu().numpy()
    return response
