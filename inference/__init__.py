"""Ways to fit a program; they receive it as callables and know no model."""

from .elbo import StrictMeanField_ELBO
from .schedules import anneal, cosine
from .svi import NonFiniteLossError, train

__all__ = ["NonFiniteLossError", "StrictMeanField_ELBO", "anneal", "cosine", "train"]
