"""Count-valued (spike-count) latent variables for Pyro: relaxed Poisson and negative-binomial distributions."""

from pathlib import Path

# In a checkout models/ and inference/ stand beside this folder; installed, they lie inside it.
_root = Path(__file__).resolve().parents[1]
if (_root / "pyproject.toml").is_file():
    __path__.append(str(_root))

from pyrocount.distributions import (  # noqa: E402
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
