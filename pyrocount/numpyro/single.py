"""Gamma functions of float32 arguments, by the Stirling series of arguments that are larger by ``SHIFT``.

There a few terms of the series are exact to float32; the factors between the two arguments are taken out.
"""

import jax.numpy as jnp
from jax import Array

from .special import HALF_LOG_TWO_PI, log_probs

SHIFT = 4
# Count up to which nothing cancels.
MANY = 32.0
# Logarithm below which the exponential is nearly a subnormal number, and a number whose inverse is finite.
SMALLEST_EXPONENT, SMALL = -80.0, 1e-36


def negative_binomial_log_pmf(k: Array, r: Array, logits: Array) -> Array:
    """Returns the log probability of counts k from 0 to ``MANY``."""
    log_p, log_1mp = log_probs(logits)
    base = r + SHIFT
    shifted = k + base
    # A product of shifted counts and probabilities keeps what a sum of their logarithms loses.
    product = shifted * jnp.exp(jnp.maximum(log_p, SMALLEST_EXPONENT))
    log_mean = jnp.where(logits > SMALLEST_EXPONENT, jnp.log(product), jnp.log(shifted) + log_p)
    smooth = jnp.log1p(k / base) * (base - 0.5) - k + _stirling(1 / shifted) - _stirling(1 / base)
    between = (1 + k / (r + 1)) * (1 + k / (r + 2)) * (1 + k / (r + 3))
    between = jnp.log(1 + k / jnp.maximum(r, SMALL)) + jnp.log(between)
    linear = jnp.where(k > 0, k * log_mean, 0.0) + r * log_1mp
    return linear + smooth - between - log_factorial(k)


def log_factorial(k: Array) -> Array:
    """Returns lgamma(k + 1) for 0 <= k <= ``MANY``."""
    y = k + (SHIFT + 1)
    factors = (k + 1) * (k + 2) * (k + 3) * (k + 4)
    return (y - 0.5) * jnp.log(y) - y + _stirling(1 / y) + HALF_LOG_TWO_PI - jnp.log(factors)


def digamma(x: Array) -> Array:
    """Returns the logarithmic derivative of the gamma function for x > 0."""
    y = x + SHIFT
    inverse = 1 / y
    between = sum(1 / (x + i) for i in range(SHIFT))
    return jnp.log(y) - inverse / 2 - _digamma_rest(inverse) - between


def digamma_difference(k: Array, r: Array) -> Array:
    """Returns digamma(k + r) - digamma(r) for k >= 0, with a small relative error."""
    x, z = 1 / (r + SHIFT), 1 / (k + (r + SHIFT))
    # The terms 1 / (2 y) of the two series differ by little.
    result = jnp.log1p(k * x) + k * x / 2 * z + _digamma_rest(x) - _digamma_rest(z)
    # XLA divides by the product of both, which underflows without spikes.
    between = sum(k / (k + (r + i)) / (r + i) for i in range(SHIFT))
    return jnp.where(k > 0, result + between, 0.0)


def _stirling(x: Array) -> Array:
    """Returns lgamma(y) - [(y - 1/2) log y - y + log(2 pi) / 2] for y = 1 / x >= ``SHIFT``."""
    square = x * x
    return x * (1 / 12 + square * (-1 / 360 + square / 1260))


def _digamma_rest(x: Array) -> Array:
    """Returns log y - digamma(y) - 1 / (2 y) for y = 1 / x >= ``SHIFT``."""
    square = x * x
    return square * (1 / 12 - square * (1 / 120 - square * (1 / 252 - square / 240)))
