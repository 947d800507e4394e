"""Poisson latents."""

from typing import Self

from torch import Tensor, nn

from pyrocount.distributions import ArrivalTimes, Relaxation, RelaxedPoisson
from pyrocount.options import Options

from ..options import LatentOptions
from .counts import INITIAL_RATE, INITIAL_SPREAD, LIMIT, CountLatent, chosen_relaxation, chosen_start, initial_log_rates


class PoissonLatent(CountLatent):
    """Poisson latents, whose posterior log rates are the prior log rates plus the encoder's output.

    Reference:
        Vafaii, Galor and Yates, Poisson Variational Autoencoder, NeurIPS 2024, section 3.

    Args:
        latent_dim: number of latent counts K.
        relaxation: relaxation that samples counts in training mode.
        initial_rate: rate about which the prior rates start.
        initial_spread: largest distance of the log of a first rate from the log of ``initial_rate``.
    """

    def __init__(
        self,
        latent_dim: int,
        relaxation: Relaxation = ArrivalTimes(0.1),
        initial_rate: float = INITIAL_RATE,
        initial_spread: float = INITIAL_SPREAD,
    ) -> None:
        super().__init__(latent_dim, relaxation)
        self.features = latent_dim
        self.log_rate = nn.Parameter(initial_log_rates(latent_dim, initial_rate, initial_spread))

    @classmethod
    def build(cls, options: Options) -> Self:
        """Builds the family from the options of a model."""
        return cls(options[LatentOptions].latent_dim, chosen_relaxation(options), *chosen_start(options))

    def prior(self) -> RelaxedPoisson:
        """Returns the prior of the latents of one observation, batch shape (K,)."""
        return self._distribution(self.log_rate)

    def posterior(self, features: Tensor) -> RelaxedPoisson:
        """Returns the posterior given features of shape (N, K), batch shape (N, K)."""
        return self._distribution(self.log_rate + features)

    def _distribution(self, log_rate: Tensor) -> RelaxedPoisson:
        return RelaxedPoisson(log_rate=log_rate.clamp(max=LIMIT), relaxation=self.current_relaxation)

    def code(self, posterior: RelaxedPoisson) -> Tensor:
        """Returns the representation: the log ratio of the posterior rate to the prior rate, shape (N, K)."""
        return posterior.log_rate - self.prior().log_rate
