"""One view of fitted models, in NumPy arrays, whichever backend they are in."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from torch import Tensor

from pyrocount.distributions import ArrivalTimes, GumbelSoftmax
from pyrocount.evaluate_amortized import dictionary, evaluate, evaluation_mode
from pyrocount.evaluation import Array, Evaluation, joined
from pyrocount.models import VAE, CategoricalLatent, CountLatent, GaussianLatent, LaplaceLatent, SparseLatent
from pyrocount.models.vae import as_event
from pyrocount.progress import progress_bar

if TYPE_CHECKING:
    from pyrocount.iterative import Iterative

# A fitted one, of either backend.
Model: TypeAlias = "VAE | Iterative"


# Samples of an observation that are drawn together.
TOGETHER = 20


@dataclass(frozen=True)
class Draws:
    """S exact posterior samples of each of N observations.

    Attributes:
        z: latents, shape (S, N, K); whole numbers, of counts.
        log_likelihood: log p(x | z), in nats, shape (S, N).
        log_prior: log p(z), likewise.
        log_posterior: log q(z | x), likewise.
        replicates: data drawn given each sample, shape (S, N, \\*shape), where they were asked for.
        each_log_likelihood: log p of each datum given z, in nats, of the same shape, likewise.
    """

    z: Array
    log_likelihood: Array
    log_prior: Array
    log_posterior: Array
    replicates: Array | None = None
    each_log_likelihood: Array | None = None

    @property
    def log_weights(self) -> Array:
        """Log importance weights log p(x, z) - log q(z | x), in nats, shape (S, N)."""
        return self.log_likelihood + self.log_prior - self.log_posterior


class Adapter(ABC):
    """A fitted model as evaluation, diagnostics and scikit-learn see it; data are in the units of training.

    Attributes:
        shape: of one observation.
        latent_dim: number of latents K.
        has_counts: whether the latents are counts.
        has_density: whether the posterior is a distribution, not a point.
        observes_counts: whether the data are counts by the likelihood.
        device: ``"cuda"`` where torch computes there.
        is_symmetric: whether a latent and its column may both change their sign.
    """

    shape: tuple[int, ...]
    latent_dim: int
    has_counts: bool
    has_density: bool
    observes_counts: bool
    device = "cpu"
    is_symmetric = False

    def draws(
        self,
        x: Array,
        exposure: Array | None = None,
        *,
        samples: int = 100,
        seed: int = 0,
        replicate: bool = False,
        batch_size: int = 500,
        progress: bool = False,
    ) -> Draws:
        """Draws exact samples of the posterior.

        Args:
            x: observations, shape (N, \\*shape).
            exposure: length of each observation's window, shape (N,), for likelihoods of counts.
            samples: number S for each observation.
            seed: of the samples.
            replicate: whether to draw data too, and keep the log likelihood of each datum.
            batch_size: observations at a time.
            progress: whether to show a progress bar.
        """
        parts = []
        for number, batch in enumerate(_batches(x, exposure, batch_size, progress)):
            sampler = self._sampler(*batch, derived_seed(seed, number), replicate)
            drawn = joined([_arrays(sampler(part)) for part in _chunks(samples)])
            # Observations first, as batches follow each other.
            parts.append({name: part.swapaxes(0, 1) for name, part in drawn.items()})
        return Draws(**{name: part.swapaxes(0, 1) for name, part in joined(parts).items()})

    def log_weights(
        self,
        x: Array,
        exposure: Array | None = None,
        *,
        samples: int = 1000,
        seed: int = 0,
        batch_size: int = 500,
        progress: bool = False,
    ) -> Array:
        """Log importance weights of samples of the posterior, in nats, shape (S, N); see ``draws``, of which it keeps
        nothing else."""
        parts = []
        for number, batch in enumerate(_batches(x, exposure, batch_size, progress)):
            sampler = self._sampler(*batch, derived_seed(seed, number), False)
            parts.append(np.concatenate([sampler(part).log_weights for part in _chunks(samples)]))
        return np.concatenate(parts, 1)

    def code(
        self,
        x: Array,
        exposure: Array | None = None,
        *,
        seed: int = 0,
        batch_size: int = 1000,
        progress: bool = False,
    ) -> Array:
        """The representation of observations (N, \\*shape) that probes read, shape (N, K)."""
        batches = enumerate(_batches(x, exposure, batch_size, progress))
        return np.concatenate([self._code(*batch, derived_seed(seed, number)) for number, batch in batches])

    @abstractmethod
    def _sampler(self, x: Array, exposure: Array | None, seed: int, replicate: bool) -> Callable[[range], Draws]:
        """Infers the posteriors of a batch; gives what draws samples of them, by their numbers."""

    @abstractmethod
    def _code(self, x: Array, exposure: Array | None, seed: int) -> Array: ...

    @abstractmethod
    def evaluate(self, x: Array, exposure: Array | None = None, *, beta: float = 1.0, seed: int = 0) -> Evaluation:
        """Figures of exact samples."""

    @abstractmethod
    def relaxed_nll(self, x: Array, exposure: Array | None = None, *, seed: int = 0) -> Array | None:
        """Negative log likelihood of samples as in training, in nats, shape (N,); None where training has no others."""

    def prior_draws(
        self, number: int, exposure: Array | None = None, *, seed: int = 0, batch_size: int = 500
    ) -> tuple[Array, Array, Array]:
        """Latents (number, K) of the prior, the means of the data given them, and data, both (number, \\*shape).

        Args:
            number: of draws.
            exposure: length of the window of each, shape (number,), for likelihoods of counts.
            seed: of the samples.
            batch_size: draws at a time.
        """
        z = self.prior_latents(number, seed=derived_seed(seed, 0))
        parts = [
            self._generate(*batch, derived_seed(seed, 1, place))
            for place, batch in enumerate(_batches(z, exposure, batch_size, False))
        ]
        means, data = (np.concatenate(part) for part in zip(*parts, strict=True))
        return z, means, data

    @abstractmethod
    def prior_latents(self, number: int, *, seed: int = 0) -> Array:
        """Latents of the prior, shape (number, K)."""

    @abstractmethod
    def _generate(self, z: Array, exposure: Array | None, seed: int) -> tuple[Array, Array]:
        """Means of the data given latents, and data."""

    @abstractmethod
    def mean_of_code(self, code: Array) -> Array:
        """Means of the data, shape (N, \\*shape), at the mean latents of posteriors with these codes (N, K)."""

    @abstractmethod
    def dictionary(self) -> Array:
        """The decoder's response to one unit of activity in each latent, over that to none, shape (K, \\*shape)."""


