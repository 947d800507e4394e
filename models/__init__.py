"""Pyro programs, and the registry by which the command line finds them."""

from collections.abc import Callable, Sequence

from pyrocount.distributions import Relaxation
from pyrocount.errors import InputError

from .latents import CountLatent, NegativeBinomialLatent, PoissonLatent
from .likelihoods import GaussianLikelihood
from .networks import make_decoder, make_encoder
from .vae import VAE

__all__ = [
    "MODELS",
    "VAE",
    "CountLatent",
    "GaussianLikelihood",
    "NegativeBinomialLatent",
    "PoissonLatent",
    "make_decoder",
    "make_encoder",
    "make_vae",
]

# Each makes a latent family from latent_dim, relaxation and shared_dispersion.
MODELS: dict[str, Callable[[int, Relaxation, bool], CountLatent]] = {
    "poisson": lambda latent_dim, relaxation, shared_dispersion: PoissonLatent(latent_dim, relaxation),
    "negbio": NegativeBinomialLatent,
}


def make_vae(
    model: str,
    shape: Sequence[int],
    *,
    latent_dim: int,
    relaxation: Relaxation,
    encoder: str = "mlp",
    decoder: str = "mlp",
    scale: float = 0.5**0.5,
    shared_dispersion: bool = True,
) -> VAE:
    """Builds a VAE by the names of its parts.

    Args:
        model: latent family, a key of ``MODELS``.
        shape: shape of one observation, (D,) or (channels, height, width).
        latent_dim: number of latent counts.
        relaxation: how counts are sampled in training mode.
        encoder: ``"lin"``, ``"mlp"`` or ``"conv"``.
        decoder: likewise.
        scale: standard deviation of the Gaussian likelihood, in units of the data.
        shared_dispersion: whether the posterior keeps the prior's total_count (negative binomial only).

    Raises:
        InputError: naming the argument that is out of range.
    """
    if model not in MODELS:
        raise InputError("model", repr(model), f"one of {', '.join(MODELS)}")
    latent = MODELS[model](latent_dim, relaxation, shared_dispersion)
    return VAE(
        make_encoder(encoder, shape, latent.features),
        latent,
        make_decoder(decoder, latent_dim, shape),
        GaussianLikelihood(scale),
        shape,
    )
