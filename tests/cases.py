"""One table of distributions, with their SciPy twins and the relaxations they are tried with."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import stats

from pyrocount import (
    ArrivalTimes,
    Discrete,
    GumbelSoftmax,
    RelaxedNegativeBinomial,
    RelaxedPoisson,
    SteinChen,
    StraightThrough,
)

HARD = [
    Discrete(),
    SteinChen(),
    StraightThrough(),
    ArrivalTimes(0.1, hard=True),
    ArrivalTimes(0.3, "sigmoid", hard=True),
]
ARRIVALS = [
    ArrivalTimes(0.1),
    ArrivalTimes(1.0),
    ArrivalTimes(2.5),
    ArrivalTimes(0.1, "sigmoid"),
    ArrivalTimes(1.0, "sigmoid"),
]
GUMBELS = [GumbelSoftmax(0.1, 300), GumbelSoftmax(torch.tensor([0.3, 0.5, 1.0]), 300)]
SOFT = [*ARRIVALS, *GUMBELS]
RELAXATIONS = [*SOFT, *HARD]


@dataclass(frozen=True)
class Case:
    """A class, arguments of it, and what SciPy makes of them."""

    cls: type
    arguments: dict[str, Any]
    scipy: Callable[..., Any]

    def __call__(self, relaxation=SOFT[0], dtype=torch.float32, device="cpu"):
        tensors = {name: torch.tensor(value, dtype=dtype, device=device) for name, value in self.arguments.items()}
        return self.cls(**tensors, relaxation=relaxation)

    def __repr__(self):
        return f"{self.cls.__name__}({','.join(self.arguments)})"


RATES = [0.05, 1.0, 7.5]
TOTAL_COUNTS = [0.3, 2.0, 20.0]
LOGITS = [0.4, -1.5, -0.7]


def _nbinom(total_count, probs=None, logits=None):
    return stats.nbinom(total_count, 1 - np.asarray(probs) if logits is None else 1 / (1 + np.exp(logits)))


CASES = [
    Case(RelaxedPoisson, {"rate": RATES}, lambda rate: stats.poisson(rate)),
    Case(RelaxedPoisson, {"log_rate": np.log(RATES).tolist()}, lambda log_rate: stats.poisson(np.exp(log_rate))),
    Case(RelaxedNegativeBinomial, {"total_count": TOTAL_COUNTS, "logits": LOGITS}, _nbinom),
    Case(RelaxedNegativeBinomial, {"total_count": TOTAL_COUNTS, "probs": [0.6, 0.2, 0.3]}, _nbinom),
]

# Programs that UnbiasedCount_ELBO refuses in both backends: model and guide by the names of their functions, and why.
UNCORRECTABLE = [
    ("fed_model", "fed_guide", "site 'z': its counts feed site 'y' of the guide"),
    ("summed_model", "plain_guide", "site 'x': it depends on the counts 'z' outside their plate data"),
    ("fed_model", "plain_guide", "site 'y': the model has this site and the guide does not"),
    ("fed_model", "continuous_guide", "guide: it draws no RelaxedPoisson or RelaxedNegativeBinomial counts"),
]


def within(samples, expected, errors=5.0):
    """Returns whether means of samples, along their first axis, are within some standard errors of expected ones."""
    samples = torch.as_tensor(samples).double()
    error = samples.std(0) / len(samples) ** 0.5
    return bool(((samples.mean(0) - torch.as_tensor(expected).double()).abs() <= errors * error + 1e-12).all())
