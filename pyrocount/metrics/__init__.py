"""Figures of merit: functions of arrays."""

from .counts import active_latents, mean_rate, zero_fraction
from .reconstruction import mean_squared_error, r_squared

__all__ = ["active_latents", "mean_rate", "mean_squared_error", "r_squared", "zero_fraction"]
