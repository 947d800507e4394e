"""Poisson counts, several times faster on a CPU than ``jax.random.poisson``.

Rates up to ``INVERTED`` invert the survival function, a few terms at a time: at first for all counts together, then
for the blocks of them that hold one still open. Larger ones are drawn by W. Hoermann, The
Transformed Rejection Method for Generating Poisson Random Variables, 1993 (PTRS), those that are still wanted being
gathered in every round.
"""

import math

import jax
import jax.numpy as jnp
from jax import Array, lax, random

from pyrocount.errors import InputError

from .deviance import log_ratio, poisson_deviance
from .special import HALF_LOG_TWO_PI, STIRLING_FROM, stirling_series

# Probabilities are scaled by exp(LOG_SCALE), so that that of no count does not underflow in float32.
INVERTED = 150.0
LOG_SCALE = 69.0
# Terms of the survival function a round, counts a block, and the part of the blocks that go on together.
TERMS, BLOCK, PART = 8, 32, 4

Sum = tuple[Array, Array, Array, Array]


@jax.jit
def poisson(key: Array, rate: Array) -> Array:
    """Draws Poisson counts that are exact to the rounding of the dtype, for small probabilities and large rates too.

    Args:
        key: a random key.
        rate: expected counts, nonnegative, any shape, of a floating dtype.

    Returns:
        Counts of the shape and dtype of ``rate``, without a gradient; NaN where a rate is NaN, negative or infinite.

    Raises:
        InputError: if the rates are not of a floating dtype.

    >>> poisson(jax.random.key(0), jnp.array([0.0, jnp.nan]))
    Array([ 0., nan], dtype=float32)
    """
    dtype = jnp.result_type(rate)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise InputError("rate", f"an array of {dtype}", "a floating dtype")
    # Half precision cannot hold the probabilities.
    rate = lax.stop_gradient(jnp.asarray(rate, jnp.promote_types(dtype, jnp.float32)))
    valid = (rate >= 0) & (rate < jnp.inf)
    large = valid & (rate > INVERTED)
    key_small, key_large = random.split(key)
    count = _invert(key_small, jnp.where(valid & ~large, rate, 0.0))
    return jnp.where(valid, _reject(key_large, rate, large, count), jnp.nan).astype(dtype)


def _invert(key: Array, rate: Array) -> Array:
    shape, size = rate.shape, rate.size
    if size == 0:
        return rate
    # Small numbers, which are resolved best, stand for large counts.
    bits = 8 * rate.dtype.itemsize
    scale = math.exp(LOG_SCALE)
    u = (random.bits(key, shape, f"uint{bits}").astype(rate.dtype) + 0.5) * (scale * 2.0**-bits)
    padding = (0, -size % BLOCK)
    rate = jnp.pad(rate.ravel(), padding).reshape(-1, BLOCK)
    u = jnp.pad(u.ravel(), padding, constant_values=scale).reshape(-1, BLOCK)

    mass = rate * jnp.exp(LOG_SCALE - rate)
    first = (jnp.ones((), rate.dtype), jnp.zeros_like(rate), -jnp.expm1(-rate) * scale, mass)
    k, count, survival, mass = _add_terms(u, rate, first)
    blocks = len(rate)
    slots = min(blocks, max(BLOCK, blocks // PART))

    def some(state: tuple[Array, Array]) -> tuple[Array, Array]:
        wanted, count = state
        # Where fewer are wanted than there is room for, the others are complete and stay as they are.
        index = jnp.argsort(~wanted)[:slots]
        numbers = jnp.where(wanted[index, None], u[index], jnp.inf)
        mine, done = rate[index], (count[index], survival[index], mass[index])
        _, more, _, _ = lax.while_loop(
            lambda state: (numbers < state[2]).any(), lambda state: _add_terms(numbers, mine, state), (k, *done)
        )
        return wanted.at[index].set(False), count.at[index].set(more)

    _, count = lax.while_loop(lambda state: state[0].any(), some, ((u < survival).any(1), count))
    return count.ravel()[:size].reshape(shape)


def _add_terms(u: Array, rate: Array, state: Sum) -> Sum:
    """The next count k, the counts so far, the survival function at k - 1 and the mass at k, all scaled."""
    k, count, survival, mass = state
    for _ in range(TERMS):
        count = count + (u < survival)
        survival = survival - mass
        k = k + 1
        mass = mass * (rate * (1 / k))
    # A geometric series bounds the tail, lest the rounding errors of the differences make one of their own.
    bound = mass * ((k + 1) / jnp.maximum(k + 1 - rate, 1.0))
    return k, count, jnp.where(k > rate, jnp.minimum(survival, bound), survival), mass


def _reject(key: Array, rate: Array, wanted: Array, count: Array) -> Array:
    """Replaces the counts that are wanted, of rates above ``INVERTED``."""
    shape, size = rate.shape, rate.size
    rate = rate.ravel()
    slots = min(size, max(256, size // 4))

    def some(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        key, wanted, count = state
        key, key_uniform = random.split(key)
        index = jnp.nonzero(wanted, size=slots, fill_value=size)[0]
        mine = rate.at[index].get(mode="fill", fill_value=100.0)
        u, v = random.uniform(key_uniform, (2, slots), rate.dtype)
        proposal, accepted = _propose(mine, u - 0.5, v)
        count = count.at[jnp.where(accepted, index, size)].set(proposal, mode="drop")
        return key, wanted.at[index].set(~accepted, mode="drop"), count

    state = (key, wanted.ravel(), count.ravel())
    return lax.while_loop(lambda state: state[1].any(), some, state)[2].reshape(shape)


def _propose(rate: Array, u: Array, v: Array) -> tuple[Array, Array]:
    """A count for each pair of uniform numbers in [-1/2, 1/2) and [0, 1), and whether it is accepted."""
    b = 0.931 + 2.53 * jnp.sqrt(rate)
    a = -0.059 + 0.02483 * b
    us = 0.5 - jnp.abs(u)
    count = jnp.floor((2 * a / us + b) * u + rate + 0.43)
    # Smaller ones have probabilities below 1e-40.
    possible = (count >= STIRLING_FROM) & (count < jnp.inf)
    k = jnp.where(possible, count, rate)
    log_k = jnp.log(k)
    deviance = poisson_deviance(k, rate, log_ratio(k, rate, log_k, jnp.log(rate)))
    log_mass = -deviance - HALF_LOG_TWO_PI - log_k / 2 - stirling_series(k)
    height = v * (1.1239 + 1.1328 / (b - 3.4)) / (a / (us * us) + b)
    return count, possible & (jnp.log(height) <= log_mass)
