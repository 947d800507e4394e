"""Base class of the relaxations, with the functions that they share."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer
from jax.typing import ArrayLike

from pyrocount import errors
from pyrocount.errors import LARGEST_RATE, InputError, drawable_rate

R = TypeVar("R", bound="Relaxation")


class Relaxation(ABC):
    """Base class of the relaxations, which sample Poisson counts and their derivatives with respect to the log rate.

    Relaxations are pytrees. A temperature is a leaf and may be traced.
    """

    @property
    def is_discrete(self) -> bool:
        """Returns whether the values are integers."""
        return True

    @property
    def has_rsample(self) -> bool:
        """Returns whether a gradient flows through the values."""
        return True

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Returns the shape of the relaxation's parameter, which broadcasts to the batch shape of the distribution."""
        return ()

    @jax.jit
    def draw(self, key: Array, rate: Array) -> tuple[Array, Array]:
        """Draws a value for each rate.

        Args:
            key: random key.
            rate: expected counts per observation window, any shape.

        Returns:
            The values and their derivatives with respect to the log rate, both of the shape of ``rate``. Both are NaN
            where the rate is NaN, or above ``LARGEST_RATE``. Neither carries a gradient.
        """
        rate = jax.lax.stop_gradient(rate)
        possible = rate <= LARGEST_RATE
        value, slope = self._draw(key, jnp.where(possible, rate, 0.0))
        return jnp.where(possible, value, jnp.nan), jnp.where(possible, slope, jnp.nan)

    @abstractmethod
    def _draw(self, key: Array, rate: Array) -> tuple[Array, Array]:
        """Draws values as ``draw`` does, for finite rates."""

    def moment_factors(self) -> tuple[ArrayLike, ArrayLike]:
        """Returns the mean and the variance of a value per unit of rate; for an exact count they are (1, 1).

        Raises:
            NotImplementedError: if the mean and the variance have no closed form.
        """
        return 1.0, 1.0

    def check(self, rate: Array) -> None:
        """Checks the values of the rates; with validation on, this comes before each draw that is not traced.

        Raises:
            InputError: if a rate is NaN, infinite, or above ``LARGEST_RATE``.

        Warns:
            UserWarning: if counts will not be exact integers in the dtype.
        """
        # The check uses NumPy, because constants inside a traced function are not tracers and must not become tracers.
        rates = np.asarray(rate)
        if not np.isfinite(rates).all():
            problem = f"NaN or infinite values for {int((~np.isfinite(rates)).sum())} of {rates.size} rates"
            raise InputError("rate", problem, "finite rates")
        drawable_rate(float(rates.max(initial=0.0)))
        exact = 2 / float(jnp.finfo(rates.dtype).eps)
        if self.is_discrete and (rates > exact).any():
            warnings.warn(
                f"rate: got rates up to {rates.max():.3g}, but counts above {exact:.0f} are rounded in {rates.dtype}",
                stacklevel=3,
            )


def register_relaxation(*leaves: str) -> Callable[[type[R]], type[R]]:
    """Returns a class decorator that makes a relaxation a pytree: the named fields are leaves, the others static.

    A relaxation that JAX rebuilds is not checked, because JAX puts gradients, axes and placeholders into the leaves.
    """

    def register(cls: type[R]) -> type[R]:
        static = [name for name in cls.__annotations__ if name not in leaves]

        def flatten(relaxation: R) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
            values = vars(relaxation)
            return tuple(values[name] for name in leaves), tuple(values[name] for name in static)

        def unflatten(others: tuple[Any, ...], children: Iterable[Any]) -> R:
            new = object.__new__(cls)
            vars(new).update(zip(leaves, children, strict=True))
            vars(new).update(zip(static, others, strict=True))
            return new

        jax.tree_util.register_pytree_node(cls, flatten, unflatten)
        return cls

    return register


def positive_temperature(temperature: Any) -> None:
    """Checks a temperature, unless it is traced.

    Raises:
        InputError: if the temperature is neither a number nor an array, or not positive and finite.
    """
    if isinstance(temperature, Tracer):
        return
    if not isinstance(temperature, int | float | np.ndarray | np.number | jax.Array):
        raise InputError("temperature", repr(temperature), "a positive number or an array of positive numbers")
    if isinstance(temperature, int | float):
        errors.positive_temperature(temperature)
    elif not ((np.asarray(temperature) > 0) & np.isfinite(temperature)).all():
        raise InputError("temperature", temperature.tolist(), "positive numbers; exact counts are Discrete()")


@jax.custom_jvp
def with_derivative(value: Array, parameter: Array, derivative: Array, *others: Array) -> Array:
    """Returns ``value`` with the given derivative with respect to ``parameter``; the arguments have one shape.

    Further parameters may follow, each with its derivative.
    """
    return value


@with_derivative.defjvp
def _jvp(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Array, Array]:
    changes = [slope * tangent for slope, tangent in zip(primals[2::2], tangents[1::2], strict=True)]
    return primals[0], sum(changes[1:], start=changes[0])


def with_log_derivative(value: Array, rate: Array, slope: Array) -> Array:
    """Returns ``value`` with the given derivative with respect to the log rate; the arguments have one shape."""
    # Where the rate underflows to 0, so does the slope. The lower bound keeps their ratio from being NaN.
    return with_derivative(value, rate, slope / jnp.maximum(rate, jnp.finfo(rate.dtype).tiny))
