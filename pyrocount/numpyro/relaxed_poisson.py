"""Poisson distribution with a choice of how gradients flow through its counts."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from numpyro.distributions import constraints
from numpyro.distributions.batch_util import vmap_over
from numpyro.distributions.util import validate_sample

from pyrocount.errors import exactly_one

from .count_distribution import CountDistribution, axes
from .log_pmf import poisson_log_pmf
from .relaxations import ArrivalTimes, Relaxation


class RelaxedPoisson(CountDistribution):
    r"""Poisson counts that carry a gradient.

    .. math:: p(z) = \lambda^z e^{-\lambda} / \Gamma(z + 1)

    ``log_prob`` and ``kl_divergence`` are those of the underlying counts, ``log_prob`` continued to real values by the
    gamma function; ``mean`` and ``variance`` are those of the values that ``sample`` draws. ``support`` is the
    nonnegative reals for a soft relaxation, and the nonnegative integers for a relaxation whose values are exact
    counts.

    References:
        Vafaii, Galor and Yates, Poisson Variational Autoencoder, NeurIPS 2024.

    Args:
        rate: expected counts per observation window, nonnegative, any shape.
        log_rate: logarithm of the rate, in place of ``rate``.
        relaxation: relaxation that samples and differentiates the counts.
        validate_args: whether arguments and values are checked; None follows the global setting.

    Raises:
        ValueError: if not exactly one of ``rate`` and ``log_rate`` is given, or a value breaks its constraint.
        TypeError: if a parameter is an integer array, or ``relaxation`` is not a relaxation.

    >>> import jax
    >>> d = RelaxedPoisson(jnp.array([0.5, 2.0]))
    >>> d.sample(jax.random.key(0), (3,)).shape
    (3, 2)
    >>> d.mean
    Array([0.5, 2. ], dtype=float32)
    >>> d.counts.variance
    Array([0.5, 2. ], dtype=float32)
    """

    arg_constraints = {"rate": constraints.nonnegative, "log_rate": constraints.real}
    reparametrized_params = ["rate", "log_rate"]
    # The fields are those of the base class; by default they would be the names of the constraints.
    pytree_data_fields = ()

    def __init__(
        self,
        rate: ArrayLike | None = None,
        log_rate: ArrayLike | None = None,
        relaxation: Relaxation = ArrivalTimes(0.1),
        *,
        validate_args: bool | None = None,
    ) -> None:
        super().__init__(exactly_one(rate=rate, log_rate=log_rate), relaxation, validate_args=validate_args)

    @property
    def rate(self) -> Array:
        """Returns the expected counts, computed from the log rate if that was given."""
        return self.parameters["rate"] if "rate" in self.parameters else jnp.exp(self.parameters["log_rate"])

    @property
    def log_rate(self) -> Array:
        """Returns the logarithm of the expected counts, computed from the rate if that was given."""
        return self.parameters["log_rate"] if "log_rate" in self.parameters else jnp.log(self.parameters["rate"])

    @property
    def mean(self) -> Array:
        """Returns the mean of the relaxed counts."""
        return jnp.broadcast_to(self.rate * self.relaxation.moment_factors()[0], self.batch_shape)

    @property
    def variance(self) -> Array:
        """Returns the variance of the relaxed counts."""
        return jnp.broadcast_to(self.rate * self.relaxation.moment_factors()[1], self.batch_shape)

    def _draw_rate(self, key: Array, shape: tuple[int, ...]) -> Array:
        return jnp.broadcast_to(self.rate, shape)

    @validate_sample
    def log_prob(self, value: ArrayLike, intermediates: object = None) -> Array:
        """Returns the log probability of counts, in nats; for real values, its continuation by the gamma function."""
        return poisson_log_pmf(jnp.asarray(value), **self.parameters)


@vmap_over.register
def _vmap_over(d: RelaxedPoisson, rate=None, log_rate=None, relaxation=None):  # type: ignore[no-untyped-def]
    return axes(d, relaxation, rate=rate, log_rate=log_rate)
