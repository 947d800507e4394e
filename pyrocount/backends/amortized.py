"""Backend in Pyro: variational autoencoders and sparse codes."""

import copy
from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from pyrocount.config import Config
from pyrocount.data import Dataset, Units
from pyrocount.distributions import ArrivalTimes, GumbelSoftmax
from pyrocount.models import (
    VAE,
    CategoricalLatent,
    CountLatent,
    GaussianLatent,
    LaplaceLatent,
    SparseLatent,
)
from pyrocount.models.likelihoods import pointwise_log_likelihood
from pyrocount.models.options import DivergenceOptions, LatentOptions, RelaxationOptions
from pyrocount.models.vae import as_event

from .amortization_gap import posterior_gap
from .amortized_evaluation import dictionary, evaluate, evaluation_mode
from .amortized_training import train
from .base import Backend, History, derived_seed
from .devices import torch_device
from .draws import Draws
from .evaluation import Array, Evaluation, counted, in_batches, joined

# Relaxed samples of an observation, and observations at a time, for the likelihood of relaxed samples.
RELAXED_SAMPLES, RELAXED_BATCH = 8, 500
# Number of observations that are evaluated together.
EVALUATED = 500


class AmortizedBackend(Backend):
    """Backend of a VAE, or of sparse coding.

    Args:
        vae: the model.
    """

    model: VAE

    def __init__(self, vae: VAE) -> None:
        self.model = vae
        self.shape, self.latent_dim = vae.shape, vae.latent.latent_dim
        self.likelihood = vae.likelihood
        self.has_counts = isinstance(vae.latent, CountLatent)
        self.has_density = not isinstance(vae.latent, SparseLatent)
        self.device = next(vae.parameters()).device.type
        plain = getattr(vae.latent, "activation", "identity") == "identity"
        self.is_symmetric = isinstance(vae.latent, GaussianLatent | LaplaceLatent) and plain

    def tensors(self, x: Array, exposure: Array | None = None) -> tuple[Tensor, Tensor | None]:
        """Returns data on the device and in the precision of the model."""
        like = next(self.model.parameters())
        data, windows = (
            None if part is None else torch.from_numpy(np.ascontiguousarray(part)).to(like) for part in (x, exposure)
        )
        assert data is not None
        return data, windows

    def adapt(self, data: Dataset) -> None:
        """Makes a fresh model ready for training data, see ``VAE.adapt``."""
        self.model.adapt(*data.train_tensors(), prepare=data.to_units)

    def train(
        self,
        config: Config,
        data: Dataset,
        *,
        monitor: Callable[[], Mapping[str, float]],
        save: Callable[[dict[str, Any]], None],
        checkpoint: dict[str, Any] | None = None,
        progress: bool = True,
    ) -> History:
        """Trains by stochastic variational inference."""
        return train(self.model, config, data, monitor=monitor, save=save, checkpoint=checkpoint, progress=progress)

    def weights(self) -> dict[str, Tensor]:
        """Returns the state of the module."""
        weights: dict[str, Tensor] = self.model.state_dict()
        return weights

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Sets the state of the module, and evaluation mode."""
        self.model.load_state_dict(weights)
        self.model.eval()

    def to(self, device: str) -> Self:
        """Moves the module to a device."""
        self.model.to(torch_device(device))
        self.device = next(self.model.parameters()).device.type
        return self

    def in_double_precision(self) -> "AmortizedBackend":
        """Returns a copy in double precision."""
        return AmortizedBackend(copy.deepcopy(self.model).double())

    def encoder_model(self) -> VAE:
        """Returns the VAE."""
        return self.model

    def evaluate(
        self,
        x: Array | Units,
        exposure: Array | None = None,
        *,
        beta: float = 1.0,
        seed: int = 0,
        quick: bool = False,
        keep: int | None = None,
    ) -> Evaluation:
        """Returns metrics of eight exact samples of each observation; of one, if quick."""
        batches = (self.tensors(*batch) for batch in in_batches(x, exposure, EVALUATED, False))
        return evaluate(self.model, batches, beta=beta, seed=seed, samples=1 if quick else 8, keep=keep)

    def _sampler(self, x: Array, exposure: Array | None, seed: int, replicate: bool) -> Callable[[range], Draws]:
        vae, (data, windows) = self.model, self.tensors(x, exposure)
        with torch.no_grad(), evaluation_mode(vae, seed):
            posterior = vae.encode(data, windows)

        def sample(numbers: range) -> Draws:
            with torch.no_grad(), evaluation_mode(vae, derived_seed(seed, numbers.start)):
                z = posterior.sample((len(numbers),))
                observed = vae.observed(z, windows)
                pointwise = pointwise_log_likelihood(observed, data)
                drawn = [z, pointwise.flatten(2).sum(2), as_event(vae.latent.prior()).log_prob(z)]
                drawn.append(posterior.log_prob(z) if self.has_density else torch.zeros_like(drawn[1]))
                if replicate:
                    drawn += [observed.sample(), pointwise]
            return Draws(*(part.cpu().numpy() for part in drawn))

        return sample

    @torch.no_grad()
    def _code(self, x: Array, exposure: Array | None, seed: int) -> Array:
        with evaluation_mode(self.model, seed):
            code: Array = self.model.code(*self.tensors(x, exposure)).cpu().numpy()
        return code

    @torch.no_grad()
    def relaxed(self, x: Array, exposure: Array | None = None, *, seed: int = 0) -> dict[str, Array] | None:
        """Returns the mean ``nll`` and ``mse`` of eight relaxed samples of each observation.

        None where training has exact samples.
        """
        vae, parts = self.model, []
        if not _is_relaxed(vae):
            return None
        with evaluation_mode(vae, seed):
            vae.train()
            for first in range(0, len(x), RELAXED_BATCH):
                rows = slice(first, first + RELAXED_BATCH)
                data, windows = self.tensors(x[rows], None if exposure is None else exposure[rows])
                z = vae.posterior(data, windows).rsample((RELAXED_SAMPLES,))
                observed = vae.observed(z, windows)
                nll = -pointwise_log_likelihood(observed, data).flatten(2).sum(2).mean(0)
                error = (observed.mean - data).square().flatten(2)
                parts.append({"nll": nll.cpu().numpy(), "mse": error.nanmean((0, 2)).cpu().numpy()})
        return joined(parts)

    def amortization_gap(
        self, x: Array, exposure: Array | None = None, *, steps: int = 300, seed: int = 0, progress: bool = False
    ) -> tuple[Array, Array] | None:
        """Returns the negative ELBO of each observation by the encoder and with its posterior refined, both (N,)."""
        if not self.has_density:
            return None
        return posterior_gap(self.model, *self.tensors(x, exposure), steps=steps, seed=seed, progress=progress)

    def parameter_counts(self, config: Config) -> dict[str, int]:
        """Returns the numbers of trained parameters of encoder, decoder and the whole model."""
        sizes = {name: value.numel() for name, value in self.model.named_parameters() if value.requires_grad}
        return counted(sizes)

    @torch.no_grad()
    def prior_latents(self, number: int, *, seed: int = 0) -> Array:
        """Draws latents of the prior, shape (number, K)."""
        with evaluation_mode(self.model, seed):
            latents: Array = self.model.latent.prior().sample((number,)).cpu().numpy()
        return latents

    @torch.no_grad()
    def _generate(self, z: Array, exposure: Array | None, seed: int) -> tuple[Array, Array]:
        vae, (latents, windows) = self.model, self.tensors(z, exposure)
        with evaluation_mode(vae, seed):
            observed = vae.observed(latents, windows)
            return observed.mean.cpu().numpy(), observed.sample().cpu().numpy()

    @torch.no_grad()
    def decoded(self, z: Array, x: Array, exposure: Array | None = None) -> tuple[Array, Array]:
        """Returns means of the data given latents, and the negative log likelihood of the data."""
        vae, (data, windows) = self.model, self.tensors(x, exposure)
        with evaluation_mode(vae, seed=0):
            observed = vae.observed(self.tensors(z)[0], windows)
            nll = -pointwise_log_likelihood(observed, data).flatten(1).sum(1)
        return observed.mean.cpu().numpy(), nll.cpu().numpy()

    @torch.no_grad()
    def mean_of_code(self, code: Array) -> Array:
        """Returns means of the data at the mean latents of posteriors with these codes."""
        vae = self.model
        with evaluation_mode(vae, seed=0):
            z = vae.latent.mean_of_code(self.tensors(code)[0])
            mean: Array = vae.observed(z).mean.cpu().numpy()
        return mean

    def dictionary(self) -> Array:
        """Returns the decoder's response to one unit of each latent, over that to none."""
        return dictionary(self.model)

    def remarks(self, config: Config, data: Dataset, evaluation: Evaluation) -> list[str]:
        """Returns those of every model, and a warning where counts exceed the largest that the Gumbel-softmax saw."""
        found = super().remarks(config, data, evaluation)
        max_count = config[RelaxationOptions].max_count
        capped = float((evaluation.counts > max_count).mean())
        if config[LatentOptions].estimator != "gumbel" or not self.has_counts or capped == 0:
            return found
        problem = f"{capped:.2%} of the posterior counts are larger, which training could not see"
        remedy = "; --kl exact charges them" if config[DivergenceOptions].kl == "mc" else ""
        return [*found, f"warning: --max-count {max_count}: {problem}{remedy}"]


def _is_relaxed(vae: VAE) -> bool:
    """Returns whether the latents have soft values in training."""
    relaxation = getattr(vae.latent, "relaxation", None)
    if isinstance(relaxation, ArrivalTimes | GumbelSoftmax):
        return not getattr(relaxation, "hard", False)
    return isinstance(vae.latent, CategoricalLatent) and vae.latent.relaxed and not vae.latent.hard
