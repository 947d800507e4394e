"""Poisson counts, many times faster on a CPU than ``jax.random.poisson``.

A count of rate r up to ``TABULATED`` is the sum of two: one of the whole number below r, drawn from an alias table
(Walker, An Efficient Method for Generating Discrete Random Variables with General Distributions, 1977), and one of the
rest, below 1, which inverts the survival function. Larger ones are drawn by W. Hoermann, The Transformed Rejection
Method for Generating Poisson Random Variables, 1993 (PTRS), those that are still wanted being gathered in every round.
"""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax, random
from numpy.typing import NDArray
from scipy.stats import poisson as poisson_law

from pyrocount.errors import InputError

from .deviance import log_ratio, poisson_deviance
from .random_words import redrawn, two_words, uniform
from .special import HALF_LOG_TWO_PI, STIRLING_FROM, stirling_series

# Of a random word, 8 bits choose a cell of the table, and 24 between the two counts that share the cell.
TABULATED, CELLS, CAPACITY = 150, 2**8, 2**24
# Counts of rate 1 are larger with a probability below 2^-33, half of what a word resolves.
LARGEST_OF_REST = 12


@jax.jit
def poisson(key: Array, rate: Array) -> Array:
    """Draws Poisson counts, each probability being exact to 2^-32 or the rounding of float32, for large rates too.

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
    large = valid & (rate >= TABULATED)
    seed = random.bits(key, (2,), "uint32")
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
    """Counts of rates below 1: how many values of the survival function are above the uniform numbers."""
    masses = [jnp.exp(-rate) * rate]
    for k in range(2, LARGEST_OF_REST + 1):
        masses.append(masses[-1] * (rate / k))
    survival, count = jnp.zeros_like(rate), jnp.zeros_like(rate)
    # From the smallest on, so that small numbers, which are resolved best, stand for large counts.
    for mass in reversed(masses):
        survival = survival + mass
        count = count + (u < survival)
    return count


@cache
def _alias_tables() -> NDArray[np.uint32]:
    """For each whole rate and each cell the share of the count that the cell belongs to, and the count of the rest."""
    return np.concatenate([_alias_table(rate) for rate in range(TABULATED)])


def _alias_table(rate: int) -> NDArray[np.uint32]:
    shares = np.round(poisson_law.pmf(np.arange(CELLS), rate) * CELLS * CAPACITY).astype(np.int64)
    shares[shares.argmax()] += CELLS * CAPACITY - shares.sum()
    # A cell that is all its own has itself for the rest, as there is no room for its whole share.
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
    # Smaller ones have probabilities below 1e-40.
    possible = (count >= STIRLING_FROM) & (count < jnp.inf)
    k = jnp.where(possible, count, rate)
    log_k = jnp.log(k)
    deviance = poisson_deviance(k, rate, log_ratio(k, rate, log_k, jnp.log(rate)))
    log_mass = -deviance - HALF_LOG_TWO_PI - log_k / 2 - stirling_series(k)
    height = v * (1.1239 + 1.1328 / (b - 3.4)) / (a / (us * us) + b)
    return count, possible & (jnp.log(height) <= log_mass)
