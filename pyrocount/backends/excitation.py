"""Most exciting inputs of latents, by gradient ascent through an encoder."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pyrocount.errors import InputError
from pyrocount.models import VAE
from pyrocount.models.networks import SparseEncoder

from .amortized_evaluation import evaluation_mode
from .evaluation import Array


def exciting_inputs(
    vae: VAE,
    latents: Sequence[int],
    start: Array,
    *,
    radius: float,
    limits: tuple[float, float],
    exposure: float | None = None,
    steps: int = 100,
) -> tuple[Array, Array]:
    """Finds for each of some latents the input with the largest posterior mean, by gradient ascent from one input.

    The inputs lie at most ``radius`` from the start, and all their values between the limits. Each step goes in the
    direction of the gradient, a tenth of the radius at first and less and less.

    Args:
        vae: model with an encoder.
        latents: numbers of the L latents.
        start: input to start from, shape (\\*shape), in the units of training.
        radius: largest Euclidean distance from the start, positive.
        limits: least and largest value of an input.
        exposure: length of the window, for likelihoods of counts.
        steps: number of steps.

    Returns:
        The inputs, shape (L, \\*shape), and the posterior mean of the latent of each, shape (L,).

    Raises:
        InputError: naming ``RUN``, if an optimisation takes the place of the encoder.

    References:
        Erhan, Bengio, Courville and Vincent, Visualizing Higher-Layer Features of a Deep Network, 2009; Walker et al.,
        Inception Loops Discover What Excites Neurons Most Using Deep Predictive Models, Nature Neuroscience 2019.
    """
    if isinstance(vae.encoder, SparseEncoder):
        raise InputError("RUN", "a model of sparse coding", "a model with an encoder")
    like = next(vae.parameters())
    chosen = torch.as_tensor(list(latents), device=like.device)
    first = torch.from_numpy(np.ascontiguousarray(start)).to(like).clamp(*limits).expand(len(chosen), *start.shape)
    windows = None if exposure is None else torch.full((len(chosen),), exposure).to(like)

    def response(x: Tensor) -> Tensor:
        return vae.encode(x, windows).mean.gather(1, chosen[:, None])[:, 0]

    x = first.clone()
    with evaluation_mode(vae, seed=0):
        for step in range(steps):
            x.requires_grad_()
            (slope,) = torch.autograd.grad(response(x).sum(), x)
            with torch.no_grad():
                length = 0.1 * radius * (1 - step / steps)
                moved = (x + length * slope / _norm(slope)).clamp(*limits) - first
                # The start is within the limits, and so is all on the way to it.
                x = first + moved * (radius / _norm(moved)).clamp(max=1)
        with torch.no_grad():
            reached = response(x)
    return x.detach().cpu().numpy(), reached.cpu().numpy()


def _norm(x: Tensor) -> Tensor:
    """Returns the norm of each input, of a shape that broadcasts with it; positive."""
    norm: Tensor = x.flatten(1).norm(dim=1).clamp(min=1e-30)
    return norm.view(-1, *(1,) * (x.dim() - 1))
