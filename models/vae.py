"""The variational autoencoder with count latents, as a Pyro model and guide."""

from collections.abc import Sequence
from itertools import count

import pyro
from pyro import poutine
from pyro.distributions import TorchDistribution
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyrocount.errors import InputError

from .latents import CountLatent
from .likelihoods import GaussianLikelihood

_NUMBERS = count()


class VAE(PyroModule):
    """Encoder, latent family, decoder and likelihood, composed into a Pyro model and guide.

    In training mode the counts are sampled through the latent family's relaxation, in evaluation mode they are exact
    integers. ``Trace_ELBO()(vae.model, vae.guide)`` with an optimiser over ``vae.parameters()`` trains it, and so does
    ``pyro.infer.SVI``.

    Args:
        encoder: network from data (N, \\*shape) to features (N, ``latent.features``).
        latent: prior and posterior of the K counts.
        decoder: network from counts (N, K) to predictions (N, \\*shape).
        likelihood: distribution of the data given a prediction.
        shape: shape of one observation.

    Attributes:
        kl_weight: factor on the KL divergence, positive; may be changed between steps, to anneal it.

    Raises:
        InputError: by its methods, if the data do not have the shape (N, \\*shape).
    """

    def __init__(
        self,
        encoder: nn.Module,
        latent: CountLatent,
        decoder: nn.Module,
        likelihood: GaussianLikelihood,
        shape: Sequence[int],
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.latent = latent
        self.decoder = decoder
        self.likelihood = likelihood
        self.shape = tuple(shape)
        self.kl_weight = 1.0
        # Two models in one store must not share their parameters.
        self._store_name = f"vae{next(_NUMBERS)}"

    def model(self, x: Tensor) -> None:
        """The generative program for data of shape (N, \\*shape): counts from the prior, data from the likelihood."""
        self._check(x)
        self._register()
        with pyro.plate("data", len(x)):
            with poutine.scale(scale=self.kl_weight):
                z = pyro.sample("z", self.latent.prior().to_event(1))
            pyro.sample("x", self.likelihood(self.decode(z)).to_event(len(self.shape)), obs=x)

    def guide(self, x: Tensor) -> None:
        """The amortised posterior of the counts of data of shape (N, \\*shape)."""
        self._register()
        posterior = self.encode(x)
        with pyro.plate("data", len(x)), poutine.scale(scale=self.kl_weight):
            pyro.sample("z", posterior)

    def encode(self, x: Tensor) -> TorchDistribution:
        """The posterior of the counts of data (N, \\*shape): batch shape (N,), event shape (K,)."""
        self._check(x)
        return self.latent.posterior(self.encoder(x)).to_event(1)

    def decode(self, z: Tensor) -> Tensor:
        """The predictions of counts (..., K), shape (..., \\*shape)."""
        prediction: Tensor = self.decoder(z.flatten(0, -2)).unflatten(0, z.shape[:-1])
        return prediction

    def code(self, x: Tensor) -> Tensor:
        """The representation of data (N, \\*shape) for downstream tasks, shape (N, K); see the latent family."""
        return self.latent.code(self.encode(x).base_dist)

    def _register(self) -> None:
        """Puts the parameters into Pyro's store, from which ``pyro.infer.SVI`` takes them."""
        if not pyro.settings.get("module_local_params"):
            pyro.module(self._store_name, self)

    def _check(self, x: Tensor) -> None:
        if tuple(x.shape[1:]) != self.shape:
            expected = ", ".join(map(str, ("N", *self.shape)))
            raise InputError("x", f"shape {tuple(x.shape)}", f"({expected})")
