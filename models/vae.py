"""Variational autoencoder as a Pyro model and guide."""

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

# Numbers of the models, which make their names in Pyro's parameter store unique.
_NUMBERS = count()


class VAE(PyroModule):
    """Variational autoencoder: encoder, latent family, decoder and likelihood as a Pyro model and guide.

    In training mode the gradient estimator of the latent family determines how latents are sampled. In evaluation mode
    samples are exact: counts are integers. ``Trace_ELBO()(vae.model, vae.guide)`` with an optimiser over
    ``vae.parameters()`` trains the model, and so does ``pyro.infer.SVI``.

    Args:
        encoder: network from data (N, \\*shape) to features (N, ``latent.features``).
        latent: prior and posterior of the K latents.
        decoder: network from latents (N, K) to predictions (N, \\*shape).
        likelihood: observation distribution given a prediction.
        shape: shape of one observation.
        baseline: network from data (N, \\*shape) to the expected ELBO (N,), for score-function gradients.

    Attributes:
        kl_weight: positive factor on the KL divergence; may be changed between steps, to anneal the divergence.

    Raises:
        InputError: raised by the methods, if the data do not have the shape (N, \\*shape).
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
        # Two models in one store must not share parameters.
        self._store_name = f"vae{next(_NUMBERS)}"

    def model(self, x: Tensor, exposure: Tensor | None = None) -> None:
        """Runs the generative program: latents from the prior, data from the likelihood.

        Args:
            x: data, shape (N, \\*shape).
            exposure: length of each observation's window, shape (N,), for likelihoods of counts.
        """
        self.check(x)
        self.register()
        with pyro.plate("data", len(x)):
            with poutine.scale(scale=self.kl_weight):
                z = pyro.sample("z", as_event(self.latent.prior()))
            distribution = self.likelihood(self.decode(z), exposure)
            pyro.sample("x", distribution.to_event(len(self.shape)), obs=x)

    def guide(self, x: Tensor, exposure: Tensor | None = None) -> None:
        """Samples the latents of data of shape (N, \\*shape) from their amortised posterior."""
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
        """Returns the posterior of the latents of data (N, \\*shape): batch shape (N,), event shape (K,)."""
        return as_event(self.posterior(x, exposure))

    def posterior(self, x: Tensor, exposure: Tensor | None = None) -> Any:
        """Returns the latent family's posterior of data (N, \\*shape), for most families with batch shape (N, K)."""
        self.check(x)
        return self.latent.posterior(self.encoder(self.likelihood.inputs(x, exposure)))

    def decode(self, z: Tensor) -> Tensor:
        """Returns the predictions (..., \\*shape) from latents (..., K), which the likelihood takes as its input."""
        activity = self.latent.activity(z)
        prediction: Tensor = self.decoder(activity.flatten(0, -2)).unflatten(0, z.shape[:-1])
        return prediction

    def code(self, x: Tensor, exposure: Tensor | None = None) -> Tensor:
        """Returns the representation (N, K) of data (N, \\*shape) for downstream tasks, as the family defines it."""
        return self.latent.code(self.posterior(x, exposure))

    def register(self) -> None:
        """Puts the parameters into Pyro's store, from which ``pyro.infer.SVI`` takes them."""
        if not pyro.settings.get("module_local_params"):
            pyro.module(self._store_name, self)

    def check(self, x: Tensor) -> None:
        """Checks the shape of data.

        Raises:
            InputError: naming ``x``, if its shape is not (N, \\*shape).
        """
        if tuple(x.shape[1:]) != self.shape:
            expected = ", ".join(map(str, ("N", *self.shape)))
            raise InputError("x", f"shape {tuple(x.shape)}", f"({expected})")


def as_event(distribution: TorchDistribution) -> TorchDistribution:
    """Returns the distribution with all latents of an observation as one event."""
    event: TorchDistribution = distribution.to_event(1 - len(distribution.event_shape))
    return event
