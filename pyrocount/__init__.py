"""Count-valued (spike-count) latent variables for Pyro: relaxed Poisson and negative-binomial distributions."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

# In a checkout models/ and inference/ stand beside this folder; installed, they lie inside it.
_root = Path(__file__).resolve().parents[1]
if (_root / "pyproject.toml").is_file():
    __path__.append(str(_root))

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


def __getattr__(name: str) -> Any:
    # Imported on first use: pyrocount.numpyro runs without torch.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("pyrocount.distributions"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
