"""Families of latent counts: a learned prior, and posteriors whose parameters are residuals on it."""

from abc import abstractmethod
from typing import Any

import torch
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyrocount.distributions import (
    ArrivalTimes,
    CountDistribution,
    Discrete,
    Relaxation,
    RelaxedNegativeBinomial,
    RelaxedPoisson,
)
from pyrocount.errors import InputError

# As in the papers: log rates and log total_counts stay below 5 and logits within 5, so that no count explodes.
LIMIT = 5.0


class CountLatent(PyroModule):
    """A family of K latent counts, with exact integers in evaluation mode.

    Attributes:
        latent_dim: number of latent counts K.
        features: number of encoder outputs that ``posterior`` takes.
        relaxation: how counts are sampled in training mode; may be replaced between steps, to anneal its temperature.
    """

    features: int

    def __init__(self, latent_dim: int, relaxation: Relaxation) -> None:
        super().__init__()
        if latent_dim < 1:
            raise InputError("latent_dim", latent_dim, "a positive whole number")
        self.latent_dim = latent_dim
        self.relaxation = relaxation

    @property
    def current_relaxation(self) -> Relaxation:
        """The relaxation in training mode, ``Discrete()`` in evaluation mode."""
        return self.relaxation if self.training else Discrete()

    @abstractmethod
    def prior(self) -> CountDistribution:
        """The prior of one observation, batch shape (K,)."""

    @abstractmethod
    def posterior(self, features: Tensor) -> CountDistribution:
        """The posterior given features of shape (N, ``features``), batch shape (N, K)."""

    @abstractmethod
    def code(self, posterior: Any) -> Tensor:
        """The representation of the observations with this posterior, shape (N, K)."""


class PoissonLatent(CountLatent):
    """Poisson counts; the posterior's log rate is the prior's plus the encoder's output.

    Reference:
        Vafaii, Galor and Yates, Poisson Variational Autoencoder, NeurIPS 2024, section 3.

    Args:
        latent_dim: number of latent counts K.
        relaxation: how counts are sampled in training mode.
        prior_log_rate: range from which the prior's log rates start, uniformly.
    """

    def __init__(
        self,
        latent_dim: int,
        relaxation: Relaxation = ArrivalTimes(0.1),
        prior_log_rate: tuple[float, float] = (-2.0, -1.0),
    ) -> None:
        super().__init__(latent_dim, relaxation)
        self.features = latent_dim
        self.log_rate = nn.Parameter(torch.empty(latent_dim).uniform_(*prior_log_rate))

    def prior(self) -> RelaxedPoisson:
        """The prior of one observation, batch shape (K,)."""
        return self._distribution(self.log_rate)

    def posterior(self, features: Tensor) -> RelaxedPoisson:
        """The posterior given features of shape (N, K), batch shape (N, K)."""
        return self._distribution(self.log_rate + features)

    def _distribution(self, log_rate: Tensor) -> RelaxedPoisson:
        return RelaxedPoisson(log_rate=log_rate.clamp(max=LIMIT), relaxation=self.current_relaxation)

    def code(self, posterior: RelaxedPoisson) -> Tensor:
        """The representation: log of the posterior over the prior rate, shape (N, K)."""
        return posterior.log_rate - self.prior().log_rate


class NegativeBinomialLatent(CountLatent):
    """Negative-binomial counts; the posterior's logits are the prior's plus the encoder's output.

    Reference:
        Zhang et al., Negative Binomial Variational Autoencoders, arXiv 2508.05423, section 4.

    Args:
        latent_dim: number of latent counts K.
        relaxation: how counts are sampled in training mode.
        shared_dispersion: whether the posterior keeps the prior's total_count, which makes the KL divergence closed;
            else the encoder gives a residual on its logarithm too.
        prior_log_mean: range from which the logarithms of the prior's means start, uniformly; total_count starts at 1.
    """

    def __init__(
        self,
        latent_dim: int,
        relaxation: Relaxation = ArrivalTimes(0.1),
        shared_dispersion: bool = True,
        prior_log_mean: tuple[float, float] = (-2.0, -1.0),
    ) -> None:
        super().__init__(latent_dim, relaxation)
        self.shared_dispersion = shared_dispersion
        self.features = latent_dim if shared_dispersion else 2 * latent_dim
        self.logits = nn.Parameter(torch.empty(latent_dim).uniform_(*prior_log_mean))
        self.log_total_count = nn.Parameter(torch.zeros(latent_dim))

    def prior(self) -> RelaxedNegativeBinomial:
        """The prior of one observation, batch shape (K,)."""
        return self._distribution(self.log_total_count, self.logits)

    def posterior(self, features: Tensor) -> RelaxedNegativeBinomial:
        """The posterior given features of shape (N, K), or (N, 2 K) with free dispersion; batch shape (N, K)."""
        if self.shared_dispersion:
            return self._distribution(self.log_total_count, self.logits + features)
        for_logits, for_log_total_count = features.chunk(2, dim=-1)
        return self._distribution(self.log_total_count + for_log_total_count, self.logits + for_logits)

    def _distribution(self, log_total_count: Tensor, logits: Tensor) -> RelaxedNegativeBinomial:
        total_count = log_total_count.clamp(-LIMIT, LIMIT).exp()
        return RelaxedNegativeBinomial(
            total_count, logits=logits.clamp(-LIMIT, LIMIT), relaxation=self.current_relaxation
        )

    def code(self, posterior: RelaxedNegativeBinomial) -> Tensor:
        """The representation: log of the posterior over the prior mean, shape (N, K)."""
        prior = self.prior()
        return posterior.logits - prior.logits + posterior.total_count.log() - prior.total_count.log()
