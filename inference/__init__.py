"""Ways to fit a program; they receive it as callables and know no model."""

from .elbo import ScoreFunction_ELBO, StrictMeanField_ELBO
from .loop import NonFiniteLossError
from .schedules import anneal, cosine
from .sparse_coding import SPARSE_CODERS, fista, ista, lca
from .svi import train

__all__ = [
    "SPARSE_CODERS",
    "NonFiniteLossError",
    "ScoreFunction_ELBO",
    "StrictMeanField_ELBO",
    "anneal",
    "cosine",
    "fista",
    "ista",
    "lca",
    "train",
]
