"""Ways to fit a program; they receive it as callables and know no model."""

from .schedules import anneal, cosine
from .svi import NonFiniteLossError, train

__all__ = ["NonFiniteLossError", "anneal", "cosine", "train"]
