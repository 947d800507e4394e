"""Count-valued (spike-count) latent variables for Pyro: relaxed Poisson and negative-binomial distributions.

``load`` gives back what ``python -m pyrocount.fit`` has fitted; ``CountVAE`` is its models as a scikit-learn estimator.
"""

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

# In a checkout models/ and inference/ stand beside this folder; installed, they lie inside it.
_root = Path(__file__).resolve().parents[1]
if (_root / "pyproject.toml").is_file():
    __path__.append(str(_root))


def _hook(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    if issubclass(kind, KeyboardInterrupt):
        print("pyrocount: interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


# A command's imports take seconds, in which Ctrl-C should not end in a traceback. Python then runs a module by -m.
if sys.argv[:1] == ["-m"]:
    sys.excepthook = _hook

if TYPE_CHECKING:
    from pyrocount.distributions import (
        ArrivalTimes,
        Discrete,
        GumbelSoftmax,
        RelaxedNegativeBinomial,
        RelaxedPoisson,
        SteinChen,
        StraightThrough,
    )
    from pyrocount.run import load as load
    from pyrocount.sklearn import CountVAE as CountVAE

__version__ = "0.1.0"

__all__ = [
    "ArrivalTimes",
    "Discrete",
    "GumbelSoftmax",
    "RelaxedNegativeBinomial",
    "RelaxedPoisson",
    "SteinChen",
    "StraightThrough",
]
# What a star import leaves out, as it brings all of the commands with it.
_COMMANDS = {"CountVAE": "pyrocount.sklearn", "load": "pyrocount.run"}


def __getattr__(name: str) -> Any:
    # Imported on first use: pyrocount.numpyro runs without torch.
    if name not in (*__all__, *_COMMANDS):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_COMMANDS.get(name, "pyrocount.distributions")), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__, *_COMMANDS]
