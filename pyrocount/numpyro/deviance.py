"""Half the deviance of count families, in nats and without cancellation.

Half the deviance is the Kullback-Leibler divergence between two members of a family that differ only in their means. It
is also the part of a log probability that depends on the distance of the count from the mean. The KL divergences and
the log probabilities of this package are built on it.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.nn import sigmoid

from .special import log1p_residual


def log_ratio(a: Array, b: Array, log_a: Array, log_b: Array) -> Array:
    """Returns log(a / b) of positive numbers, precisely also where a and b almost coincide."""
    near = jnp.abs(a - b) < b / 2
    return jnp.where(near, jnp.log1p(jnp.where(near, (a - b) / jnp.where(near, b, 1.0), 0.0)), log_a - log_b)


@jax.custom_jvp
def poisson_deviance(mean: Array, other: Array, delta: Array) -> Array:
    """Returns m log(m / o) - m + o for the means m and o.

    The argument ``delta`` is log(m / o).
    """
    near = jnp.abs(delta) < 1
    close = mean * log1p_residual(jnp.expm1(-jnp.where(near, delta, 0.0)))
    far = mean * jnp.where(mean > 0, delta, 0.0) - mean + other
    return jnp.where(near, close, far)


@poisson_deviance.defjvp
def _poisson_deviance_jvp(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Array, Array]:
    """Computes the change with the derivatives log(m / o) in m and 1 - m / o in o.

    They include the change of ``delta``, which is a function of m and o.
    """
    mean, other, delta = primals
    mean_slope = jnp.where(mean > 0, delta, 0.0)
    other_slope = jnp.where(mean > 0, -jnp.expm1(delta), 1.0)
    return poisson_deviance(mean, other, delta), mean_slope * tangents[0] + other_slope * tangents[1]


@jax.custom_jvp
def negative_binomial_deviance(mean: Array, total_count: Array, logits: Array, delta: Array) -> Array:
    """Returns m log(m / o) - (m + r) log((m + r) / (o + r)) for the means m and o = r exp(logits).

    The argument ``delta`` is log(m / o), and r is ``total_count``.
    """
    return _negative_binomial(mean, total_count, logits, delta)[0]


@negative_binomial_deviance.defjvp
def _negative_binomial_jvp(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Array, Array]:
    """Computes the change with the derivatives in m, r and the logits, which include the change of ``delta``."""
    value, *slopes = _negative_binomial(*primals)
    change = [slope * tangent for slope, tangent in zip(slopes, tangents, strict=False)]
    return value, change[0] + change[1] + change[2]


def _negative_binomial(mean: Array, r: Array, logits: Array, delta: Array) -> tuple[Array, ...]:
    """Computes the deviance, -(a g + b h), and its derivatives with respect to m, r and the logits.

    Where m >= o, g = log((m + r) / (o + r)), h = g - log(m / o), a = r and b = m. Where m < o, g and h are the other
    way round, and so are a and b: g rises with the distance of the means, h falls.
    """
    limits = jnp.finfo(delta.dtype)
    distance, above = jnp.minimum(jnp.abs(delta), limits.max), delta >= 0
    p, q = sigmoid(logits), sigmoid(-logits)
    u, v = jnp.where(above, p, q), jnp.where(above, q, p)
    a, b = jnp.where(above, r, mean), jnp.where(above, mean, r)
    decay = jnp.exp(-distance)
    lost = -jnp.expm1(-distance)
    # The series of the residuals are for close means, where the rise is below e - 1 and the fall below 1 - 1 / e.
    rise = jnp.minimum(u * lost / jnp.maximum(decay, limits.tiny), 2.0)
    fall = jnp.minimum(v * lost, 0.9)
    of_rise, of_fall = log1p_residual(rise), log1p_residual(-fall)
    h = jnp.where(fall < 0.5, -fall - of_fall, jnp.log(jnp.maximum(v * decay + u, limits.tiny)))
    g = jnp.where(rise < 1, rise - of_rise, distance + h)
    far = distance > 1
    value = jnp.where(far, -(a * g) - b * h, a * of_rise + b * of_fall)
    for_logits = jnp.where(far, r * p - mean * q, jnp.where(above, -rise, fall) * r)
    return value, -jnp.where(above, h, g), -jnp.where(above, g, h), for_logits
