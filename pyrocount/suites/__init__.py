"""What ``python -m pyrocount.evaluate`` measures, one suite a file."""

from collections.abc import Callable

from .base import Result, Subject, Table
from .diagnostics import diagnostics
from .generation import generation
from .reconstruction import reconstruction
from .representation import representation
from .sparsity import sparsity

SUITES: dict[str, Callable[[Subject], Result]] = {
    "reconstruction": reconstruction,
    "generation": generation,
    "representation": representation,
    "sparsity": sparsity,
    "diagnostics": diagnostics,
}

__all__ = ["SUITES", "Result", "Subject", "Table"]
