"""Sampler of negative-binomial counts, without their Gamma rates where counts are small.

A count of a small mean is drawn by inverting the survival function, whose terms follow from each other (Panjer,
Recursive Evaluation of a Family of Compound Distributions, 1981). All others are Poisson counts of Gamma rates.
"""

import jax
import jax.numpy as jnp
from jax import Array, lax, random

from .gamma_sampler import seeded_gamma
from .poisson_sampler import seeded_poisson
from .random_words import redrawn, two_words, uniform

# Largest mean and odds of counts that are drawn by inversion, and largest count. Counts exceed it with a probability
# below 2^-33, which is half the resolution of a word.
LARGEST_MEAN, LARGEST_ODDS, LARGEST = 2.0, 1.0, 38


@jax.jit
def negative_binomial(key: Array, total_count: Array, odds: Array) -> Array:
    """Draws negative-binomial counts, whose probabilities are exact to 2^-32 or to the rounding of float32.

    Args:
        key: random key.
        total_count: dispersion r, positive, any shape, of a floating-point dtype.
        odds: odds p / (1 - p), of the shape of ``total_count``.

    Returns:
        Counts of the shape and dtype of ``total_count``, without a gradient; NaN where a parameter is NaN.

    >>> negative_binomial(jax.random.key(0), jnp.ones(2), jnp.array([0.0, jnp.nan]))
    Array([ 0., nan], dtype=float32)
    """
    dtype = jnp.result_type(total_count)
    # Half precision cannot represent the probabilities.
    single = jnp.promote_types(dtype, jnp.float32)
    r, odds = (lax.stop_gradient(each.astype(single)) for each in (total_count, odds))
    seed = random.bits(key, (2,), "uint32")
    few = (odds <= LARGEST_ODDS) & (r * odds <= LARGEST_MEAN)
    word, _ = two_words(seed, 0, r.shape)
    count = _invert(uniform(word, single), jnp.where(few, r, 1.0), jnp.where(few, odds, 0.5))
    return redrawn(seed, 1, _mixture, ~few, count, r, odds).astype(dtype)


def _invert(u: Array, r: Array, odds: Array) -> Array:
    """Draws counts: the number of values of the survival function above each uniform number."""
    p = odds / (1 + odds)
    masses = [jnp.exp(-r * jnp.log1p(odds)) * r * p]
    for k in range(1, LARGEST):
        masses.append(masses[-1] * (p * ((r + k) / (k + 1))))
    survival, count = jnp.zeros_like(r), jnp.zeros_like(r)
    # The sum starts at the smallest mass, so that small uniform numbers, which are resolved best, give large counts.
    for mass in reversed(masses):
        survival = survival + mass
        count = count + (u < survival)
    return count


def _mixture(first: Array, second: Array, r: Array, odds: Array) -> tuple[Array, Array]:
    seed = jnp.stack([first[0], second[0]])
    count = seeded_poisson(seed[::-1], seeded_gamma(seed, r) * odds)
    return count, jnp.full(r.shape, True)
