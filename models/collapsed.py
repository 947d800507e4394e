"""Pyro program whose latents are integrated out, for linear decoders: the gradient estimator ``exact``."""

import pyro
from torch import Tensor

from pyrocount.errors import InputError

from .likelihoods import GaussianLikelihood
from .networks import linear_weight
from .vae import VAE


class CollapsedVAE:
    r"""Program without latent sites for a VAE with a linear decoder and Gaussian noise: its ELBO has no sampling noise.

    .. math:: E_q \lVert x - b - \Phi z \rVert^2
              = \lVert x - b - \Phi\, E_q z \rVert^2 + \mathrm{tr}(\Phi\, \mathrm{Cov}_q(z)\, \Phi^\top)

    ``Trace_ELBO()(program.model, program.guide)`` is the ELBO of ``vae`` itself, with the KL divergence in closed form.

    Args:
        vae: model whose parameters the program trains.

    Raises:
        InputError: naming ``estimator``, if the decoder is not linear, the noise not Gaussian, or the mean and
            variance of the latents have no closed form.

    Reference:
        Vafaii, Galor and Yates, Poisson Variational Autoencoder, NeurIPS 2024, section 3 (EX).
    """

    def __init__(self, vae: VAE) -> None:
        if linear_weight(vae.decoder) is None:
            problem = "'exact' for a decoder that is not linear"
            raise InputError("estimator", problem, "a linear decoder (--decoder lin)")
        if not isinstance(vae.likelihood, GaussianLikelihood):
            problem = "'exact' for noise that is not Gaussian"
            raise InputError("estimator", problem, "Gaussian noise (--likelihood gaussian)")
        self.vae = vae
        self.noise = vae.likelihood

    def model(self, x: Tensor, exposure: Tensor | None = None) -> None:
        """Runs the collapsed generative program for data of shape (N, \\*shape)."""
        vae = self.vae
        vae.register()
        posterior = vae.posterior(x)
        with pyro.plate("data", len(x)):
            pyro.factor("kl", -vae.kl_weight * vae.latent.divergence(posterior).sum(-1))
            mean, scatter = prediction_moments(vae, posterior)
            pyro.sample("x", self.noise(mean).to_event(len(vae.shape)), obs=x)
            pyro.factor("scatter", -scatter / (2 * self.noise.scale**2))

    def guide(self, x: Tensor, exposure: Tensor | None = None) -> None:
        """Does nothing, as the program has no latents to infer."""


def prediction_moments(vae: VAE, posterior: object) -> tuple[Tensor, Tensor]:
    """Returns the mean (N, \\*shape) and total variance (N,) of a linear decoder's predictions under a posterior."""
    weight = linear_weight(vae.decoder)
    assert weight is not None
    mean, _ = vae.latent.moments(posterior)
    return vae.decoder(mean), vae.latent.scatter(posterior, weight)
