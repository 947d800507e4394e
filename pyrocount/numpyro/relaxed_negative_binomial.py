"""Negative binomial distribution with a choice of how gradients flow through its counts."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.core import Tracer
from jax.typing import ArrayLike
from numpyro.distributions import constraints
from numpyro.distributions.batch_util import vmap_over
from numpyro.distributions.util import validate_sample

from pyrocount.errors import exactly_one

from .count_distribution import CountDistribution, axes
from .gamma_sampler import gamma
from .log_pmf import negative_binomial_log_pmf
from .negative_binomial_sampler import negative_binomial
from .relaxations import ArrivalTimes, Discrete, Relaxation, SteinChen, with_derivative


class RelaxedNegativeBinomial(CountDistribution):
    r"""Overdispersed, negative-binomial counts that carry a gradient, with the parameters of torch.

    .. math::
        p(z) = \frac{\Gamma(z + r)}{\Gamma(r)\,\Gamma(z + 1)}\, (1 - p)^r p^z, \qquad
        E z = r p / (1 - p) = r e^{\mathrm{logits}}, \qquad \mathrm{Var}\, z = E z\, (1 + E z / r)

    with r = ``total_count`` and p = ``probs`` (one minus the p of the NegBio-VAE paper and of SciPy). Counts are drawn
    as a mixture, :math:`\lambda \sim \mathrm{Gamma}(r, \mathrm{rate}=e^{-\mathrm{logits}})` by implicit
    reparameterisation and then a Poisson count of rate :math:`\lambda` through the relaxation, so that gradients reach
    both parameters.

    ``log_prob`` and ``kl_divergence`` are those of the underlying counts, ``log_prob`` continued to real values by the
    gamma function; ``mean`` and ``variance`` are those of the values that ``sample`` draws. ``support`` is the
    nonnegative reals for a soft relaxation, and the nonnegative integers for a relaxation whose values are exact
    counts.

    References:
        Zhang et al., Negative Binomial Variational Autoencoders, arXiv 2508.05423, section 4.
        Figurnov, Mohamed and Mnih, Implicit Reparameterization Gradients, NeurIPS 2018 (the Gamma).

    Args:
        total_count: dispersion r, positive, any shape; the larger it is, the closer are the counts to Poisson counts.
        probs: probability p, in [0, 1), broadcast with ``total_count``.
        logits: log odds log(p / (1 - p)), in place of ``probs``.
        relaxation: relaxation that samples and differentiates the counts.
        validate_args: whether arguments and values are checked; None follows the global setting.

    Raises:
        ValueError: if not exactly one of ``probs`` and ``logits`` is given, or a value breaks its constraint.
        TypeError: if a parameter is an integer array, or ``relaxation`` is not a relaxation.

    >>> d = RelaxedNegativeBinomial(2.0, logits=jnp.zeros(3))
    >>> d.sample(jax.random.key(0), (5,)).shape
    (5, 3)
    >>> d.mean
    Array([2., 2., 2.], dtype=float32)
    >>> d.counts.variance
    Array([4., 4., 4.], dtype=float32)
    """

    arg_constraints = {
        "total_count": constraints.positive,
        "probs": constraints.unit_interval,
        "logits": constraints.real,
    }
    reparametrized_params = ["total_count", "probs", "logits"]
    # The fields are those of the base class; by default they would be the names of the constraints.
    pytree_data_fields = ()

    def __init__(
        self,
        total_count: ArrayLike,
        probs: ArrayLike | None = None,
        logits: ArrayLike | None = None,
        relaxation: Relaxation = ArrivalTimes(0.1),
        *,
        validate_args: bool | None = None,
    ) -> None:
        parameters: dict[str, ArrayLike] = {"total_count": total_count, **exactly_one(probs=probs, logits=logits)}
        super().__init__(parameters, relaxation, validate_args=validate_args)

    @classmethod
    def from_mean(
        cls,
        mean: ArrayLike,
        total_count: ArrayLike,
        relaxation: Relaxation = ArrivalTimes(0.1),
        *,
        validate_args: bool | None = None,
    ) -> "RelaxedNegativeBinomial":
        """Builds the distribution with this mean (counts per observation window, positive) and dispersion.

        >>> round(float(RelaxedNegativeBinomial.from_mean(3.0, 2.0).counts.variance), 4)
        7.5
        """
        logits = jnp.log(mean) - jnp.log(total_count)
        return cls(total_count, logits=logits, relaxation=relaxation, validate_args=validate_args)

    @property
    def total_count(self) -> Array:
        """Returns the dispersion r."""
        return self.parameters["total_count"]

    @property
    def probs(self) -> Array:
        """Returns the probability p, computed from the logits if those were given."""
        return self.parameters["probs"] if "probs" in self.parameters else jax.nn.sigmoid(self.parameters["logits"])

    @property
    def logits(self) -> Array:
        """Returns the logits log(p / (1 - p)), computed from p if that was given."""
        return self.parameters["logits"] if "logits" in self.parameters else jnp.log(self._odds)

    @property
    def _odds(self) -> Array:
        """Returns the odds p / (1 - p), which are the scale of the Gamma mixture."""
        if "logits" in self.parameters:
            return jnp.exp(self.parameters["logits"])
        return self.parameters["probs"] / (1 - self.parameters["probs"])

    @property
    def mean(self) -> Array:
        """Returns the mean of the relaxed counts."""
        factor, _ = self.relaxation.moment_factors()
        return jnp.broadcast_to(self.total_count * self._odds * factor, self.batch_shape)

    @property
    def variance(self) -> Array:
        """Returns the variance of the relaxed counts, E Var(z | lambda) + Var E(z | lambda)."""
        mean_factor, variance_factor = self.relaxation.moment_factors()
        per_count = variance_factor + mean_factor**2 * self._odds
        return jnp.broadcast_to(self.total_count * self._odds * per_count, self.batch_shape)

    def _draw_rate(self, key: Array, shape: tuple[int, ...]) -> Array:
        total_count = jnp.broadcast_to(self.total_count, shape)
        return gamma(key, total_count) * self._odds

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        r"""Draws counts, as for every count distribution; with ``SteinChen`` no gradient goes through the Gamma.

        With the mean :math:`\mu`, counts N have the derivatives :math:`(N + p (N + r)) / 2` in the logits and
        :math:`(N + \mu) / (2 r)` in r. As for Poisson counts, they make the gradient of every quadratic function
        unbiased. The first is the trapezoid rule for the exact derivative in the mean at a fixed r,
        :math:`E[(N + r) (f(N + 1) - f(N))] / (\mu + r)` (Cong et al., GO Gradient, ICLR 2019). The second adds to it
        the derivative :math:`-\mu (N - \mu) / (2 r (r + \mu))` in r at a fixed mean, which is exact for the variance.
        """
        if not isinstance(self.relaxation, SteinChen | Discrete):
            return self.sample_through_rate(key, sample_shape)
        self._check_key(key)
        still = jax.lax.stop_gradient(self)
        shape = (*sample_shape, *self.batch_shape)
        r, odds = (jnp.broadcast_to(each, shape) for each in (still.total_count, still._odds))
        if self._validate_args and not isinstance(odds, Tracer):
            self.relaxation.check(r * odds)
        count = negative_binomial(key, r, odds)
        if isinstance(self.relaxation, Discrete):
            return count
        r, p, odds = still.total_count, still.probs, still._odds
        for_logits = (count + p * (count + r)) / 2
        for_total_count = (count + r * odds) / (2 * r)
        total_count, parameter = (jnp.broadcast_to(each, count.shape) for each in self.parameters.values())
        slope = for_logits
        if "probs" in self.parameters:
            slope = for_logits / jnp.maximum(p * (1 - p), jnp.finfo(p.dtype).tiny)
        return with_derivative(count, total_count, for_total_count, parameter, slope)

    @validate_sample
    def log_prob(self, value: ArrayLike, intermediates: object = None) -> Array:
        """Returns the log probability of counts, in nats; for real values, its continuation by the gamma function."""
        return negative_binomial_log_pmf(jnp.asarray(value), **self.parameters)


@vmap_over.register
def _vmap_over(  # type: ignore[no-untyped-def]
    d: RelaxedNegativeBinomial, total_count=None, probs=None, logits=None, relaxation=None
):
    return axes(d, relaxation, total_count=total_count, probs=probs, logits=logits)
