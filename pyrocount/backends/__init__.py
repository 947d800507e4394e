"""Models, fresh or fitted, whichever way they infer: one contract, in Pyro and in JAX."""

from .base import Backend, History, Model, derived_seed
from .evaluation import Curves, Draws, Evaluation, Steps
from .factory import as_backend, build
from .posterior import to_arviz

__all__ = [
    "Backend",
    "Curves",
    "Draws",
    "Evaluation",
    "History",
    "Model",
    "Steps",
    "as_backend",
    "build",
    "derived_seed",
    "to_arviz",
]
