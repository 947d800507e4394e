"""Families of latents whose Fisher information has a closed form, for iterative inference by natural gradients.

A family knows its *potentials* u, the parameters that inference moves. It also knows the natural gradient in them,
which is the inverse Fisher information times the gradient of an expectation E f(z). This is estimated from one sample z
and the *slope* of f at z. For the drive ``"sampled"`` the slope is the gradient f'(z). For the drive ``"exact"`` of
counts it is the difference f(z + 1) - f(z), for one latent at a time.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import jax
import jax.numpy as jnp
from jax import Array
from numpyro.distributions import Delta, Distribution, GammaPoisson, Normal, Poisson
from numpyro.distributions.kl import kl_divergence

from pyrocount.errors import InputError
from pyrocount.numpyro import RelaxedNegativeBinomial, RelaxedPoisson
from pyrocount.numpyro.relaxations import Discrete, Relaxation

Drive = Literal["sampled", "exact"]
# Pytree of arrays, each of the shape of the latents.
Potentials = Any
# Relaxation whose samples are exact counts.
EXACT = Discrete()

# Range of the log rates; a latent with a lower rate would take long to come back when it is needed again.
LOG_RATES = (-8.0, 10.0)
# Range of the log standard deviations.
LOG_SCALES = (-8.0, 3.0)


class Family(ABC):
    """Base class of the families of latents; a pytree whose leaves are the parameters that inference does not move.

    Attributes:
        is_count: whether the latents are counts, which are sampled through a relaxation.
        max_step: maximum step of a potential, at which steps are clamped unless the dynamics set another maximum.
    """

    is_count: ClassVar[bool]
    max_step: ClassVar[float] = 1.0

    @classmethod
    @abstractmethod
    def of(cls, prior: Any) -> tuple[Self, Potentials]:
        """Returns the family of a prior, and the potentials of the prior."""

    @abstractmethod
    def distribution(self, potentials: Potentials, relaxation: Relaxation | None = None) -> Distribution:
        """Returns the distribution with these potentials, whose batch shape is theirs.

        Counts are drawn through the relaxation, or exactly if there is none.
        """

    @abstractmethod
    def natural_gradient(self, potentials: Potentials, z: Array, slope: Array, drive: Drive) -> Potentials:
        """Computes the natural gradient of E f(z) in the potentials, estimated at a sample.

        Args:
            potentials: potentials of the distribution of z.
            z: sample.
            slope: slope of f at the sample, of the shape of ``z``.
            drive: kind of the slope, ``"sampled"`` for the gradient of f or ``"exact"`` for its differences.
        """

    @abstractmethod
    def leak(self, potentials: Potentials, prior: Potentials) -> Potentials:
        """Computes the natural gradient of the KL divergence from the prior."""

    def bounded(self, potentials: Potentials) -> Potentials:
        """Returns the potentials, clamped to their range."""
        return potentials

    def kl(self, potentials: Potentials, prior: Potentials) -> Array:
        """Computes the KL divergence of each latent from the prior, in nats."""
        divergence: Array = kl_divergence(self.distribution(potentials), self.distribution(prior))
        return divergence

    def rate(self, potentials: Potentials) -> Array:
        """Returns the mean of each latent."""
        mean: Array = self.distribution(potentials).mean
        return mean


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PoissonFamily(Family):
    r"""Family of Poisson counts, whose potential is the log rate u.

    The Fisher information is :math:`e^u`, and the gradient is :math:`e^u\, E[f(z + 1) - f(z)]`, so that the natural
    gradient is the expected difference. The drive ``"exact"`` is an unbiased estimate of this difference. The drive
    ``"sampled"`` takes f'(z) in its place. It misses a term that arises because the variance of a count grows with its
    rate; for squared errors this term is half the squared norm of the latent's column of the dictionary over the
    variance of the noise.

    Reference:
        Vafaii, Galor and Yates, Brain-like Variational Inference, arXiv 2410.19315 (the drive ``"sampled"``).
    """

    is_count = True

    @classmethod
    def of(cls, prior: Any) -> tuple[Self, Array]:
        """Returns the family, and the log rate of the prior."""
        return cls(), prior.log_rate if isinstance(prior, RelaxedPoisson) else jnp.log(prior.rate)

    def distribution(self, potentials: Array, relaxation: Relaxation | None = None) -> RelaxedPoisson:
        """Returns the Poisson distribution with this log rate."""
        return RelaxedPoisson(log_rate=potentials, relaxation=relaxation or EXACT, validate_args=False)

    def natural_gradient(self, potentials: Array, z: Array, slope: Array, drive: Drive) -> Array:
        """Returns the slope, which is the natural gradient of a Poisson count."""
        return slope

    def leak(self, potentials: Array, prior: Array) -> Array:
        """Computes the difference from the prior's log rate, as log rates are the natural parameters."""
        return potentials - prior

    def bounded(self, potentials: Array) -> Array:
        """Returns the log rates, clamped to ``LOG_RATES``."""
        return jnp.clip(potentials, *LOG_RATES)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class NegativeBinomialFamily(Family):
    r"""Family of negative-binomial counts of fixed total_count r, whose potential is the log mean :math:`u = \log\mu`.

    At fixed r the log mean differs from the logits by a constant. With :math:`p = \mu / (r + \mu)` the score in u is
    :math:`z (1 - p) - r p`, whose variance :math:`(1 - p)^2\, \mu (1 + \mu / r)` is the Fisher information
    :math:`r p`. The gradient of E f is :math:`\mu\, dE f / d\mu`, and since :math:`\mu = r p / (1 - p)` the natural
    gradient is

    .. math:: \frac{\mu}{r p} \frac{d E f}{d\mu} = \Big(1 + \frac{\mu}{r}\Big) \frac{d E f}{d\mu},

    which tends to that of a Poisson count for :math:`r \to \infty`. The drive ``"sampled"`` takes f'(z) for the
    derivative. By the identity :math:`dE f / d\mu = E[\frac{z + r}{\mu + r} (f(z + 1) - f(z))]` the natural gradient is
    also :math:`E[(1 + z / r) (f(z + 1) - f(z))]`, which the drive ``"exact"`` estimates without bias. The KL divergence
    from a prior of mean :math:`\mu_0` has the natural gradient :math:`\log p - \log p_0` in the natural parameter
    log p. As :math:`d\log p / du = 1 - p`, the leak is :math:`(1 + \mu / r) (\log p - \log p_0)`.

    The samples of a large rate lie mostly below the rate and sometimes far above it, so that steps up are many and
    small, and steps down are few and large. A maximum step that cuts the steps down lets rates drift upwards, which is
    why it is larger here. With a maximum step of 1, about 1.8 % of whitened patches diverge within 1000 steps; with 4,
    none of 1000 patches does.

    Args:
        total_count: dispersion r, of a shape that broadcasts with the latents.
    """

    total_count: Array
    is_count: ClassVar = True
    max_step: ClassVar = 4.0

    @classmethod
    def of(cls, prior: Any) -> tuple[Self, Array]:
        """Returns the family with the total_count of the prior, and the log mean of the prior."""
        if isinstance(prior, GammaPoisson):
            return cls(prior.concentration), jnp.log(prior.concentration) - jnp.log(prior.rate)
        return cls(prior.total_count), prior.logits + jnp.log(prior.total_count)

    def distribution(self, potentials: Array, relaxation: Relaxation | None = None) -> RelaxedNegativeBinomial:
        """Returns the negative binomial distribution with this log mean."""
        logits = potentials - jnp.log(self.total_count)
        return RelaxedNegativeBinomial(
            self.total_count, logits=logits, relaxation=relaxation or EXACT, validate_args=False
        )

    def natural_gradient(self, potentials: Array, z: Array, slope: Array, drive: Drive) -> Array:
        """Computes the slope times 1 + mean / r, or times 1 + z / r for the drive ``"exact"``."""
        level = z if drive == "exact" else jnp.exp(potentials)
        return (1 + level / self.total_count) * slope

    def leak(self, potentials: Array, prior: Array) -> Array:
        """Computes the difference from the prior in log p, divided by the derivative of log p in the log mean."""
        log_r = jnp.log(self.total_count)
        distance = jax.nn.log_sigmoid(potentials - log_r) - jax.nn.log_sigmoid(prior - log_r)
        return (1 + jnp.exp(potentials) / self.total_count) * distance

    def bounded(self, potentials: Array) -> Array:
        """Returns the log means, clamped to ``LOG_RATES``."""
        return jnp.clip(potentials, *LOG_RATES)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class GaussianFamily(Family):
    r"""Family of Gaussian latents, whose potentials are the mean and the log standard deviation.

    Their Fisher information is :math:`(\sigma^{-2}, 2)`. It turns the pathwise gradients :math:`E f'(z)` and
    :math:`E[f'(z) (z - \mu)]` into :math:`(\sigma^2 f'(z),\ \tfrac12 (z - \mu) f'(z))`. Both are unbiased, so that the
    two drives are the same.

    Reference:
        Vafaii, Galor and Yates, Brain-like Variational Inference, arXiv 2410.19315 (iG-VAE).
    """

    is_count = False

    @classmethod
    def of(cls, prior: Any) -> tuple[Self, tuple[Array, Array]]:
        """Returns the family, and the mean and log standard deviation of the prior."""
        return cls(), (jnp.asarray(prior.loc), jnp.log(prior.scale))

    def distribution(self, potentials: tuple[Array, Array], relaxation: Relaxation | None = None) -> Normal:
        """Returns the Gaussian with this mean and log standard deviation."""
        mean, log_scale = potentials
        return Normal(mean, jnp.exp(log_scale), validate_args=False)

    def natural_gradient(
        self, potentials: tuple[Array, Array], z: Array, slope: Array, drive: Drive
    ) -> tuple[Array, Array]:
        """Computes the pathwise gradients, multiplied by the inverse Fisher information."""
        mean, log_scale = potentials
        return jnp.exp(2 * log_scale) * slope, (z - mean) * slope / 2

    def leak(self, potentials: tuple[Array, Array], prior: tuple[Array, Array]) -> tuple[Array, Array]:
        """Computes the gradient of the KL divergence, multiplied by the inverse Fisher information."""
        (mean, log_scale), (prior_mean, prior_log_scale) = potentials, prior
        ratio = jnp.exp(2 * (log_scale - prior_log_scale))
        return ratio * (mean - prior_mean), (ratio - 1) / 2

    def bounded(self, potentials: tuple[Array, Array]) -> tuple[Array, Array]:
        """Returns the mean, and the log standard deviation clamped to ``LOG_SCALES``."""
        mean, log_scale = potentials
        return mean, jnp.clip(log_scale, *LOG_SCALES)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PointFamily(Family):
    r"""Family of continuous states without noise, moved by the plain gradient as in classic predictive coding.

    The prior is Gaussian, and the posterior is a point z. Its divergence is minus the log density of the prior without
    the constant, :math:`(z - \mu)^2 / (2 \sigma^2)`.

    Reference:
        Rao and Ballard, Predictive Coding in the Visual Cortex, Nature Neuroscience 1999.

    Args:
        scale: standard deviation of the prior.
    """

    scale: Array
    is_count: ClassVar = False

    @classmethod
    def of(cls, prior: Any) -> tuple[Self, Array]:
        """Returns the family, and the mean of the prior."""
        return cls(prior.scale), jnp.asarray(prior.loc)

    def distribution(self, potentials: Array, relaxation: Relaxation | None = None) -> Delta:
        """Returns the distribution with all probability on the state."""
        return Delta(potentials)

    def natural_gradient(self, potentials: Array, z: Array, slope: Array, drive: Drive) -> Array:
        """Returns the slope, which is the plain gradient."""
        return slope

    def leak(self, potentials: Array, prior: Array) -> Array:
        """Computes the plain gradient of the divergence."""
        return (potentials - prior) / self.scale**2

    def kl(self, potentials: Array, prior: Array) -> Array:
        """Computes the squared distance from the mean of the prior, over twice the variance of the prior."""
        return jnp.square((potentials - prior) / self.scale) / 2