class AmortizedAdapter(Adapter):
    """A VAE, or sparse coding, in Pyro."""

    def __init__(self, vae: VAE) -> None:
        self.vae = vae
        self.shape, self.latent_dim = vae.shape, vae.latent.latent_dim
        self.has_counts = isinstance(vae.latent, CountLatent)
        self.has_density = not isinstance(vae.latent, SparseLatent)
        self.observes_counts = vae.likelihood.is_count
        self.device = next(vae.parameters()).device.type
        plain = getattr(vae.latent, "activation", "identity") == "identity"
        self.is_symmetric = isinstance(vae.latent, GaussianLatent | LaplaceLatent) and plain

    def tensors(self, x: Array, exposure: Array | None = None) -> tuple[Tensor, Tensor | None]:
        """Data on the device and in the precision of the model."""
        like = next(self.vae.parameters())
        data, windows = (
            None if part is None else torch.from_numpy(np.ascontiguousarray(part)).to(like) for part in (x, exposure)
        )
        assert data is not None
        return data, windows

    def _sampler(self, x: Array, exposure: Array | None, seed: int, replicate: bool) -> Callable[[range], Draws]:
        vae, (data, windows) = self.vae, self.tensors(x, exposure)
        with torch.no_grad(), evaluation_mode(vae, seed):
            posterior = vae.encode(data, windows)

        def sample(numbers: range) -> Draws:
            with torch.no_grad(), evaluation_mode(vae, derived_seed(seed, numbers.start)):
                z = posterior.sample((len(numbers),))
                law = vae.likelihood(vae.decode(z), windows)
                each = law.log_prob(data)
                drawn = [z, each.flatten(2).sum(2), as_event(vae.latent.prior()).log_prob(z)]
                drawn.append(posterior.log_prob(z) if self.has_density else torch.zeros_like(drawn[1]))
                if replicate:
                    drawn += [law.sample(), each]
            return Draws(*(part.cpu().numpy() for part in drawn))

        return sample

    @torch.no_grad()
    def _code(self, x: Array, exposure: Array | None, seed: int) -> Array:
        with evaluation_mode(self.vae, seed):
            code: Array = self.vae.code(*self.tensors(x, exposure)).cpu().numpy()
        return code

    def evaluate(self, x: Array, exposure: Array | None = None, *, beta: float = 1.0, seed: int = 0) -> Evaluation:
        """Figures of eight exact samples each."""
        return evaluate(self.vae, *self.tensors(x, exposure), beta=beta, seed=seed)

    @torch.no_grad()
    def relaxed_nll(self, x: Array, exposure: Array | None = None, *, seed: int = 0) -> Array | None:
        """Negative log likelihood of eight soft samples each, on average; None where training has hard ones."""
        vae, parts = self.vae, []
        relaxation = getattr(vae.latent, "relaxation", None)
        soft = isinstance(relaxation, ArrivalTimes | GumbelSoftmax) and not getattr(relaxation, "hard", False)
        if not soft and not (isinstance(vae.latent, CategoricalLatent) and vae.latent.relaxed and not vae.latent.hard):
            return None
        with evaluation_mode(vae, seed):
            vae.train()
            for batch in _batches(x, exposure, 500, False):
                data, windows = self.tensors(*batch)
                z = vae.posterior(data, windows).rsample((8,))
                law = vae.likelihood(vae.decode(z), windows)
                parts.append(-law.log_prob(data).flatten(2).sum(2).mean(0).cpu().numpy())
        return np.concatenate(parts)

    @torch.no_grad()
    def prior_latents(self, number: int, *, seed: int = 0) -> Array:
        """Latents of the prior, shape (number, K)."""
        with evaluation_mode(self.vae, seed):
            latents: Array = self.vae.latent.prior().sample((number,)).cpu().numpy()
        return latents

    @torch.no_grad()
    def _generate(self, z: Array, exposure: Array | None, seed: int) -> tuple[Array, Array]:
        vae, (latents, windows) = self.vae, self.tensors(z, exposure)
        with evaluation_mode(vae, seed):
            law = vae.likelihood(vae.decode(latents), windows)
            return law.mean.cpu().numpy(), law.sample().cpu().numpy()

    @torch.no_grad()
    def mean_of_code(self, code: Array) -> Array:
        """Means of the data at the mean latents of posteriors with these codes."""
        vae = self.vae
        with evaluation_mode(vae, seed=0):
            z = vae.latent.mean_of_code(self.tensors(code)[0])
            mean: Array = vae.likelihood(vae.decode(z)).mean.cpu().numpy()
        return mean

    def dictionary(self) -> Array:
        """The decoder's response to one unit of activity in each latent."""
        return dictionary(self.vae)


