"""Sampler of Poisson counts, many times faster on a CPU than ``jax.random.poisson``.

A count whose rate r is below ``TABULATED`` is the sum of two counts. The rate of the first is the whole part of r; this
count is drawn from an alias table (Walker, An Efficient Method for Generating Discrete Random Variables with General
Distributions, 1977). The rate of the second is the fractional part of r; this count is drawn by inverting the survival
function. Counts of larger rates are drawn by the algorithm PTRS of W. Hoermann, The Transformed Rejection Method for
Generating Poisson Random Variables, 1993. The counts that are still to be drawn are gathered in every round.
"""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax, random
from numpy.typing import NDArray
from scipy.stats import poisson as scipy_poisson

from pyrocount.errors import InputError

from .deviance import log_ratio, poisson_deviance
from .random_words import redrawn, two_words, uniform
from .special import HALF_LOG_TWO_PI, STIRLING_FROM, stirling_series

# Number of tabulated rates, of cells in a table, and of parts of a cell. In a random word, 8 bits choose the cell, and
# 24 bits choose between the two counts that share the cell.
TABULATED, CELLS, CAPACITY = 150, 2**8, 2**24
# Largest count of the fractional part of a rate. Counts of rate 1 exceed it with a probability below 2^-33, which is
# half the resolution of a word.
LARGEST_OF_REST = 12


@jax.jit
def poisson(key: Array, rate: Array) -> Array:
    """Draws Poisson counts, whose probabilities are exact to 2^-32 or to the rounding of float32, also for large rates.

    Args:
        key: random key.
        rate: expected counts, nonnegative, any shape, of a floating-point dtype.

    Returns:
        Counts of the shape and dtype of ``rate``, without a gradient; NaN where a rate is NaN, negative or infinite.

    Raises:
        InputError: if the rates are not of a floating-point dtype.

    >>> poisson(jax.random.key(0), jnp.array([0.0, jnp.nan]))
    Array([ 0., nan], dtype=float32)
    """
    dtype = jnp.result_type(rate)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise InputError("rate", f"an array of dtype {dtype}", "a floating-point dtype")
    return seeded_poisson(random.bits(key, (2,), "uint32"), rate)


@jax.jit
def seeded_poisson(seed: Array, rate: Array) -> Array:
    """Draws Poisson counts as ``poisson`` does, from two words that seed the hash instead of a key."""
    dtype = jnp.result_type(rate)
    # Half precision cannot represent the probabilities.
    rate = lax.stop_gradient(jnp.asarray(rate, jnp.promote_types(dtype, jnp.float32)))
    valid = (rate >= 0) & (rate < jnp.inf)
    large = valid & (rate >= TABULATED)
    count = _small(seed, jnp.where(valid & ~large, rate, 0.0))
    count = redrawn(seed, 1, _propose, large, count, jnp.where(large, rate, TABULATED))
    return jnp.where(valid, count, jnp.nan).astype(dtype)


def _small(seed: Array, rate: Array) -> Array:
    first, second = two_words(seed, 0, rate.shape)
    whole = jnp.floor(rate)
    cell = first >> 24
    entry = jnp.take(jnp.asarray(_alias_tables()), whole.astype(jnp.uint32) * CELLS + cell, mode="clip")
    tabulated = jnp.where((first & (CAPACITY - 1)) < (entry >> 8), cell, entry & (CELLS - 1))
    return tabulated.astype(rate.dtype) + _invert(uniform(second, rate.dtype), rate - whole)


def _invert(u: Array, rate: Array) -> Array:
    """Draws counts of rates below 1: the number of values of the survival function above each uniform number."""
    masses = [jnp.exp(-rate) * rate]
    for k in range(2, LARGEST_OF_REST + 1):
        masses.append(masses[-1] * (rate / k))
    survival, count = jnp.zeros_like(rate), jnp.zeros_like(rate)
    # The sum starts at the smallest mass, so that small uniform numbers, which are resolved best, give large counts.
    for mass in reversed(masses):
        survival = survival + mass
        count = count + (u < survival)
    return count


@cache
def _alias_tables() -> NDArray[np.uint32]:
    """Builds, for each whole rate and each cell, the share of the cell's own count and the count that has the rest."""
    return np.concatenate([_alias_table(rate) for rate in range(TABULATED)])


def _alias_table(rate: int) -> NDArray[np.uint32]:
    shares = np.round(scipy_poisson.pmf(np.arange(CELLS), rate) * CELLS * CAPACITY).astype(np.int64)
    shares[shares.argmax()] += CELLS * CAPACITY - shares.sum()
    # A cell that its own count fills names this count for the rest as well, as 24 bits cannot hold the whole share.
    kept, alias = np.full(CELLS, CAPACITY - 1), np.arange(CELLS)
    poor, rich = (list(np.flatnonzero(part)) for part in (shares < CAPACITY, shares > CAPACITY))
    while poor:
        cell, donor = poor.pop(), rich[-1]
        kept[cell], alias[cell] = shares[cell], donor
        shares[donor] -= CAPACITY - shares[cell]
        if shares[donor] <= CAPACITY:
            rich.pop()
        if shares[donor] < CAPACITY:
            poor.append(donor)
    table: NDArray[Any] = kept << 8 | alias
    return table.astype(np.uint32)


def _propose(first: Array, second: Array, rate: Array) -> tuple[Array, Array]:
    u, v = uniform(first, rate.dtype) - 0.5, uniform(second, rate.dtype)
    b = 0.931 + 2.53 * jnp.sqrt(rate)
    a = -0.059 + 0.02483 * b
    us = 0.5 - jnp.abs(u)
    count = jnp.floor((2 * a / us + b) * u + rate + 0.43)
    # Smaller counts have probabilities below 1e-40.
    possible = (count >= STIRLING_FROM) & (count < jnp.inf)
    k = jnp.where(possible, count, rate)
    log_k = jnp.log(k)
    deviance = poisson_deviance(k, rate, log_ratio(k, rate, log_k, jnp.log(rate)))
    log_mass = -deviance - HALF_LOG_TWO_PI - log_k / 2 - stirling_series(k)
    height = v * (1.1239 + 1.1328 / (b - 3.4)) / (a / (us * us) + b)
    return count, possible & (jnp.log(height) <= log_mass)
