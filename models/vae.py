"""Variational autoencoder as a Pyro model and guide."""

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyrocount.errors import InputError

from .adaptation import ROWS, batches, totals
from .baseline import Baseline
from .latents import Latent
from .likelihoods import GaussianLikelihood as Gaussian
from .likelihoods import Likelihood, known_part
from .networks import SparseEncoder, start_at
from .standardization import Standardization

# Spread of the decoder's output over the prior, in units of its scale, at which training starts: rates that are spread
# by more cost the likelihood of counts more than the latents can soon win back.
FIRST_SPREAD = 0.1
# Numbers of the models, which make their names in Pyro's parameter store unique.
_NUMBERS = count()


class VAE(PyroModule):
    """Variational autoencoder: encoder, latent family, decoder and likelihood as a Pyro model and guide.

    In training mode the gradient estimator of the latent family determines how latents are sampled. In evaluation mode
    samples are exact: counts are integers. ``vae.adapt(x)`` makes the model ready for training data; then
    ``Trace_ELBO()(vae.model, vae.guide)`` with an optimiser over ``vae.parameters()`` trains it, and so does
    ``pyro.infer.SVI``.

    Args:
        encoder: network from data (N, \\*shape) to features (N, ``latent.features``).
        latent: prior and posterior of the K latents.
        decoder: network from latents (N, K) to predictions (N, \\*shape).
        likelihood: observation distribution given a prediction.
        shape: shape of one observation.
        baseline: network from data (N, \\*shape) to the expected ELBO (N,), for score-function gradients.
        input_dropout: probability with which a value of an observation is hidden from the encoder in training: it is
            replaced by the mean of the training data.
        missing: whether values may be missing (NaN): these are left out of the likelihood, and the encoder receives the
            mean of the training data in their place.
        precision: ``"float32"``, or ``"bf16"`` for encoder and decoder in training mode; their results are float32.

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
        input_dropout: float = 0.0,
        missing: bool = False,
        precision: str = "float32",
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.latent = latent
        self.decoder = decoder
        self.likelihood = likelihood
        self.shape = tuple(shape)
        self.baseline = baseline
        self.input_dropout = input_dropout
        self.missing = missing
        self.precision = precision
        self.standardization = Standardization(self.shape)
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
            distribution = self.observed(z, exposure)
            if self.missing:
                distribution, x = known_part(distribution, x)
            pyro.sample("x", distribution.to_event(len(self.shape)), obs=x)

    def guide(self, x: Tensor, exposure: Tensor | None = None) -> None:
        """Samples the latents of data of shape (N, \\*shape) from their amortised posterior."""
        self.register()
        posterior = self.encode(x, exposure)
        infer: Any = {}
        if self.baseline is not None:
            infer["baseline"] = {
                "nn_baseline": self.baseline,
                "nn_baseline_input": self.inputs(x, exposure),
            }
        with pyro.plate("data", len(x)), poutine.scale(scale=self.kl_weight):
            pyro.sample("z", posterior, infer=infer)

    def encode(self, x: Tensor, exposure: Tensor | None = None) -> TorchDistribution:
        """Returns the posterior of the latents of data (N, \\*shape): batch shape (N,), event shape (K,)."""
        return as_event(self.posterior(x, exposure))

    def posterior(self, x: Tensor, exposure: Tensor | None = None) -> Any:
        """Returns the latent family's posterior of data (N, \\*shape), for most families with batch shape (N, K)."""
        self.check(x)
        return self.latent.posterior(self.features(x, exposure))

    def features(self, x: Tensor, exposure: Tensor | None = None) -> Tensor:
        """Returns the encoder's output for data (N, \\*shape), from which the latent family makes its posterior."""
        return self._through(self.encoder, self.inputs(x, exposure))

    def inputs(self, x: Tensor, exposure: Tensor | None = None) -> Tensor:
        """Returns the standardised input of the encoder for data (N, \\*shape), of the same shape."""
        inputs: Tensor = self.standardization(self.likelihood.inputs(x, exposure))
        if self.training and self.input_dropout > 0:
            return inputs.masked_fill(torch.rand_like(inputs) < self.input_dropout, 0.0)
        return inputs

    def observed(self, z: Tensor, exposure: Tensor | None = None) -> Any:
        """Returns the distribution of the data given latents (..., N, K), batch shape (..., N, \\*shape)."""
        return self.likelihood(self.decode(z), exposure)

    def decode(self, z: Tensor) -> Tensor:
        """Returns the predictions (..., \\*shape) from latents (..., K), which the likelihood takes as its input."""
        activity = self.latent.activity(z)
        return self._through(self.decoder, activity.flatten(0, -2)).unflatten(0, z.shape[:-1])

    def _through(self, network: nn.Module, x: Tensor) -> Tensor:
        """Returns the output of a network, in the chosen precision in training mode."""
        output: Tensor
        if not self.training or self.precision == "float32":
            output = network(x)
            return output
        with torch.autocast(x.device.type, torch.bfloat16):
            output = network(x)
        return output.float()

    def code(self, x: Tensor, exposure: Tensor | None = None) -> Tensor:
        """Returns the representation (N, K) of data (N, \\*shape) for downstream tasks, as the family defines it."""
        return self.latent.code(self.posterior(x, exposure))

    @torch.no_grad()
    def adapt(self, x: Any, exposure: Tensor | None = None, prepare: Callable[[Tensor], Tensor] = lambda x: x) -> None:
        """Makes the model ready for training data: standardises the encoder's input, starts the decoder at their mean.

        Without it a latent may take the place of the decoder's bias, and others learn nothing. A decoder whose last
        layer has no bias for each value stays as it is, and so does a model of sparse coding, which has no encoder.

        Args:
            x: training data, shape (N, \\*shape), a tensor or what is read in parts as one.
            exposure: length of each observation's window, shape (N,), for likelihoods of counts.
            prepare: function that makes a part of the data ready for the model, for example by scaling.
        """
        self.check(x)
        if isinstance(self.encoder, SparseEncoder):
            return
        like = next(self.parameters())
        inputs = (
            self.likelihood.inputs(batch.to("cpu"), None if window is None else window.to("cpu"))
            for batch, window in batches(x, exposure, prepare)
        )
        self.standardization.fit(inputs)
        training = self.training
        with torch.random.fork_rng():
            torch.manual_seed(0)
            activity = self.latent.activity(as_event(self.eval().latent.prior()).sample((ROWS,)))
        self.train(training)
        start = self.likelihood.prediction_of_mean(*totals(batches(x, exposure, prepare), self.shape))
        # In units of the data for Gaussian noise; of logarithms and logits otherwise.
        unit = self.standardization.deviation.square().mean().sqrt() if isinstance(self.likelihood, Gaussian) else 1.0
        start_at(self.decoder, start.to(like), activity, FIRST_SPREAD * float(unit))

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
