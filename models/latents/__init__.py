"""Families of latents, one a file."""

from .base import Latent, LatentOptions
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
    "LatentOptions",
    "NegativeBinomialLatent",
    "PoissonLatent",
    "SparseLatent",
]
