"""Supports of the count distributions, with transforms that inference can start at a count of 0."""

import jax.numpy as jnp
from jax import Array
from numpyro.distributions import biject_to, constraints
from numpyro.distributions.transforms import ExpTransform

SMALLEST_START = 0.01
"""Count that stands for the relaxed counts below it where their logarithm is taken."""


class _DifferentiableCounts(type(constraints.nonnegative_integer)):  # type: ignore[misc]
    """Constraint to the nonnegative integers for samples that carry a gradient.

    It is not marked as discrete, because NumPyro warns of discrete latents, which usually carry no gradient.
    """

    is_discrete = False


class _RelaxedCounts(type(constraints.nonnegative)):  # type: ignore[misc]
    """Constraint to the nonnegative reals that includes 0, which is a usual value of a count."""


class _StartableExp(ExpTransform):
    """Exponential function whose inverse is finite at 0.

    The inverse is the place where guides and MCMC start from a value, such as a sample or the median of samples. The
    logarithm of 0 would be infinite, and that of a tiny count a place from which gradients do not lead away.
    """

    def _inverse(self, y: Array) -> Array:
        return jnp.log(jnp.maximum(y, SMALLEST_START))


@biject_to.register(_RelaxedCounts)
def _transform(constraint: _RelaxedCounts) -> _StartableExp:
    return _StartableExp()


@biject_to.register(_DifferentiableCounts)
def _no_transform(constraint: _DifferentiableCounts) -> None:
    raise NotImplementedError(
        "support: got whole counts, which no transform of real numbers reaches, expected a soft relaxation such as "
        "ArrivalTimes(0.1), or a guide that draws the counts itself"
    )


differentiable_counts = _DifferentiableCounts()
relaxed_counts = _RelaxedCounts()
