"""Relaxed count distributions for JAX and NumPyro, the twins of those of ``pyrocount`` for torch and Pyro.

This package needs the extra ``pyrocount[numpyro]``.
"""

from . import kl as _kl  # noqa: F401  (the import registers the KL divergences)
from .poisson_sampler import poisson
from .relaxations import ArrivalTimes, Discrete, GumbelSoftmax, SteinChen, StraightThrough
from .relaxed_negative_binomial import RelaxedNegativeBinomial
from .relaxed_poisson import RelaxedPoisson
from .unbiased_counts import UnbiasedCount_ELBO

__all__ = [
    "ArrivalTimes",
    "Discrete",
    "GumbelSoftmax",
    "RelaxedNegativeBinomial",
    "RelaxedPoisson",
    "SteinChen",
    "StraightThrough",
    "UnbiasedCount_ELBO",
    "poisson",
]
