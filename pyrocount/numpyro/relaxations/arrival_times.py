"""Relaxation that softly counts the arrivals of a Poisson process."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array, lax, random
from jax.typing import ArrayLike

from pyrocount.errors import InputError

from ..poisson_sampler import poisson
from .base import Relaxation, positive_temperature, register_relaxation

# Least number of arrivals that are processed together.
LEAST_SLOTS = 1024


@register_relaxation("temperature")
@dataclass(frozen=True)
class ArrivalTimes(Relaxation):
    r"""Soft counts of the arrivals of a Poisson process in the unit window.

    :math:`z = \sum_n h((1 - S_n)/\tau)` over the arrival times :math:`S_n` of a process of rate :math:`\lambda`, where
    the indicator h rises from 0 to 1: ``"cubic"`` is :math:`1/2 + 3y/4 - y^3/4` on [-1, 1], whose mean is exactly
    :math:`\lambda` for :math:`\tau \le 1`; ``"sigmoid"`` is the logistic function. The gradient is pathwise: with the
    unit exponentials behind :math:`S_n` held fixed, :math:`dz / d\log\lambda = \sum_n S_n h'((1 - S_n)/\tau) / \tau`.

    Arrivals before the window in which h is neither 0 nor 1 are only counted; those inside it are drawn uniformly. This
    gives the exact joint distribution of value and derivative, at a cost proportional to the sum of the rates. All
    values are NaN if the total number of arrivals is beyond the range of the default integer dtype.

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
        # Beyond +-half_width * tau the indicator is 0 or 1 to within the resolution of the dtype.
        half_width = 1.0 if self.indicator == "cubic" else -math.log(jnp.finfo(rate.dtype).eps)
        tau = jnp.broadcast_to(lax.stop_gradient(jnp.asarray(self.temperature, rate.dtype)), rate.shape).ravel()
        start = jnp.maximum(1 - half_width * tau, 0.0)
        length = 1 + half_width * tau - start

        key_before, key_inside, key_times = random.split(key, 3)
        flat = rate.ravel()
        before = poisson(key_before, flat * start)
        inside = poisson(key_inside, flat * length)
        last = jnp.cumsum(inside.astype(int))
        countable = inside.sum() < jnp.iinfo(last.dtype).max
        slots = max(LEAST_SLOTS, flat.size // 4)

        def add_arrivals(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            done, value, slope = state
            # Beyond the last arrival the owner lies outside the array, and its contribution is dropped.
            owner = jnp.searchsorted(last, done + jnp.arange(slots), side="right")
            uniform = random.uniform(random.fold_in(key_times, done), (slots,), rate.dtype)
            times = start.at[owner].get(mode="clip") + length.at[owner].get(mode="clip") * uniform
            more, steeper = self.contribution(times, tau.at[owner].get(mode="clip"))
            value, slope = value.at[owner].add(more, mode="drop"), slope.at[owner].add(steeper, mode="drop")
            return done + slots, value, slope

        first = (jnp.zeros((), last.dtype), before, jnp.zeros_like(before))
        _, value, slope = lax.while_loop(lambda state: countable & (state[0] < last[-1]), add_arrivals, first)
        value, slope = jnp.where(countable, value, jnp.nan), jnp.where(countable, slope, jnp.nan)
        return value.reshape(rate.shape), slope.reshape(rate.shape)

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


def _cubic(y: Array) -> tuple[Array, Array]:
    return 0.5 + y * (3 - y * y) / 4, 0.75 * (1 - y * y)


def _sigmoid(y: Array) -> tuple[Array, Array]:
    height = jax.nn.sigmoid(y)
    return height, height * (1 - height)


# Indicators by name, as functions that return the indicator and its derivative.
_INDICATORS: dict[str, Callable[[Array], tuple[Array, Array]]] = {"cubic": _cubic, "sigmoid": _sigmoid}
