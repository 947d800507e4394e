"""Metrics: functions of arrays that return numbers."""

from .counts import (
    active_latents,
    lifetime_sparsity,
    mean_rate,
    population_sparsity,
    sparsity_of_sums,
    zero_fraction,
)
from .reconstruction import mean_squared_error, r_squared, r_squared_per_observation, squared_errors

__all__ = [
    "active_latents",
    "lifetime_sparsity",
    "mean_rate",
    "mean_squared_error",
    "population_sparsity",
    "r_squared",
    "r_squared_per_observation",
    "sparsity_of_sums",
    "squared_errors",
    "zero_fraction",
]
