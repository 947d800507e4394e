"""Poisson counts."""

from typing import Self

from torch import Tensor, nn

from pyrocount.distributions import ArrivalTimes, Relaxation, RelaxedPoisson

from .base import INITIAL_RATE, LatentOptions
from .counts import LIMIT, CountLatent, initial_log_rates


class PoissonLatent(CountLatent):
    """Poisson counts; the posterior's log rate is the prior's plus the encoder's output.

    Reference:
        Vafaii, Galor and Yates, Poisson Variational Autoencoder, NeurIPS 2024, section 3.

    Args:
        latent_dim: number of latent counts K.
        relaxation: how counts are sampled in training mode.
        initial_rate: about which the prior's rates start.
    """

    def __init__(
        self,
        latent_dim: int,
        relaxation: Relaxation = ArrivalTimes(0.1),
        initial_rate: float = INITIAL_RATE,
    ) -> None:
        super().__init__(latent_dim, relaxation)
        self.features = latent_dim
        self.log_rate = nn.Parameter(initial_log_rates(latent_dim, initial_rate))

    @classmethod
    def build(cls, latent_dim: int, options: LatentOptions) -> Self:
        """A family from the options of a command line."""
        return cls(latent_dim, options.relaxation, options.initial_rate)

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
