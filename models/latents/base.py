"""Base class of the families of latents."""

from abc import abstractmethod
from typing import Any, Self

from pyro.distributions import TorchDistribution
from pyro.nn import PyroModule
from torch import Tensor
from torch.distributions import kl_divergence

from pyrocount.errors import InputError
from pyrocount.options import Options


class Latent(PyroModule):
    """Family of K latents: their prior, and posteriors whose parameters are computed from features of the data.

    In training mode samples carry a gradient if the estimator has one. In evaluation mode samples are exact.

    Attributes:
        latent_dim: number of latents K.
        features: number of encoder outputs that ``posterior`` takes.
    """

    features: int

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        if latent_dim < 1:
            raise InputError("latent_dim", latent_dim, "a positive whole number")
        self.latent_dim = latent_dim

    @classmethod
    @abstractmethod
    def build(cls, options: Options) -> Self:
        """Builds the family from the options of a model."""

    @abstractmethod
    def prior(self) -> TorchDistribution:
        """Returns the prior of the latents of one observation; batch and event shape together are (K,)."""

    @abstractmethod
    def posterior(self, features: Any) -> TorchDistribution:
        """Returns the posterior given features (N, ``features``); batch and event shape together are (N, K)."""

    @abstractmethod
    def code(self, posterior: Any) -> Tensor:
        """Returns the representation of the observations that have this posterior, shape (N, K)."""

    def mean_of_code(self, code: Tensor) -> Tensor:
        """Returns the mean latents (N, K) of posteriors with these codes (N, K); by default the codes are the means."""
        return code

    def divergence(self, posterior: Any) -> Tensor:
        """Returns the KL divergence of the posterior from the prior for each latent, in nats, shape (N, K)."""
        return kl_divergence(posterior, self.prior().expand(posterior.batch_shape))

    def activity(self, z: Tensor) -> Tensor:
        """Returns the input of the decoder for samples of the latents, of the same shape as the samples."""
        return z

    def moments(self, posterior: Any) -> tuple[Tensor, Tensor]:
        """Returns the mean and variance of the activity under a posterior, both of shape (N, K).

        Raises:
            InputError: naming ``estimator``, if the mean and variance have no closed form.
        """
        return posterior.mean, posterior.variance

    def scatter(self, posterior: Any, columns: Tensor) -> Tensor:
        """Returns the trace of the covariance of ``columns @ activity``, shape (N,), for columns of shape (D, K)."""
        _, variance = self.moments(posterior)
        return variance @ columns.square().sum(0)

    def set_temperature(self, temperature: float) -> None:
        """Sets the temperature of the samples in training mode; families without a temperature do nothing."""

    def set_hard(self, hard: bool) -> None:
        """Sets whether relaxed counts are exact in the forward pass of training; other families do nothing."""
