"""Special functions in forms that keep their precision where the textbook forms cancel."""

import math

import jax.numpy as jnp
from jax import Array
from jax.scipy.special import gammaln

HALF_LOG_TWO_PI = math.log(2 * math.pi) / 2
# Argument from which on the Stirling series is exact to float64.
STIRLING_FROM = 16.0


def log1p_residual(x: Array) -> Array:
    """Returns x - log(1 + x) for x > -1, with a small relative error also near 0."""
    small = jnp.abs(x) < 0.3
    near = jnp.where(small, x, 0.0)
    v = near / (2 + near)
    square = v * v
    # These lines use log(1 + x) = 2 artanh(v) and x - 2 v = x v.
    tail = jnp.zeros_like(v)
    for n in reversed(range(10)):
        tail = tail * square + 1 / (2 * n + 3)
    return jnp.where(small, near * v - 2 * v * square * tail, x - jnp.log1p(x))


def stirling_series(x: Array) -> Array:
    """Returns lgamma(x) - [(x - 1/2) log x - x + log(2 pi) / 2] for x >= ``STIRLING_FROM``."""
    y = 1 / x
    square = y * y
    return y * (1 / 12 + square * (-1 / 360 + square * (1 / 1260 + square * (-1 / 1680 + square / 1188))))


def stirling_error(x: Array) -> Array:
    """Returns the value of ``stirling_series`` for any x > 0."""
    large = jnp.where(x >= STIRLING_FROM, x, STIRLING_FROM)
    small = jnp.where(x >= STIRLING_FROM, 1.0, x)
    direct = gammaln(small) - (small - 0.5) * jnp.log(small) + small - HALF_LOG_TWO_PI
    return jnp.where(x >= STIRLING_FROM, stirling_series(large), direct)


def log_rising_factorial(x: Array, n: Array) -> Array:
    """Returns lgamma(x + n) - lgamma(x) for x > 0 and moderate n >= 0."""
    large = jnp.where(x >= STIRLING_FROM, x, STIRLING_FROM)
    small = jnp.where(x >= STIRLING_FROM, 1.0, x)
    power = (large - 0.5) * jnp.log1p(n / large) + n * jnp.log(large + n) - n
    smooth = power + stirling_series(large + n) - stirling_series(large)
    return jnp.where(x >= STIRLING_FROM, smooth, gammaln(small + n) - gammaln(small))


def log_probs(logits: Array) -> tuple[Array, Array]:
    """Returns log p and log(1 - p) for the logits log(p / (1 - p))."""
    rest = jnp.log1p(jnp.exp(-jnp.abs(logits)))
    return jnp.minimum(logits, 0.0) - rest, jnp.minimum(-logits, 0.0) - rest
