"""From a configuration to a finished run, and what follows a run on its way."""

from .pipeline import FOLLOWED, StoppedError, fit

__all__ = ["FOLLOWED", "StoppedError", "fit"]
