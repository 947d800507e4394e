"""The program whose latents are integrated out, for linear decoders: the estimator ``exact``."""

import pyro
from torch import Tensor

from pyrocount.errors import InputError

from .likelihoods import GaussianLikelihood
from .networks import linear_weight
from .vae import VAE


class CollapsedVAE:
    r"""A VAE with a linear decoder and Gaussian noise as a program without latent sites: its ELBO has no noise.

    .. math:: E_q \lVert x - b - \Phi z \rVert^2
              = \lVert x - b - \Phi\, E_q z \rVert^2 + \mathrm{tr}(\Phi\, \mathrm{Cov}_q(z)\, \Phi^\top)

    ``Trace_ELBO()(program.model, program.guide)`` is the ELBO of ``vae`` itself, with the closed KL divergence.

    Args:
        vae: whose parameters it trains.

    Raises:
        InputError: naming ``estimator``, if the decoder is not linear, the noise not Gaussian, or the mean and
            variance of the latents have no closed form.

    Reference:
        Vafaii, Galor and Yates, Poisson Variational Autoencoder, NeurIPS 2024, section 3 (EX).
    """

    def __init__(self, vae: VAE) -> None:
        if linear_weight(vae.decoder) is None:
            raise InputError("estimator", "'exact' for a decoder that is not linear", "--decoder lin for it")
        if not isinstance(vae.likelihood, GaussianLikelihood):
            raise InputError("estimator", "'exact' for noise that is not Gaussian", "--likelihood gaussian for it")
        self.vae = vae
        self.noise = vae.likelihood

    def model(self, x: Tensor, exposure: Tensor | None = None) -> None:
        """The collapsed program for data of shape (N, \\*shape)."""
        vae = self.vae
        vae.register()
        posterior = vae.posterior(x)
        with pyro.plate("data", len(x)):
            pyro.factor("kl", -vae.kl_weight * vae.latent.divergence(posterior).sum(-1))
            mean, scatter = expected_prediction(vae, posterior)
            pyro.sample("x", self.noise(mean).to_event(len(vae.shape)), obs=x)
            pyro.factor("scatter", -scatter / (2 * self.noise.scale**2))

    def guide(self, x: Tensor, exposure: Tensor | None = None) -> None:
        """Has nothing to infer."""


def expected_prediction(vae: VAE, posterior: object) -> tuple[Tensor, Tensor]:
    """Mean (N, \\*shape) and total variance (N,) of a linear decoder's predictions under a posterior."""
    weight = linear_weight(vae.decoder)
    assert weight is not None
    mean, _ = vae.latent.moments(posterior)
    return vae.decoder(mean), vae.latent.scatter(posterior, weight)