def adapt(model: "Model | Adapter", *, steps: int = 1000) -> Adapter:
    """The view of a fitted model.

    Args:
        model: of either kind; a view is given back as it is.
        steps: of iterative inference.
    """
    if isinstance(model, Adapter):
        return model
    if isinstance(model, VAE):
        return AmortizedAdapter(model)
    from pyrocount.iterative_adapter import IterativeAdapter

    return IterativeAdapter(model, steps)


def derived_seed(seed: int, *purpose: int) -> int:
    """A seed for one of several purposes, so that their random numbers have nothing in common.

    >>> derived_seed(0, 1) == derived_seed(1, 0)
    False
    """
    # To NumPy, zeros at the end are nothing; the length tells.
    return int(np.random.SeedSequence((seed, len(purpose), *purpose)).generate_state(1)[0] >> 1)


def _arrays(draws: Draws) -> dict[str, Array]:
    return {name: part for name, part in vars(draws).items() if part is not None}


def _chunks(samples: int) -> list[range]:
    return [range(first, min(first + TOGETHER, samples)) for first in range(0, samples, TOGETHER)]


def _batches(x: Array, exposure: Array | None, size: int, progress: bool) -> Iterator[tuple[Array, Array | None]]:
    starts = range(0, len(x), size)
    for first in progress_bar(starts, shown=progress, unit="batch", leave=False):
        rows = slice(first, first + size)
        yield x[rows], None if exposure is None else exposure[rows]
