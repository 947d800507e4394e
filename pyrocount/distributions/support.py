"""Supports of the count distributions, with transforms that inference can start at a count of 0."""

from typing import Any

from torch import Tensor
from torch.distributions import biject_to, constraints, transform_to
from torch.distributions.transforms import ExpTransform

SMALLEST_START = 0.01
"""Count that stands for the relaxed counts below it where their logarithm is taken."""


class _RelaxedCounts(constraints.greater_than_eq):
    """Constraint to the nonnegative reals that includes 0, which is a usual value of a count."""

    def __init__(self) -> None:
        super().__init__(0.0)


class _StartableExp(ExpTransform):
    """Exponential function whose inverse is finite at 0.

    The inverse is the place where guides and MCMC start from a value, such as a sample or the median of samples. The
    logarithm of 0 would be infinite, and that of a tiny count a place from which gradients do not lead away.
    """

    def _inverse(self, y: Tensor) -> Tensor:
        return y.clamp(min=SMALLEST_START).log()


@biject_to.register(_RelaxedCounts)
@transform_to.register(_RelaxedCounts)
def _transform(constraint: Any) -> _StartableExp:
    return _StartableExp()


relaxed_counts = _RelaxedCounts()
