"""The NumPyro twin of ``pyrocount``: the same distributions, relaxations and divergences in JAX.

It needs the extra ``pyrocount[numpyro]``.
"""

from . import kl as _kl  # noqa: F401  (registers)
from .poisson_sampler import poisson
from .relaxations import ArrivalTimes, Discrete, GumbelSoftmax, SteinChen, StraightThrough
from .relaxed_negative_binomial import RelaxedNegativeBinomial
from .relaxed_poisson import RelaxedPoisson

__all__ = [
    "ArrivalTimes",
    "Discrete",
    "GumbelSoftmax",
    "RelaxedNegativeBinomial",
    "RelaxedPoisson",
    "SteinChen",
    "StraightThrough",
    "poisson",
]
