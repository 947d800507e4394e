"""Whether posterior counts can be trusted: checks of arrays, and posteriors for ArviZ."""

from .arviz import to_arviz
from .calibration import chance_distance, randomised_pit, ranks, uniformity_distance
from .checks import Check, Verdict, check
from .latents import aggregate_distance, match_latents
from .predictive import Comparison, fano_factor, predictive_checks, rootogram

__all__ = [
    "Check",
    "Comparison",
    "Verdict",
    "aggregate_distance",
    "chance_distance",
    "check",
    "fano_factor",
    "match_latents",
    "predictive_checks",
    "randomised_pit",
    "ranks",
    "rootogram",
    "to_arviz",
    "uniformity_distance",
]
