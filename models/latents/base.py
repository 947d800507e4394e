"""What families of latents have in common."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from pyro.distributions import TorchDistribution
from pyro.nn import PyroModule
from torch import Tensor
from torch.distributions import kl_divergence

from pyrocount.distributions import ArrivalTimes, Discrete, GumbelSoftmax, Relaxation, SteinChen, StraightThrough
from pyrocount.errors import InputError

INITIAL_RATE = 0.22


@dataclass(frozen=True)
class LatentOptions:
    """What families are built from; each takes what it needs.

    Attributes:
        estimator: name of the gradient estimator, one of the family's.
        temperature: of the relaxations that have one.
        indicator: of the arrival times, ``"cubic"`` or ``"sigmoid"``.
        max_count: largest count of the Gumbel-softmax.
        shared_dispersion: whether a negative-binomial posterior keeps the prior's total_count.
        activation: of Gaussian samples.
        initial_rate: about which the prior's mean counts start.
    """

    estimator: str
    temperature: float = 0.1
    indicator: Literal["cubic", "sigmoid"] = "cubic"
    max_count: int = 30
    shared_dispersion: bool = True
    activation: str = "identity"
    initial_rate: float = INITIAL_RATE

    @property
    def relaxation(self) -> Relaxation:
        """How counts are sampled for the estimator; ``exact`` samples none in training."""
        match self.estimator:
            case "arrival" | "arrival-hard":
                return ArrivalTimes(self.temperature, self.indicator, hard=self.estimator == "arrival-hard")
            case "gumbel":
                return GumbelSoftmax(self.temperature, self.max_count)
            case "stein":
                return SteinChen()
            case "straight-through":
                return StraightThrough()
        return Discrete()


class Latent(PyroModule):
    """A family of K latents: their prior, and posteriors whose parameters are computed from features of the data.

    In training mode samples carry a gradient where the estimator has one, in evaluation mode they are exact.

    Attributes:
        latent_dim: number of latents K.
        features: number of encoder outputs that ``posterior`` takes.
        estimators: names of the gradient estimators that the family knows, its default first.
    """

    features: int
    estimators: ClassVar[tuple[str, ...]]

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        if latent_dim < 1:
            raise InputError("latent_dim", latent_dim, "a positive whole number")
        self.latent_dim = latent_dim

    @classmethod
    @abstractmethod
    def build(cls, latent_dim: int, options: LatentOptions) -> Self:
        """A family of K latents from the options of a command line."""

    @abstractmethod
    def prior(self) -> TorchDistribution:
        """The prior of one observation: batch and event shape together are (K,)."""

    @abstractmethod
    def posterior(self, features: Any) -> TorchDistribution:
        """The posterior given features (N, ``features``): batch and event shape together are (N, K)."""

    @abstractmethod
    def code(self, posterior: Any) -> Tensor:
        """The representation of the observations with this posterior, shape (N, K)."""

    def mean_of_code(self, code: Tensor) -> Tensor:
        """The mean latents of posteriors with these codes (N, K), in which location families are given by theirs."""
        return code

    def divergence(self, posterior: Any) -> Tensor:
        """What each latent contributes to the KL divergence of the posterior from the prior, in nats, shape (N, K)."""
        return kl_divergence(posterior, self.prior().expand(posterior.batch_shape))

    def activity(self, z: Tensor) -> Tensor:
        """What the decoder sees of samples, of their shape."""
        return z

    def moments(self, posterior: Any) -> tuple[Tensor, Tensor]:
        """Mean and variance of the activity under a posterior, both (N, K).

        Raises:
            InputError: naming ``estimator``, where they have no closed form.
        """
        return posterior.mean, posterior.variance

    def scatter(self, posterior: Any, columns: Tensor) -> Tensor:
        """Trace of the covariance of ``columns @ activity``, shape (N,), for columns of shape (D, K)."""
        _, variance = self.moments(posterior)
        return variance @ columns.square().sum(0)

    def set_temperature(self, temperature: float) -> None:
        """Sets the temperature of the samples in training mode, where they have one."""
