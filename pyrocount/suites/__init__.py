"""Suites of ``python -m pyrocount.evaluate``, one a file, and the report."""

from collections.abc import Callable

from .base import EvaluationContext, Result, Table
from .co_smoothing import co_smoothing_suite
from .diagnostics import diagnostics
from .generation import generation
from .inference_steps import inference_steps
from .reconstruction import reconstruction
from .recording import recording
from .representation import representation
from .sparsity import sparsity

SUITES: dict[str, Callable[[EvaluationContext], Result]] = {
    "recording": recording,
    "reconstruction": reconstruction,
    "generation": generation,
    "representation": representation,
    "co-smoothing": co_smoothing_suite,
    "sparsity": sparsity,
    "inference-steps": inference_steps,
    "diagnostics": diagnostics,
}


def usual_suites(context: EvaluationContext) -> list[str]:
    """Returns the names of the suites of a protocol that have a meaning for a model and its data."""
    without: tuple[str, ...] = ("generation",) if context.is_recording else ("recording", "co-smoothing")
    if context.model.steps is None:
        without += ("inference-steps",)
    known = context.protocol.suites
    return [name for name in SUITES if name not in without and (known is None or name in known)]


__all__ = ["SUITES", "EvaluationContext", "Result", "Table", "usual_suites"]
