"""Relaxed count distributions for torch and Pyro."""

from . import kl as _kl  # noqa: F401  (the import registers the KL divergences)
from .count_distribution import CountDistribution
from .relaxations import ArrivalTimes, Discrete, GumbelSoftmax, Relaxation, SteinChen, StraightThrough
from .relaxed_categorical import RelaxedCategorical
from .relaxed_negative_binomial import RelaxedNegativeBinomial
from .relaxed_poisson import RelaxedPoisson

__all__ = [
    "ArrivalTimes",
    "CountDistribution",
    "Discrete",
    "GumbelSoftmax",
    "Relaxation",
    "RelaxedCategorical",
    "RelaxedNegativeBinomial",
    "RelaxedPoisson",
    "SteinChen",
    "StraightThrough",
]
