"""Relaxation that softly counts the arrivals of a Poisson process."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax, random
from jax.typing import ArrayLike

from pyrocount.errors import InputError

from ..poisson_sampler import seeded_poisson
from ..random_words import two_words, uniform
from .base import Relaxation, positive_temperature, register_relaxation

# Least number of arrivals, and of counts with many arrivals, that are processed together.
LEAST_SLOTS, LEAST_ROWS = 1024, 8
# Expected number of arrivals in the window from which a count is drawn by strata, and the number of strata.
MANY, STRATA = 256, 16
# Nodes and weights of Gauss's rule on the interval from 0 to 1.
NODES, WEIGHTS = (np.polynomial.legendre.leggauss(12)[0] + 1) / 2, np.polynomial.legendre.leggauss(12)[1] / 2


@register_relaxation("temperature")
@dataclass(frozen=True)
class ArrivalTimes(Relaxation):
    r"""Soft counts of the arrivals of a Poisson process in the unit window.

    :math:`z = \sum_n h((1 - S_n)/\tau)` over the arrival times :math:`S_n` of a process of rate :math:`\lambda`, where
    the indicator h rises from 0 to 1: ``"cubic"`` is :math:`1/2 + 3y/4 - y^3/4` on [-1, 1], whose mean is exactly
    :math:`\lambda` for :math:`\tau \le 1`; ``"sigmoid"`` is the logistic function. The gradient is pathwise: with the
    unit exponentials behind :math:`S_n` held fixed, :math:`dz / d\log\lambda = \sum_n S_n h'((1 - S_n)/\tau) / \tau`.

    Arrivals before the window in which h is neither 0 nor 1 are only counted; those inside it are drawn uniformly. This
    gives the exact joint distribution of value and derivative. Where more than 256 arrivals are expected inside the
    window, it is cut into 16 strata. The number of arrivals in each stratum is exact; the sums of their heights and
    slopes, given this number, have their exact means and covariances and are normal, which holds to the precision of
    the dtype. So the time and the memory of a count are bounded, however large its rate. All values are NaN if the
    total number of single arrivals is beyond the range of the default integer dtype.

    References:
        Vafaii, Galor and Yates, Poisson Variational Autoencoder, NeurIPS 2024, algorithm 1 (arrival times, sigmoid).
        A Hitchhiker's Guide to Poisson Gradient Estimation, arXiv 2602.03896 (cubic indicator, moments).

    Args:
        temperature: width of the indicator in units of the window, positive; an array broadcasts with the rates and
            gets no gradient. A traced temperature is not checked.
        indicator: ``"cubic"`` or ``"sigmoid"``.
        hard: whether the values are the integer numbers of arrivals in the window; the gradient stays that of the
            soft counts.

    Raises:
        InputError: if the temperature is not positive and finite, or the indicator is unknown.

    >>> ArrivalTimes(0.1).is_discrete, ArrivalTimes(0.1, hard=True).is_discrete
    (False, True)
    """

    temperature: ArrayLike
    indicator: Literal["cubic", "sigmoid"] = "cubic"
    hard: bool = False

    def __post_init__(self) -> None:
        positive_temperature(self.temperature)
        if self.indicator not in _INDICATORS:
            raise InputError("indicator", repr(self.indicator), f"one of {', '.join(_INDICATORS)}")

    @property
    def is_discrete(self) -> bool:
        """Returns whether the values are integers, which is the case if ``hard`` is true."""
        return self.hard

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Returns the shape of the temperature."""
        return jnp.shape(self.temperature)

    def contribution(self, times: Array, temperature: Array) -> tuple[Array, Array]:
        """Computes what arrivals at these times add to a value and to its derivative with respect to the log rate."""
        height, steepness = _INDICATORS[self.indicator]((1 - times) / temperature)
        value = (times <= 1).astype(times.dtype) if self.hard else height
        return value, times * steepness / temperature

    def _draw(self, key: Array, rate: Array) -> tuple[Array, Array]:
        if rate.size == 0:
            return rate, rate
        tau = jnp.broadcast_to(lax.stop_gradient(jnp.asarray(self.temperature, rate.dtype)), rate.shape).ravel()
        start, length = self._window(tau, rate.dtype)

        seeds = random.bits(key, (4, 2), "uint32")
        flat = rate.ravel()
        many = flat * length > MANY
        # All Poisson counts are drawn by calls of one shape, which are compiled once.
        size = max(2 * flat.size, LEAST_ROWS * (STRATA + 1))
        few = jnp.where(many, 0.0, flat)
        counts = seeded_poisson(seeds[0], _padded(jnp.concatenate([few * start, few * length]), size))
        before, inside = counts[: flat.size], counts[flat.size : 2 * flat.size]
        last = jnp.cumsum(inside.astype(int))
        countable = inside.sum() < jnp.iinfo(last.dtype).max
        slots = max(LEAST_SLOTS, flat.size // 8 * 2)

        def add_arrivals(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            done, value, slope = state
            # Beyond the last arrival the owner lies outside the array, and its contribution is dropped.
            owner = jnp.searchsorted(last, done + jnp.arange(slots), side="right")
            drawn = uniform(jnp.concatenate(two_words(seeds[1], done, (slots // 2,))), rate.dtype)
            times = start.at[owner].get(mode="clip") + length.at[owner].get(mode="clip") * drawn
            more, steeper = self.contribution(times, tau.at[owner].get(mode="clip"))
            value, slope = value.at[owner].add(more, mode="drop"), slope.at[owner].add(steeper, mode="drop")
            return done + slots, value, slope

        first = (jnp.zeros((), last.dtype), jnp.zeros_like(flat), jnp.zeros_like(flat))
        _, value, slope = lax.while_loop(lambda state: countable & (state[0] < last[-1]), add_arrivals, first)
        value, slope = jnp.where(countable, value, jnp.nan), jnp.where(countable, slope, jnp.nan)
        # Added here, as small numbers would be lost one by one beside many earlier arrivals.
        value = value + before
        order, rows = jnp.cumsum(many), size // (STRATA + 1)

        def add_strata(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            done, value, slope = state
            owner = jnp.searchsorted(order, done + jnp.arange(rows), side="right")
            mine = (part.at[owner].get(mode="clip") for part in (flat, tau))
            more, steeper = self._draw_dense(seeds[2:] ^ done.astype(jnp.uint32), size, *mine)
            return done + rows, value.at[owner].set(more, mode="drop"), slope.at[owner].set(steeper, mode="drop")

        first = (jnp.zeros((), order.dtype), value, slope)
        _, value, slope = lax.while_loop(lambda state: state[0] < order[-1], add_strata, first)
        return value.reshape(rate.shape), slope.reshape(rate.shape)

    def _window(self, tau: Array, dtype: Any) -> tuple[Array, Array]:
        """Returns start and length of the window beyond which the indicator is 0 or 1 to the resolution of a dtype."""
        half = tau * (1.0 if self.indicator == "cubic" else -math.log(jnp.finfo(dtype).eps))
        start = jnp.maximum(1 - half, 0.0)
        return start, 1 + half - start

    def _draw_dense(self, seeds: Array, size: int, rate: Array, tau: Array) -> tuple[Array, Array]:
        """Draws values and derivatives of many arrivals from the number of arrivals in each stratum, (n,) each.

        Args:
            seeds: words that seed the counts and the noise, shape (2, 2).
            size: number of Poisson counts to draw, at least n times the number of strata and 1.
            rate: expected counts, shape (n,).
            tau: temperature of each.
        """
        # What lies beyond the resolution of single precision adds up to whole counts.
        start, length = self._window(tau, jnp.float64)
        # The strata of each half of the window have one length, so that the end of the count at 1 is between two.
        share = jnp.arange(STRATA // 2, dtype=rate.dtype) / (STRATA // 2)
        before, after = 1 - start, start + length - 1
        first = jnp.concatenate([start[:, None] + before[:, None] * share, 1 + after[:, None] * share], 1)
        lengths = jnp.repeat(jnp.stack([before, after], 1) / (STRATA // 2), STRATA // 2, 1)
        nodes, weights = (jnp.asarray(each, rate.dtype) for each in (NODES, WEIGHTS))
        height, steepness = self.contribution(first[..., None] + lengths[..., None] * nodes, tau[:, None, None])

        def mean(values: Array) -> Array:
            return (values * weights).sum(-1)

        # A hard height is the same 0 or 1 at all nodes, and an average of it would be whole but for rounding.
        means = height[..., 0] if self.hard else mean(height), mean(steepness)
        gaps = height - means[0][..., None], steepness - means[1][..., None]
        spread = jnp.sqrt(mean(jnp.square(gaps[0])))
        shared = mean(gaps[0] * gaps[1]) / jnp.where(spread > 0, spread, 1.0)
        own = jnp.sqrt(jnp.maximum(mean(jnp.square(gaps[1])) - jnp.square(shared), 0.0))

        rates = rate[:, None] * jnp.concatenate([start[:, None], lengths], 1)
        counts = seeded_poisson(seeds[0], _padded(rates.ravel(), size))[: rates.size].reshape(rates.shape)
        earlier, inside = counts[:, 0], counts[:, 1:]
        # Box and Muller's normal variables.
        radius, angle = (uniform(word, rate.dtype) for word in two_words(seeds[1], 0, inside.shape))
        radius = jnp.sqrt(-2 * jnp.log(radius) * inside)
        noise = radius * jnp.cos(2 * math.pi * angle), radius * jnp.sin(2 * math.pi * angle)
        value = earlier + (inside * means[0] + noise[0] * spread).sum(1)
        return value, (inside * means[1] + noise[0] * shared + noise[1] * own).sum(1)

    def moment_factors(self) -> tuple[ArrayLike, ArrayLike]:
        """Returns the mean and the variance of a value per unit of rate: the integrals of h and h^2 (Campbell)."""
        if self.hard:
            return 1.0, 1.0
        tau = jnp.asarray(self.temperature, float)
        if self.indicator == "sigmoid":
            mean = 1 + tau * jnp.log1p(jnp.exp(-1 / tau))
            return mean, mean - tau * jax.nn.sigmoid(1 / tau)
        y = jnp.minimum(1 / tau, 1.0)
        first = (3 + 8 * y + 6 * y**2 - y**4) / 16
        second = 33 / 560 + y / 4 + 3 * y**2 / 8 + 3 * y**3 / 16 - y**4 / 16 - 3 * y**5 / 40 + y**7 / 112
        # For tau <= 1 the mean is 1 by symmetry; spelling that out avoids a rounding error.
        return jnp.where(tau > 1, tau * first, 1.0), jnp.maximum(1 - tau, 0.0) + tau * second


def _padded(rates: Array, size: int) -> Array:
    return jnp.pad(rates, (0, size - rates.size))


def _cubic(y: Array) -> tuple[Array, Array]:
    return 0.5 + y * (3 - y * y) / 4, 0.75 * (1 - y * y)


def _sigmoid(y: Array) -> tuple[Array, Array]:
    height = jax.nn.sigmoid(y)
    return height, height * (1 - height)


# Indicators by name, as functions that return the indicator and its derivative.
_INDICATORS: dict[str, Callable[[Array], tuple[Array, Array]]] = {"cubic": _cubic, "sigmoid": _sigmoid}
