"""Checks of whether posterior counts can be trusted, and posteriors for ArviZ."""

from .arviz import Chain, chains_to_arviz
from .calibration import chance_distance, randomised_pit, ranks, uniformity_distance
from .checks import Check, Verdict, check
from .collapse import Collapse, constant_latents, information
from .latents import aggregate_distance, match_latents
from .predictive import Comparison, fano_factor, predictive_checks, rootogram

__all__ = [
    "Chain",
    "Check",
    "Collapse",
    "Comparison",
    "Verdict",
    "aggregate_distance",
    "chains_to_arviz",
    "chance_distance",
    "check",
    "constant_latents",
    "fano_factor",
    "information",
    "match_latents",
    "predictive_checks",
    "randomised_pit",
    "ranks",
    "rootogram",
    "uniformity_distance",
]
