"""Half the deviance of count families, in nats and without cancellation.

Half the deviance is the Kullback-Leibler divergence between two members of a family that differ only in their means. It
is also the part of a log probability that depends on the distance of the count from the mean. The KL divergences and
the log probabilities of this package are built on it.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.nn import log_sigmoid

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


def negative_binomial_deviance(mean: Array, total_count: Array, logits: Array, delta: Array) -> Array:
    """Returns m log(m / o) - (m + r) log((m + r) / (o + r)) for the means m and o = r exp(logits).

    The argument ``delta`` is log(m / o), and r is ``total_count``.
    """
    log_p, log_1mp = log_sigmoid(logits), log_sigmoid(-logits)
    near = jnp.abs(delta) < 1
    step = jnp.where(near, delta, 0.0)
    close = total_count * log1p_residual(jnp.exp(log_p) * jnp.expm1(step))
    close = close + mean * log1p_residual(jnp.exp(log_1mp) * jnp.expm1(-step))
    # The linear parts of the two terms cancel, so that they may be left out where the means are far apart.
    step = jnp.where(~near & (mean > 0), delta, 2.0)
    far = jnp.where(mean > 0, mean * _log_mixture(log_1mp, log_p, -step), 0.0)
    far = far + total_count * jnp.where(mean > 0, _log_mixture(log_p, log_1mp, step), log_1mp)
    return jnp.where(near, close, -far)


def _log_mixture(log_weight: Array, log_rest: Array, step: Array) -> Array:
    """Returns log(1 - w + w exp(step)) for the weight w = exp(log_weight)."""
    excess = jnp.exp(log_weight + step) - jnp.exp(log_weight)
    near = jnp.abs(excess) < 0.5
    return jnp.where(near, jnp.log1p(jnp.where(near, excess, 0.0)), jnp.logaddexp(log_rest, log_weight + step))
