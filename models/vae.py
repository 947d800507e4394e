"""The variational autoencoder as a Pyro model and guide."""

from collections.abc import Sequence
from itertools import count
from typing import Any

import pyro
from pyro import poutine
from pyro.distributions import TorchDistribution
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyrocount.errors import InputError

from .baseline import Baseline
from .latents import Latent
from .likelihoods import Likelihood

_NUMBERS = count()


class VAE(PyroModule):
    """Encoder, latent family, decoder and likelihood, composed into a Pyro model and guide.

    In training mode the latents are sampled as their family's estimator says, in evaluation mode exactly: counts are
    integers. ``Trace_ELBO()(vae.model, vae.guide)`` with an optimiser over ``vae.parameters()`` trains it, and so does
    ``pyro.infer.SVI``.

    Args:
        encoder: network from data (N, \\*shape) to features (N, ``latent.features``).
        latent: prior and posterior of the K latents.
        decoder: network from latents (N, K) to predictions (N, \\*shape).
        likelihood: distribution of the data given a prediction.
        shape: shape of one observation.
        baseline: network from data (N, \\*shape) to the expected ELBO (N,), for score-function gradients.

    Attributes:
        kl_weight: factor on the KL divergence, positive; may be changed between steps, to anneal it.

    Raises:
        InputError: by its methods, if the data do not have the shape (N, \\*shape).
    """

    def __init__(
        self,
        encoder: nn.Module,
        latent: Latent,
        decoder: nn.Module,
        likelihood: Likelihood,
        shape: Sequence[int],
        baseline: Baseline | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.latent = latent
        self.decoder = decoder
        self.likelihood = likelihood
        self.shape = tuple(shape)
        self.baseline = baseline
        self.kl_weight = 1.0
        # Two models in one store must not share their parameters.
        self._store_name = f"vae{next(_NUMBERS)}"

    def model(self, x: Tensor, exposure: Tensor | None = None) -> None:
        """The generative program: latents from the prior, data from the likelihood.

        Args:
            x: data, shape (N, \\*shape).
            exposure: length of each observation's window, shape (N,), for likelihoods of counts.
        """
        self.check(x)
        self.register()
        with pyro.plate("data", len(x)):
            with poutine.scale(scale=self.kl_weight):
                z = pyro.sample("z", as_event(self.latent.prior()))
            law = self.likelihood(self.decode(z), exposure)
            pyro.sample("x", law.to_event(len(self.shape)), obs=x)

    def guide(self, x: Tensor, exposure: Tensor | None = None) -> None:
        """The amortised posterior of the latents of data of shape (N, \\*shape)."""
        self.register()
        posterior = self.encode(x, exposure)
        infer: Any = {}
        if self.baseline is not None:
            infer["baseline"] = {
                "nn_baseline": self.baseline,
                "nn_baseline_input": self.likelihood.inputs(x, exposure),
            }
        with pyro.plate("data", len(x)), poutine.scale(scale=self.kl_weight):
            pyro.sample("z", posterior, infer=infer)

    def encode(self, x: Tensor, exposure: Tensor | None = None) -> TorchDistribution:
        """The posterior of the latents of data (N, \\*shape): batch shape (N,), event shape (K,)."""
        return as_event(self.posterior(x, exposure))

    def posterior(self, x: Tensor, exposure: Tensor | None = None) -> Any:
        """The posterior of data (N, \\*shape) as the latent family makes it: for most, of batch shape (N, K)."""
        self.check(x)
        return self.latent.posterior(self.encoder(self.likelihood.inputs(x, exposure)))

    def decode(self, z: Tensor) -> Tensor:
        """The predictions of latents (..., K), shape (..., \\*shape): what the likelihood takes."""
        activity = self.latent.activity(z)
        prediction: Tensor = self.decoder(activity.flatten(0, -2)).unflatten(0, z.shape[:-1])
        return prediction

    def code(self, x: Tensor, exposure: Tensor | None = None) -> Tensor:
        """The representation of data (N, \\*shape) for downstream tasks, shape (N, K); see the latent family."""
        return self.latent.code(self.posterior(x, exposure))

    def register(self) -> None:
        """Puts the parameters into Pyro's store, from which ``pyro.infer.SVI`` takes them."""
        if not pyro.settings.get("module_local_params"):
            pyro.module(self._store_name, self)

    def check(self, x: Tensor) -> None:
        """Checks the shape of data.

        Raises:
            InputError: naming ``x``.
        """
        if tuple(x.shape[1:]) != self.shape:
            expected = ", ".join(map(str, ("N", *self.shape)))
            raise InputError("x", f"shape {tuple(x.shape)}", f"({expected})")


def as_event(distribution: TorchDistribution) -> TorchDistribution:
    """The distribution with all latents of an observation as one event."""
    event: TorchDistribution = distribution.to_event(1 - len(distribution.event_shape))
    return event
