"""Suites of ``python -m pyrocount.evaluate``, one a file, and the report."""

from collections.abc import Callable

from .base import EvaluationContext, Result, Table
from .diagnostics import diagnostics
from .generation import generation
from .reconstruction import reconstruction
from .representation import representation
from .sparsity import sparsity

SUITES: dict[str, Callable[[EvaluationContext], Result]] = {
    "reconstruction": reconstruction,
    "generation": generation,
    "representation": representation,
    "sparsity": sparsity,
    "diagnostics": diagnostics,
}

__all__ = ["SUITES", "EvaluationContext", "Result", "Table"]
