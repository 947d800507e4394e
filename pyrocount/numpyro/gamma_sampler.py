"""Sampler of Gamma variables with their implicit gradient, many times faster on a CPU than ``jax.random.gamma``."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, random
from jax.scipy.special import digamma
from jax.typing import ArrayLike

from .deviance import log_ratio
from .random_words import redrawn, two_words, uniform
from .special import STIRLING_FROM, log1p_residual

# Reach of the integrals: the part that is left out is below exp(-REACH) times the integrand.
REACH = 18.0
# Nodes and weights of Gauss's rule on the interval from 0 to 1.
NODES = tuple(
    (float(node + 1) / 2, float(weight) / 2) for node, weight in zip(*np.polynomial.legendre.leggauss(24), strict=True)
)


@jax.jit
def gamma(key: Array, concentration: Array) -> Array:
    """Draws Gamma variables of scale 1, with the pathwise gradient in their concentration.

    The sampler is that of Marsaglia and Tsang (A Simple Method for Generating Gamma Variables, 2000). The gradient is
    implicit (Figurnov, Mohamed and Mnih, Implicit Reparameterization Gradients, NeurIPS 2018). It has a relative error
    of about 1e-5 in float32; see ``slope``.

    Args:
        key: random key.
        concentration: concentration alpha, positive, any shape, of a floating-point dtype.

    Returns:
        Variables of the shape and dtype of ``concentration``; NaN where the concentration is negative, infinite or NaN,
        and 0 where it is 0.

    >>> gamma(jax.random.key(0), jnp.array([0.0, jnp.nan]))
    Array([ 0., nan], dtype=float32)
    """
    single = jnp.promote_types(jnp.result_type(concentration), jnp.float32)
    drawn = seeded_gamma(random.bits(key, (2,), "uint32"), jnp.asarray(concentration, single))
    return drawn.astype(jnp.result_type(concentration))


@jax.custom_jvp
def seeded_gamma(seed: Array, concentration: Array) -> Array:
    """Draws Gamma variables as ``gamma`` does, from two words that seed the hash instead of a key."""
    valid = (concentration > 0) & (concentration < jnp.inf)
    alpha = jnp.where(valid, concentration, 1.0)
    # For alpha below 1, the variable is one of concentration alpha + 1 times a power of a uniform number.
    raised = jnp.where(alpha < 1, alpha + 1, alpha)
    shape = raised.shape
    value, accepted = _propose(*two_words(seed, 0, shape), raised)
    value = redrawn(seed, 2, _propose, ~accepted, value, raised)
    power = uniform(two_words(seed, 1, shape)[0], value.dtype)
    value = jnp.where(alpha < 1, value * jnp.exp(jnp.log(power) / alpha), value)
    return jnp.where(valid, value, jnp.where(concentration == 0, 0.0, jnp.nan))


@seeded_gamma.defjvp
def _jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    seed, concentration = primals
    value = seeded_gamma(seed, concentration)
    return value, slope(value, concentration) * tangents[1]


def _propose(first: Array, second: Array, alpha: Array) -> tuple[Array, Array]:
    d = alpha - 1 / 3
    x = math.sqrt(2) * jax.lax.erf_inv(2 * jnp.minimum(uniform(first, alpha.dtype), 1 - 2.0**-24) - 1)
    root = 1 + x / jnp.sqrt(9 * d)
    v = root**3
    log_v = 3 * jnp.log(jnp.maximum(root, 1e-30))
    accepted = (root > 0) & (jnp.log(uniform(second, alpha.dtype)) < x * x / 2 + d * (1 - v + log_v))
    return d * v, accepted


def slope(value: Array, concentration: ArrayLike) -> Array:
    r"""Computes the derivative of a Gamma variable in its concentration, at a fixed value of its distribution function.

    It is :math:`dz/d\alpha = -\partial_\alpha F(z; \alpha) / p(z; \alpha)`. With :math:`t = z e^y` this is an
    integral over the lighter of the two tails. Over the right tail it is

    .. math:: z \int_0^\infty (\log z + y - \psi(\alpha))\, e^{\alpha y - z (e^y - 1)}\, dy

    and over the left tail it is minus the same integral from minus infinity to 0. The integrals are computed by Gauss's
    rule up to a point beyond which the integrand is negligible.
    """
    alpha = jnp.asarray(concentration)
    tiny = jnp.finfo(value.dtype).tiny
    z = jnp.maximum(value, tiny)
    right = z > alpha
    excess = jnp.abs(z - alpha)
    # On the right, exp(y) - 1 is above y + y^2 / 2, and beyond that it grows exponentially.
    far = REACH / (excess / 2 + jnp.sqrt(jnp.square(excess) / 4 + z * REACH / 2))
    far = jnp.minimum(far, jnp.log1p((REACH + alpha * far) / z))
    # On the left, 1 - exp(-w) is below w - w^2 / 3 for w < 1, and below 1.
    near = REACH / (excess / 2 + jnp.sqrt(jnp.square(excess) / 4 + z * REACH / 3))
    left = jnp.where(near < 1, near, (REACH + z) / alpha)
    length = jnp.where(right, far, -left)
    log_alpha = jnp.log(alpha)
    large = jnp.maximum(alpha, STIRLING_FROM)
    series = (1 + (1 - 1 / (10 * large * large)) / (6 * large)) / (2 * large)
    gap = jnp.where(alpha > STIRLING_FROM, series, log_alpha - digamma(alpha))
    level = log_ratio(z, alpha, jnp.log(z), log_alpha) + gap
    total = jnp.zeros_like(z)
    for node, weight in NODES:
        y = node * length
        grown = jnp.expm1(y)
        # For large concentrations, whose nodes are close to 0, the differences are taken first.
        near = (alpha - z) * y - z * log1p_residual(jnp.maximum(grown, -0.9))
        exponent = jnp.where(y > -1, near, alpha * y - z * grown)
        total = total + weight * (level + y) * jnp.exp(exponent)
    return jnp.where(value > 0, z * length * total, 0.0)