# Families by the type of the prior.
FAMILIES: dict[type[Distribution], type[Family]] = {
    RelaxedPoisson: PoissonFamily,
    Poisson: PoissonFamily,
    RelaxedNegativeBinomial: NegativeBinomialFamily,
    GammaPoisson: NegativeBinomialFamily,
    Normal: GaussianFamily,
}


def family_of(prior: Distribution, kind: type[Family] | None = None) -> tuple[Family, Potentials]:
    """Returns the family of a prior, and the prior's potentials, of the shape of a sample.

    Args:
        prior: distribution at a latent site; a reshaped or expanded distribution counts as its base distribution.
        kind: family to use instead of the usual one for the distribution.

    Raises:
        InputError: naming ``model``, if the family of the distribution is not known.
    """
    base = prior
    while not isinstance(base, tuple(FAMILIES)):
        if not hasattr(base, "base_dist"):
            known = ", ".join(sorted(known.__name__ for known in FAMILIES))
            problem = f"a latent site with the distribution {type(base).__name__}"
            raise InputError("model", problem, f"one of the distributions {known}")
        base = base.base_dist
    usual = next(family for known, family in FAMILIES.items() if isinstance(base, known))
    family, potentials = (kind or usual).of(base)
    return family, jax.tree.map(lambda part: jnp.broadcast_to(part, prior.shape()), potentials)
