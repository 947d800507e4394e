"""Base class of the count distributions: a Poisson count of a fixed or a random rate, drawn through a relaxation."""

import copy
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer
from jax.typing import ArrayLike
from numpyro.distributions import Distribution, constraints
from numpyro.distributions.batch_util import promote_batch_shape
from numpyro.util import is_prng_key

from pyrocount.errors import InputError, broadcasts

from .relaxations import Discrete, Relaxation, with_log_derivative
from .support import differentiable_counts, relaxed_counts


class CountDistribution(Distribution):
    """Base class of the relaxed count distributions, which add their parameters, moments and ``log_prob``.

    Attributes:
        parameters: parameters that were given, by name.
        relaxation: relaxation that samples and differentiates the counts.
    """

    pytree_data_fields: tuple[str, ...] = ("parameters", "relaxation")
    parameters: dict[str, Array]
    relaxation: Relaxation

    def __init__(
        self, parameters: Mapping[str, ArrayLike], relaxation: Relaxation, *, validate_args: bool | None = None
    ) -> None:
        for name, value in parameters.items():
            if not isinstance(value, int | float) and not jnp.issubdtype(jnp.result_type(value), jnp.floating):
                problem = f"got an array of dtype {jnp.result_type(value)}, expected a floating-point dtype"
                raise TypeError(f"{name}: {problem}")
        if not isinstance(relaxation, Relaxation):
            raise TypeError(f"relaxation: got {relaxation!r}, expected a relaxation such as ArrivalTimes(0.1)")
        dtype = jnp.result_type(*(float if isinstance(value, int) else value for value in parameters.values()))
        # An array that is given to two distributions stays the same object, so that their KL divergence can tell that
        # they share it.
        self.parameters = {
            name: value if isinstance(value, Array) and value.dtype == dtype else jnp.asarray(value, dtype)
            for name, value in parameters.items()
        }
        self.relaxation = relaxation
        shape = jnp.broadcast_shapes(*(jnp.shape(value) for value in parameters.values()))
        if not broadcasts(relaxation.batch_shape, shape):
            problem = f"an array of shape {relaxation.batch_shape}"
            raise InputError("temperature", problem, f"a shape that broadcasts to the batch shape {shape}")
        super().__init__(shape, validate_args=validate_args)
        if self._validate_args:
            self._validate_constants(parameters)

    def _validate_constants(self, parameters: Mapping[str, ArrayLike]) -> None:
        """Validates numbers and NumPy's arrays, whose conversion a traced function traces, so that they look unknown.

        Raises:
            ValueError: in the words of NumPyro, if a value breaks its constraint.
        """
        for name, value in parameters.items():
            if not isinstance(value, Array) and not np.all(self.arg_constraints[name](np.asarray(value))):
                raise ValueError(f"{type(self).__name__} distribution got invalid {name} parameter.")

    def get_args(self) -> dict[str, Array]:
        """Returns the parameters that were given, by name."""
        return self.parameters

    @property
    def counts(self) -> "CountDistribution":
        """Returns the same distribution with exact counts, without a gradient; its moments are those of the counts."""
        new: Any = type(self)
        counts: CountDistribution = new(**self.parameters, relaxation=Discrete(), validate_args=self._validate_args)
        return counts

    @property
    def has_rsample(self) -> bool:
        """Returns whether gradients flow through samples."""
        return self.relaxation.has_rsample

    @constraints.dependent_property(event_dim=0)
    def support(self) -> constraints.Constraint:
        """Returns the nonnegative integers for hard relaxations, the nonnegative reals for soft relaxations."""
        if not self.relaxation.is_discrete:
            return relaxed_counts
        return differentiable_counts if self.has_rsample else constraints.nonnegative_integer

    def draw_rate(self, key: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
        """Draws the Poisson rates that ``sample`` has with this key, for samples of a shape.

        Args:
            key: random key.
            shape: shape of the samples, to which the batch shape broadcasts.

        Returns:
            The rates, with gradients to the parameters, and the key of the counts.
        """
        key_rate, key = jax.random.split(key)
        return self._draw_rate(key_rate, shape), key

    @abstractmethod
    def _draw_rate(self, key: Array, shape: tuple[int, ...]) -> Array:
        """Draws the Poisson rates of samples of this shape, with gradients to the parameters."""

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws values of shape (\\*sample_shape, \\*batch_shape), with the gradient of the relaxation.

        The values have the floating-point dtype of the parameters. Rates that are NaN or infinite give NaN.
        """
        return self.sample_through_rate(key, sample_shape)

    def _check_key(self, key: Array) -> None:
        if not is_prng_key(key):
            raise InputError("key", repr(key), "a random key such as jax.random.key(0)")

    def sample_through_rate(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws the values of ``sample``, whose gradient goes through that of the rates of ``draw_rate``."""
        self._check_key(key)
        rate, key = self.draw_rate(key, (*sample_shape, *self.batch_shape))
        if self._validate_args and not isinstance(rate, Tracer):
            self.relaxation.check(rate)
        value, slope = self.relaxation.draw(key, jax.lax.stop_gradient(rate))
        if not self.has_rsample:
            return value
        return with_log_derivative(value, rate, slope)


@promote_batch_shape.register
def _promote(d: CountDistribution) -> CountDistribution:
    """Aligns the leaves that have fewer dimensions, after ``vmap`` or NumPyro's ``scan`` has stacked the leaves."""
    rank = len(d.batch_shape)
    added = max(jnp.ndim(value) for value in d.parameters.values()) - rank

    def line_up(leaf: ArrayLike) -> ArrayLike:
        shape = jnp.shape(leaf)
        if len(shape) < added:
            return leaf
        return jnp.reshape(leaf, (*shape[:added], *[1] * (rank + added - len(shape)), *shape[added:]))

    new = copy.copy(d)
    if added > 0:
        new.parameters, new.relaxation = jax.tree.map(line_up, (d.parameters, d.relaxation))
        new._batch_shape = jnp.broadcast_shapes(*(value.shape for value in new.parameters.values()))
    return new


def axes(d: Any, relaxation: Any = None, **parameters: int | None) -> Any:
    """Returns the in_axes of a distribution for ``jax.vmap``; see ``numpyro.distributions.batch_util.vmap_over``."""
    new = object.__new__(type(d))
    new.__dict__ = d.__dict__ | {
        "parameters": {name: parameters.get(name) for name in d.parameters},
        "relaxation": relaxation,
    }
    return new
