"""Algorithms that fit a probabilistic program, which they receive as callables: they depend on no model."""

from .elbo import Pathwise_ELBO, SampledKL_ELBO, ScoreFunction_ELBO, StrictMeanField_ELBO
from .loop import NonFiniteLossError
from .schedules import anneal, cosine
from .sparse_coding import SPARSE_CODERS, fista, ista, lca
from .svi import train
from .unbiased_counts import UnbiasedCount_ELBO

__all__ = [
    "SPARSE_CODERS",
    "NonFiniteLossError",
    "Pathwise_ELBO",
    "SampledKL_ELBO",
    "ScoreFunction_ELBO",
    "StrictMeanField_ELBO",
    "UnbiasedCount_ELBO",
    "anneal",
    "cosine",
    "fista",
    "ista",
    "lca",
    "train",
]
