"""From a configuration to a finished run, and what follows a run on its way."""

from .pipeline import fit

__all__ = ["fit"]
