"""Negative-binomial counts."""

from typing import Self

import torch
from torch import Tensor, nn

from pyrocount.distributions import ArrivalTimes, Relaxation, RelaxedNegativeBinomial

from .base import INITIAL_RATE, LatentOptions
from .counts import LIMIT, CountLatent, initial_log_rates


class NegativeBinomialLatent(CountLatent):
    """Negative-binomial counts; the posterior's logits are the prior's plus the encoder's output.

    Reference:
        Zhang et al., Negative Binomial Variational Autoencoders, arXiv 2508.05423, section 4.

    Args:
        latent_dim: number of latent counts K.
        relaxation: how counts are sampled in training mode.
        shared_dispersion: whether the posterior keeps the prior's total_count, which makes the KL divergence closed;
            else the encoder gives a residual on its logarithm too.
        initial_rate: about which the prior's means start; its total_counts start at 1.
    """

    def __init__(
        self,
        latent_dim: int,
        relaxation: Relaxation = ArrivalTimes(0.1),
        shared_dispersion: bool = True,
        initial_rate: float = INITIAL_RATE,
    ) -> None:
        super().__init__(latent_dim, relaxation)
        self.shared_dispersion = shared_dispersion
        self.features = latent_dim if shared_dispersion else 2 * latent_dim
        self.logits = nn.Parameter(initial_log_rates(latent_dim, initial_rate))
        self.log_total_count = nn.Parameter(torch.zeros(latent_dim))

    @classmethod
    def build(cls, latent_dim: int, options: LatentOptions) -> Self:
        """A family from the options of a command line."""
        return cls(latent_dim, options.relaxation, options.shared_dispersion, options.initial_rate)

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
