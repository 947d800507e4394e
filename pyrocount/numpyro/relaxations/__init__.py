"""Relaxations: ways to sample a Poisson count and to let a gradient flow from the sample to its rate."""

from .arrival_times import ArrivalTimes
from .base import Relaxation, with_derivative, with_log_derivative
from .gumbel_softmax import GumbelSoftmax
from .hard import Discrete, SteinChen, StraightThrough

__all__ = [
    "ArrivalTimes",
    "Discrete",
    "GumbelSoftmax",
    "Relaxation",
    "SteinChen",
    "StraightThrough",
    "with_derivative",
    "with_log_derivative",
]
