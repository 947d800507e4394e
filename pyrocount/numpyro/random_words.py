"""Random words for rejection samplers, faster on a CPU than those of ``jax.random``."""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import Array, lax
from jax.extend.random import threefry2x32_p

# Function that takes two words and the parameters of a value, and returns a proposal for the value and whether the
# proposal is accepted.
Propose = Callable[..., tuple[Array, Array]]

# Length of the rows in which the wanted values are counted.
ROW = 64
# Number of parts of a large array of values, of which at most one part is drawn again at a time.
PART = 8


def two_words(seed: Array, turn: Array | int, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Returns two arrays of random words at the price of one: ``random.bits`` folds the two words that a hash gives.

    Args:
        seed: two words that seed the hash.
        turn: number of the turn; arrays of different turns are independent.
        shape: shape of each of the two arrays.
    """
    place = jnp.arange(math.prod(shape), dtype=jnp.uint32).reshape(shape)
    words: tuple[Array, Array] = threefry2x32_p.bind(*seed, jnp.full_like(place, turn), place)
    return words


def uniform(word: Array, dtype: Any) -> Array:
    """Converts random words to uniform numbers in (0, 1]; small numbers have a resolution of 2^-33."""
    return (word.astype(dtype) + 0.5) * 2.0**-32


def redrawn(seed: Array, turn: int, propose: Propose, wanted: Array, value: Array, *parameters: Array) -> Array:
    """Replaces each wanted value by the first of its proposals that is accepted.

    The values that are still wanted are gathered in every turn.

    Args:
        seed: two words that seed the hash.
        turn: number of the first turn.
        propose: function that proposes a value, see ``Propose``.
        wanted: whether each value is replaced, any shape.
        value: values, of the shape of ``wanted``.
        parameters: parameters of the proposals, of the shape of ``wanted``.
    """
    shape, size = value.shape, value.size
    slots = min(size, max(256, size // PART))

    def some(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        turn, wanted, value = state[0], state[1].ravel(), state[2].ravel()
        index = _places(wanted, slots)
        mine = (parameter.ravel().at[index].get(mode="clip") for parameter in parameters)
        proposal, accepted = propose(*two_words(seed, turn, (slots,)), *mine)
        value = value.at[jnp.where(accepted, index, size)].set(proposal, mode="drop")
        wanted = wanted.at[index].set(~accepted, mode="drop")
        return turn + 1, wanted.reshape(shape), value.reshape(shape)

    # What is made flat before the loop would be computed number by number with its indices.
    return lax.while_loop(lambda state: state[1].any(), some, (jnp.uint32(turn), wanted, value))[2]


def _places(wanted: Array, number: int) -> Array:
    """Returns the places of the first ``number`` wanted values; where there are fewer, the rest lie beyond the end.

    The sums inside ``jnp.nonzero`` would be slow.
    """
    rows = jnp.pad(wanted, (0, -wanted.size % ROW)).reshape(-1, ROW).astype(jnp.float32)
    within = (rows @ jnp.triu(jnp.ones((ROW, ROW)))).astype(jnp.int32)
    before = jnp.cumsum(within[:, -1]) - within[:, -1]
    return jnp.searchsorted((before[:, None] + within).ravel(), jnp.arange(1, number + 1), method="scan")
