"""Figures of merit of a fitted VAE on held-out data, always of exact counts."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import kl_divergence

from pyrocount.metrics import active_latents, mean_rate, mean_squared_error, r_squared, zero_fraction
from pyrocount.models import VAE

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Evaluation:
    """What exact posterior counts give on N observations, with S samples each.

    Attributes:
        figures: ``nelbo`` (nats per observation, constants included), ``paper_loss`` (sum of squares + beta KL),
            ``mse``, ``r2``, ``kl`` (nats per observation), ``mean_rate``, ``zero_fraction``, ``active_latents``.
        counts: posterior counts, shape (S, N, K).
        reconstructions: decoded from the first sample, shape (N, \\*shape).
        latent_kl: KL divergence of each latent, in nats, averaged over observations, shape (K,).
    """

    figures: dict[str, float]
    counts: Array
    reconstructions: Array
    latent_kl: Array


@torch.no_grad()
def evaluate(
    vae: VAE, x: Tensor, *, beta: float = 1.0, samples: int = 8, seed: int = 0, batch_size: int = 500
) -> Evaluation:
    """Evaluates a VAE on data of shape (N, \\*shape) on its device; leaves its mode and the random state as they were.

    Args:
        vae: the model.
        x: observations.
        beta: weight of the KL in ``paper_loss``.
        samples: exact counts drawn for each observation.
        seed: of those counts.
        batch_size: observations at a time.
    """
    with _evaluation_mode(vae, seed):
        parts = [_evaluate_batch(vae, batch, samples) for batch in x.split(batch_size)]
    nll, kl, counts, predictions = (
        torch.cat(part, dim).cpu().numpy() for part, dim in zip(zip(*parts, strict=True), (1, 0, 1, 1), strict=True)
    )
    data = x.cpu().numpy()
    mse = float(np.mean([mean_squared_error(data, prediction) for prediction in predictions]))
    r2 = float(np.mean([r_squared(data, prediction) for prediction in predictions]))
    figures = {
        "nelbo": float(nll.mean(dtype=np.float64) + kl.sum(1).mean(dtype=np.float64)),
        "paper_loss": mse * math.prod(vae.shape) + beta * float(kl.sum(1).mean(dtype=np.float64)),
        "mse": mse,
        "r2": r2,
        "kl": float(kl.sum(1).mean(dtype=np.float64)),
        "mean_rate": mean_rate(counts),
        "zero_fraction": zero_fraction(counts),
        "active_latents": active_latents(kl.mean(0)),
    }
    return Evaluation(figures, counts, predictions[0], kl.mean(0))


def _evaluate_batch(vae: VAE, x: Tensor, samples: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns nll (S, N), KL (N, K), counts (S, N, K) and predictions (S, N, \\*shape)."""
    posterior, prior = vae.encode(x).base_dist, vae.latent.prior()
    z = posterior.sample((samples,))
    prediction = vae.decode(z)
    nll = -vae.likelihood(prediction).log_prob(x).flatten(2).sum(2)
    kl = kl_divergence(posterior, prior.expand(posterior.batch_shape))
    return nll, kl, z, prediction


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
    """Decodes exact counts drawn from the prior, shape (number, \\*shape)."""
    with _evaluation_mode(vae, seed):
        decoded: Array = vae.decode(vae.latent.prior().sample((number,))).cpu().numpy()
    return decoded


@torch.no_grad()
def dictionary(vae: VAE) -> Array:
    """The decoder's response to a single spike in each latent, over that to none, shape (K, \\*shape)."""
    spikes = torch.eye(vae.latent.latent_dim).to(next(vae.parameters()))
    with _evaluation_mode(vae, seed=0):
        response: Array = (vae.decode(spikes) - vae.decode(torch.zeros_like(spikes))).cpu().numpy()
    return response
