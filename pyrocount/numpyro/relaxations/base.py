"""What relaxations have in common."""

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

from pyrocount import arguments
from pyrocount.errors import InputError

R = TypeVar("R", bound="Relaxation")


class Relaxation(ABC):
    """A way to sample Poisson counts together with their derivative with respect to the log rate.

    Relaxations are pytrees; a temperature is their leaf and may be traced.
    """

    @property
    def is_discrete(self) -> bool:
        """Whether the values are integers."""
        return True

    @property
    def has_rsample(self) -> bool:
        """Whether a gradient flows through the values."""
        return True

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Shape of what differs between counts; broadcasts with the batch shape of the distribution."""
        return ()

    @jax.jit
    def draw(self, key: Array, rate: Array) -> tuple[Array, Array]:
        """Samples a value per rate.

        Args:
            key: a random key.
            rate: expected counts per observation window, any shape.

        Returns:
            The values and their derivatives with respect to the log rate, both of the shape of ``rate``. Both are NaN
            where the rate is NaN or infinite. Neither carries a gradient.
        """
        rate = jax.lax.stop_gradient(rate)
        finite = jnp.isfinite(rate)
        value, slope = self._draw(key, jnp.where(finite, rate, 0.0))
        return jnp.where(finite, value, jnp.nan), jnp.where(finite, slope, jnp.nan)

    @abstractmethod
    def _draw(self, key: Array, rate: Array) -> tuple[Array, Array]:
        """``draw`` for finite rates."""

    def moment_factors(self) -> tuple[ArrayLike, ArrayLike]:
        """Returns the mean and the variance of a value per unit of rate; an exact count has (1, 1).

        Raises:
            NotImplementedError: where there is no closed form.
        """
        return 1.0, 1.0

    def check(self, rate: Array) -> None:
        """Looks at the values of the rates, as validation does before a draw that is not traced.

        Raises:
            InputError: if a rate is NaN or infinite.

        Warns:
            UserWarning: if counts will not be exact integers in the dtype.
        """
        # In NumPy, for constants that a traced function uses are no tracers and must not become any.
        rates = np.asarray(rate)
        if not np.isfinite(rates).all():
            raise InputError("rate", f"{int((~np.isfinite(rates)).sum())} that are NaN or infinite", "finite rates")
        exact = 2 / float(jnp.finfo(rates.dtype).eps)
        if self.is_discrete and (rates > exact).any():
            warnings.warn(
                f"rate: got up to {rates.max():.3g}; in {rates.dtype} counts above {exact:.0f} are rounded",
                stacklevel=3,
            )


def register_relaxation(*leaves: str) -> Callable[[type[R]], type[R]]:
    """Makes a relaxation a pytree with the named fields as its leaves and the others as its static part.

    Taken apart and put together again it is not checked: JAX puts gradients, axes and placeholders into the leaves.
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
        InputError: if it is no number or array, or not positive and finite.
    """
    if isinstance(temperature, Tracer):
        return
    if not isinstance(temperature, int | float | np.ndarray | np.number | jax.Array):
        raise InputError("temperature", repr(temperature), "a positive number or an array of them")
    if isinstance(temperature, int | float):
        arguments.positive_temperature(temperature)
    elif not ((np.asarray(temperature) > 0) & np.isfinite(temperature)).all():
        raise InputError("temperature", temperature.tolist(), "positive numbers; exact counts are Discrete()")


@jax.custom_jvp
def with_derivative(value: Array, parameter: Array, derivative: Array) -> Array:
    """Returns ``value`` with the given derivative with respect to ``parameter``; all three have one shape."""
    return value


@with_derivative.defjvp
def _jvp(primals: tuple[Array, Array, Array], tangents: tuple[Array, Array, Array]) -> tuple[Array, Array]:
    value, _, derivative = primals
    return value, derivative * tangents[1]
