"""Categorical latent of K classes."""

from typing import Self

import torch
from torch import Tensor

from pyrocount.distributions import RelaxedCategorical
from pyrocount.options import Options

from ..options import LatentOptions, RelaxationOptions
from .base import Latent


class CategoricalLatent(Latent):
    """One-hot vector of K classes with a uniform prior, relaxed by the Gumbel-softmax in training mode.

    Args:
        latent_dim: number of classes K.
        estimator: ``"gumbel"`` (soft values), ``"straight-through"`` (one-hot values with the gradient of the soft
            ones) or ``"score"`` (one-hot values; Pyro uses its score function).
        temperature: temperature of the softmax, positive.

    References:
        Jang, Gu and Poole, Categorical Reparameterization with Gumbel-Softmax, ICLR 2017; Vafaii, Galor and Yates,
        Poisson Variational Autoencoder, NeurIPS 2024, section 4.
    """

    logits: Tensor

    def __init__(self, latent_dim: int, estimator: str = "gumbel", temperature: float = 0.1) -> None:
        super().__init__(latent_dim)
        self.features = latent_dim
        self.relaxed = estimator in ("gumbel", "straight-through")
        self.hard = estimator == "straight-through"
        self.temperature = temperature
        self.register_buffer("logits", torch.zeros(latent_dim), persistent=False)

    @classmethod
    def build(cls, options: Options) -> Self:
        """Builds the family from the options of a model."""
        chosen = options[LatentOptions]
        return cls(chosen.latent_dim, chosen.estimator, options[RelaxationOptions].temperature)

    def prior(self) -> RelaxedCategorical:
        """Returns the prior of the latent of one observation, event shape (K,)."""
        return self._distribution(self.logits)

    def posterior(self, features: Tensor) -> RelaxedCategorical:
        """Returns the posterior given features of shape (N, K), batch shape (N,) and event shape (K,)."""
        return self._distribution(features)

    def _distribution(self, logits: Tensor) -> RelaxedCategorical:
        temperature = self.temperature if self.relaxed and self.training else None
        return RelaxedCategorical(logits=logits, temperature=temperature, hard=self.hard)

    def code(self, posterior: RelaxedCategorical) -> Tensor:
        """Returns the representation: the logits of the posterior, shape (N, K)."""
        return posterior.logits

    def mean_of_code(self, code: Tensor) -> Tensor:
        """Returns the class probabilities (N, K) of posteriors with these codes (N, K), which are logits."""
        return code.softmax(-1)

    def divergence(self, posterior: RelaxedCategorical) -> Tensor:
        """Returns the terms of the KL divergence of the posterior from the prior, one for each class, in nats, (N, K).

        A single term may be negative, but their sum cannot.
        """
        return posterior.probs * (posterior.logits - self.prior().logits)

    def scatter(self, posterior: RelaxedCategorical, columns: Tensor) -> Tensor:
        """Returns the trace of the covariance of ``columns @ one_hot``, shape (N,), for columns of shape (D, K)."""
        probs = posterior.probs
        return probs @ columns.square().sum(0) - (probs @ columns.T).square().sum(-1)

    def set_temperature(self, temperature: float) -> None:
        """Sets the temperature of the softmax."""
        self.temperature = temperature
