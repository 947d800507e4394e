"""Suites of ``python -m pyrocount.evaluate``, one a file, and the report."""

from collections.abc import Callable

from .base import EvaluationContext, Result, Table
from .co_smoothing import co_smoothing_suite
from .diagnostics import diagnostics
from .energy import energy
from .exciting_inputs import exciting_inputs_suite
from .generation import generation
from .inference_steps import inference_steps
from .latency import latency
from .reaction_time import reaction_time
from .reconstruction import reconstruction
from .recording import recording
from .representation import representation
from .sensitivity import sensitivity
from .serial_dependence import serial_dependence
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
    "sensitivity": sensitivity,
    "energy": energy,
    "reaction-time": reaction_time,
    "exciting-inputs": exciting_inputs_suite,
    "serial-dependence": serial_dependence,
    "latency": latency,
}
# Suites that run only where they are asked for.
ASKED_FOR = ("sensitivity", "energy", "reaction-time", "exciting-inputs", "serial-dependence", "latency")


def usual_suites(context: EvaluationContext) -> list[str]:
    """Returns the names of the suites of a protocol that have a meaning for a model and its data.

    Those of ``ASKED_FOR`` are not among them.
    """
    without: tuple[str, ...] = ("generation",) if context.is_recording else ("recording", "co-smoothing")
    if context.model.steps is None:
        without += ("inference-steps",)
    known = context.protocol.suites
    return [name for name in SUITES if name not in (*without, *ASKED_FOR) and (known is None or name in known)]


__all__ = ["ASKED_FOR", "SUITES", "EvaluationContext", "Result", "Table", "usual_suites"]
