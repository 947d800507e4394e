"""Amortisation gap: the ELBO lost by an encoder that has to serve all observations."""

from typing import Any

import torch
from torch import Tensor

from pyrocount.distributions import SteinChen
from pyrocount.errors import InputError
from pyrocount.models import VAE, CountLatent
from pyrocount.models.likelihoods import pointwise_log_likelihood
from pyrocount.process.progress import progress_bar

from .amortized_evaluation import evaluation_mode
from .evaluation import Array


def posterior_gap(
    vae: VAE,
    x: Tensor,
    exposure: Tensor | None = None,
    *,
    steps: int = 300,
    lr: float = 0.03,
    samples: int = 20,
    seed: int = 0,
    progress: bool = False,
) -> tuple[Array, Array]:
    """Computes the negative ELBO of posteriors by the encoder, and of posteriors refined for each observation.

    Adam starts from the features that the encoder gives for an observation, and looks for those with the largest ELBO,
    in the same family. Gradients of counts are Stein-Chen's.

    Args:
        vae: model whose latents carry a gradient.
        x: data, shape (N, \\*shape), on the device of the model.
        exposure: length of each observation's window, shape (N,), for likelihoods of counts.
        steps: number of steps of Adam.
        lr: learning rate of Adam at first, which decays to 0 with a cosine.
        samples: number of exact samples for the bounds that are returned; 4 are drawn in a step.
        seed: seed of all samples.
        progress: whether to show a progress bar.

    Returns:
        The negative ELBO of each observation, in nats, by the encoder and refined, both (N,). Their difference is the
        amortisation gap, with the noise of the samples.

    Raises:
        InputError: naming ``estimator``, if samples of the latents carry no gradient.

    Reference:
        Cremer, Li and Duvenaud, Inference Suboptimality in Variational Autoencoders, ICML 2018.
    """
    latent = vae.latent
    with torch.no_grad():
        first = vae.features(x, exposure)
    features = first.clone().requires_grad_()
    optimizer = torch.optim.Adam([features], lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    known: Any = getattr(latent, "relaxation", None)
    with evaluation_mode(vae, seed):
        vae.train()
        if isinstance(latent, CountLatent):
            latent.relaxation = SteinChen()
        try:
            for _ in progress_bar(range(steps), shown=progress, leave=False, unit="step"):
                posterior = latent.posterior(features)
                if not posterior.has_rsample:
                    raise InputError(
                        "estimator", "samples without a gradient", "an estimator with reparameterised samples"
                    )
                loss = _nelbo(vae, posterior, posterior.rsample((4,)), x, exposure).sum()
                (features.grad,) = torch.autograd.grad(loss, features)
                optimizer.step()
                schedule.step()
        finally:
            if isinstance(latent, CountLatent):
                latent.relaxation = known
    found = []
    for part in (first, features.detach()):
        # The same random numbers for both.
        with torch.no_grad(), evaluation_mode(vae, seed + 1):
            posterior = latent.posterior(part)
            found.append(_nelbo(vae, posterior, posterior.sample((samples,)), x, exposure).cpu().numpy())
    return found[0], found[1]


def _nelbo(vae: VAE, posterior: Any, z: Tensor, x: Tensor, exposure: Tensor | None) -> Tensor:
    """Returns the negative ELBO of each observation, shape (N,), by samples (S, N, K) of its posterior."""
    observed = vae.observed(z, exposure)
    kl: Tensor = vae.latent.divergence(posterior).sum(-1)
    return kl - pointwise_log_likelihood(observed, x).flatten(2).sum(2).mean(0)
