"""Families of latents, with one file for each."""

from .base import Latent
from .categorical import CategoricalLatent
from .counts import CountLatent
from .location_scale import ACTIVATIONS, GaussianLatent, LaplaceLatent
from .negative_binomial import NegativeBinomialLatent
from .poisson import PoissonLatent
from .sparse import SparseLatent

__all__ = [
    "ACTIVATIONS",
    "CategoricalLatent",
    "CountLatent",
    "GaussianLatent",
    "LaplaceLatent",
    "Latent",
    "NegativeBinomialLatent",
    "PoissonLatent",
    "SparseLatent",
]
