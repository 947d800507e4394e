"""Negative-binomial latents."""

from typing import Self

import torch
from torch import Tensor, nn

from pyrocount.distributions import ArrivalTimes, Relaxation, RelaxedNegativeBinomial
from pyrocount.options import Options

from ..options import DivergenceOptions, LatentOptions
from .counts import INITIAL_RATE, INITIAL_SPREAD, LIMIT, CountLatent, chosen_relaxation, chosen_start, initial_log_rates


class NegativeBinomialLatent(CountLatent):
    """Negative-binomial latents, whose posterior logits are the prior logits plus the encoder's output.

    Reference:
        Zhang et al., Negative Binomial Variational Autoencoders, arXiv 2508.05423, section 4.

    Args:
        latent_dim: number of latent counts K.
        relaxation: relaxation that samples counts in training mode.
        shared_dispersion: whether the posterior keeps the prior's total_count, which gives the KL divergence a closed
            form; otherwise the encoder also gives a residual on the log total_count.
        initial_rate: mean count about which the prior means start; the prior total_counts start at 1.
        initial_spread: largest distance of the log of a first mean from the log of ``initial_rate``.
    """

    def __init__(
        self,
        latent_dim: int,
        relaxation: Relaxation = ArrivalTimes(0.1),
        shared_dispersion: bool = True,
        initial_rate: float = INITIAL_RATE,
        initial_spread: float = INITIAL_SPREAD,
    ) -> None:
        super().__init__(latent_dim, relaxation)
        self.shared_dispersion = shared_dispersion
        self.features = latent_dim if shared_dispersion else 2 * latent_dim
        self.logits = nn.Parameter(initial_log_rates(latent_dim, initial_rate, initial_spread))
        self.log_total_count = nn.Parameter(torch.zeros(latent_dim))

    @classmethod
    def build(cls, options: Options) -> Self:
        """Builds the family from the options of a model."""
        shared = options[DivergenceOptions].kl == "shared"
        return cls(options[LatentOptions].latent_dim, chosen_relaxation(options), shared, *chosen_start(options))

    def prior(self) -> RelaxedNegativeBinomial:
        """Returns the prior of the latents of one observation, batch shape (K,)."""
        return self._distribution(self.log_total_count, self.logits)

    def posterior(self, features: Tensor) -> RelaxedNegativeBinomial:
        """Returns the posterior, batch shape (N, K), given features (N, K), or (N, 2 K) if dispersion is not shared."""
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
        """Returns the representation: the log ratio of the posterior mean to the prior mean, shape (N, K)."""
        prior = self.prior()
        return posterior.logits - prior.logits + posterior.total_count.log() - prior.total_count.log()
