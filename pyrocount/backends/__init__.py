"""Models, fresh or fitted, whichever way they infer: one contract, in Pyro and in JAX."""

from .base import Backend, History, Model, derived_seed
from .draws import Course, Draws, Steps
from .evaluation import Curves, Evaluation
from .excitation import exciting_inputs
from .factory import as_backend, build
from .posterior import to_arviz

__all__ = [
    "Backend",
    "Course",
    "Curves",
    "Draws",
    "Evaluation",
    "History",
    "Model",
    "Steps",
    "as_backend",
    "build",
    "derived_seed",
    "exciting_inputs",
    "to_arviz",
]
