"""Metrics of a fitted VAE on held-out data, always of exact samples."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from pyrocount.metrics import active_latents, r_squared_per_observation, squared_errors
from pyrocount.models import VAE, CategoricalLatent, GaussianLikelihood, linear_weight
from pyrocount.models.likelihoods import pointwise_log_likelihood

from .evaluation import Array, Evaluation, Totals


@torch.no_grad()
def evaluate(
    vae: VAE,
    batches: Iterable[tuple[Tensor, Tensor | None]],
    *,
    beta: float = 1.0,
    samples: int = 8,
    seed: int = 0,
    keep: int | None = None,
) -> Evaluation:
    """Evaluates a VAE on data on its device; leaves its mode and the random state as they were.

    Args:
        vae: the model.
        batches: observations, shape (N, \\*shape), and lengths of their windows, shape (N,), for likelihoods of counts.
        beta: weight of the KL in ``paper_loss``.
        samples: number of exact samples of each observation.
        seed: seed of the samples.
        keep: number of the first observations whose samples are kept; None for all.
    """
    totals = Totals(keep)
    with evaluation_mode(vae, seed):
        for batch in batches:
            totals.add(_evaluate_batch(vae, *batch, samples))
    evaluation = totals.evaluation(beta=beta if isinstance(vae.likelihood, GaussianLikelihood) else None)
    evaluation.metrics["active_latents"] = _active(vae, evaluation.latent_kl, totals.mean_counts)
    return evaluation


def _evaluate_batch(vae: VAE, x: Tensor, exposure: Tensor | None, samples: int) -> dict[str, Array]:
    """Returns the arrays of a batch that ``Totals`` takes."""
    posterior = vae.posterior(x, exposure)
    z = posterior.sample((samples,))
    observed = vae.observed(z, exposure)
    nll = -pointwise_log_likelihood(observed, x).flatten(2).sum(2)
    predictions, data = observed.mean.cpu().numpy(), x.cpu().numpy()
    return {
        "nll": nll.T.cpu().numpy(),
        "kl": vae.latent.divergence(posterior).cpu().numpy(),
        "mean": posterior.mean.cpu().numpy(),
        "variance": posterior.variance.cpu().numpy(),
        "squares": squared_errors(data, predictions).T,
        "r2": r_squared_per_observation(data, predictions).T,
        "counts": vae.latent.activity(z).transpose(0, 1).cpu().numpy(),
        # A copy, as a view would keep the predictions of all samples in memory.
        "predictions": predictions[0].copy(),
    }


def _active(vae: VAE, latent_kl: Array, mean_counts: Array) -> int:
    """Returns the number of latents that carry information.

    Of a categorical's classes, those that a linear decoder tells apart from silence count; with any other decoder,
    which responds to unseen classes too, those that are chosen at least a tenth as often as if all were alike.
    """
    if not isinstance(vae.latent, CategoricalLatent):
        return active_latents(latent_kl)
    if linear_weight(vae.decoder) is None:
        return int((mean_counts > 0.1 / len(latent_kl)).sum())
    norms = np.linalg.norm(dictionary(vae).reshape(len(latent_kl), -1), axis=1)
    return active_latents(norms / norms.max(), noise=1e-2, information=0.5)


@contextmanager
def evaluation_mode(vae: VAE, seed: int) -> Iterator[None]:
    """Sets exact samples from a seed within the block; puts mode and random state back after it."""
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
def dictionary(vae: VAE) -> Array:
    """Returns the decoder's response to one unit of each latent, over that to none, shape (K, \\*shape)."""
    units = torch.eye(vae.latent.latent_dim).to(next(vae.parameters()))
    with evaluation_mode(vae, seed=0):
        response: Array = (vae.decoder(units) - vae.decoder(torch.zeros_like(units[:1]))).cpu().numpy()
    return response
