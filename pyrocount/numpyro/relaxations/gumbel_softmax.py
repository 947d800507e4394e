"""Relaxation that draws soft counts by the Gumbel-softmax trick on a capped support."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import jax.numpy as jnp
import numpy as np
from jax import Array, lax, random
from jax.scipy.special import gammaln
from jax.typing import ArrayLike
from scipy.special import gammainc

from pyrocount.errors import largest_count

from .base import Relaxation, positive_temperature, register_relaxation

# Largest probability of counts above the cap that brings no warning when validation is on.
TAIL = 1e-3


@register_relaxation("temperature")
@dataclass(frozen=True)
class GumbelSoftmax(Relaxation):
    r"""Soft counts, averages of 0, ..., ``max_count`` under a relaxed one-hot sample of the Poisson distribution.

    A value is :math:`z = \sum_k k w_k` with :math:`w = \mathrm{softmax}[(k \log\lambda - \log k! + g_k)/\tau]`, where g
    is Gumbel noise. The gradient is pathwise: :math:`dz / d\log\lambda = \mathrm{Var}_w(k) / \tau`. The support is
    processed one count k after the other, so that the memory does not depend on ``max_count``. The cap makes counts too
    small where the rate is close to the cap. With validation on, a warning is given where counts exceed the cap with a
    probability of more than 0.001. ``mean`` and ``variance`` have no closed form.

    Reference:
        Zhang et al., Negative Binomial Variational Autoencoders, arXiv 2508.05423, section 4.

    Args:
        temperature: temperature of the softmax, positive; an array broadcasts with the rates and gets no gradient. A
            traced temperature is not checked.
        max_count: largest count, at least 1.

    Raises:
        InputError: if the temperature is not positive and finite, or ``max_count`` is less than 1.

    >>> GumbelSoftmax(0.5, max_count=20).is_discrete
    False
    """

    temperature: ArrayLike
    max_count: int

    def __post_init__(self) -> None:
        positive_temperature(self.temperature)
        largest_count(self.max_count)

    @property
    def is_discrete(self) -> bool:
        """Returns False, as the values are not integers."""
        return False

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Returns the shape of the temperature."""
        return jnp.shape(self.temperature)

    def soft(self, rate: Array, gumbel: Callable[[Array], Array]) -> tuple[Array, Array]:
        """Computes the values and their derivatives with respect to the log rate from Gumbel noise.

        Args:
            rate: expected counts, any shape.
            gumbel: function that takes a count k and returns its noise, of the shape of ``rate``.

        Returns:
            The values and their derivatives, both of the shape of ``rate``.
        """
        log_rate = jnp.log(jnp.maximum(rate, jnp.finfo(rate.dtype).tiny))
        tau = lax.stop_gradient(jnp.asarray(self.temperature, rate.dtype))

        # Each further count updates the weighted mean and sum of squares, which are scaled by the largest weight.
        def add(number: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
            highest, total, mean, squares = state
            k = jnp.asarray(number, rate.dtype)
            score = (k * log_rate - gammaln(k + 1) + gumbel(number)) / tau
            top = jnp.maximum(highest, score)
            shrink, weight = jnp.exp(highest - top), jnp.exp(score - top)
            total = total * shrink + weight
            distance = k - mean
            mean = mean + distance * weight / total
            return top, total, mean, squares * shrink + weight * distance * (k - mean)

        zero = jnp.zeros_like(rate)
        first = (jnp.full_like(rate, -jnp.inf), zero, zero, zero)
        _, total, mean, squares = lax.fori_loop(0, self.max_count + 1, add, first)
        return mean, squares / total / tau

    def _draw(self, key: Array, rate: Array) -> tuple[Array, Array]:
        return self.soft(rate, lambda k: random.gumbel(random.fold_in(key, k), rate.shape, rate.dtype))

    def moment_factors(self) -> NoReturn:
        """Raises NotImplementedError, because the mean and the variance have no closed form."""
        problem = "the mean and the variance of Gumbel-softmax counts have no closed form"
        raise NotImplementedError(f"{problem}; use those of the exact counts in .counts")

    def check(self, rate: Array) -> None:
        """Checks the rates as ``Relaxation.check`` does, and warns of rates whose counts the cap cuts off."""
        super().check(rate)
        rates = np.asarray(rate)
        above = gammainc(self.max_count + 1.0, rates)
        if (above > TAIL).any():
            warnings.warn(
                f"max_count: got {self.max_count}, which counts of rate {rates.max():.3g} exceed with "
                f"probability {above.max():.2g}, expected a probability of at most {TAIL}",
                stacklevel=3,
            )
