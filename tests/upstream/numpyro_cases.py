"""Plugin of pytest that gives NumPyro's own tests of distributions the count distributions of pyrocount to test.

NumPyro's ``test/test_distributions.py`` runs most of its tests over lists of cases: a class, SciPy's counterpart, and
positional parameters. This plugin puts the cases below in the place of every list that has a Poisson distribution.
"""

import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats

from pyrocount.numpyro import ArrivalTimes, Discrete, RelaxedNegativeBinomial, RelaxedPoisson

HARD = ArrivalTimes(0.1, hard=True)


class HardPoisson(RelaxedPoisson):
    """Poisson counts with a gradient."""

    def __init__(self, rate, *, validate_args=None):
        super().__init__(rate, relaxation=HARD, validate_args=validate_args)


class ExactPoisson(RelaxedPoisson):
    """Poisson counts without a gradient."""

    def __init__(self, rate, *, validate_args=None):
        super().__init__(rate, relaxation=Discrete(), validate_args=validate_args)


class HardNegativeBinomial(RelaxedNegativeBinomial):
    """Negative-binomial counts with a gradient."""

    def __init__(self, total_count, probs, *, validate_args=None):
        super().__init__(total_count, probs, relaxation=HARD, validate_args=validate_args)


class ExactNegativeBinomial(RelaxedNegativeBinomial):
    """Negative-binomial counts without a gradient."""

    def __init__(self, total_count, probs, *, validate_args=None):
        super().__init__(total_count, probs, relaxation=Discrete(), validate_args=validate_args)


def _negative_binomial(total_count, probs):
    return scipy.stats.nbinom(total_count, 1 - np.asarray(probs))


RATES = [(2.0,), (np.array([2.0, 3.0, 5.0]),), (np.array([0.0, 1.0]),)]
COUNTS_AND_PROBS = [
    (10.0, 0.2),
    (10.0, np.array([0.2, 0.6])),
    (np.array([4.2, 10.7, 2.1]), 0.2),
    (np.array([4.2, 10.7, 2.1]), np.array([0.2, 0.6, 0.5])),
]
# SciPy has no law of relaxed counts.
COUNTERPARTS = {
    RelaxedPoisson: None,
    HardPoisson: scipy.stats.poisson,
    ExactPoisson: scipy.stats.poisson,
    RelaxedNegativeBinomial: None,
    HardNegativeBinomial: _negative_binomial,
    ExactNegativeBinomial: _negative_binomial,
}
CASES = [
    {"jax_dist": cls, "jax_dist_cls": cls, "sp_dist": counterpart, "params": parameters}
    for cls, counterpart in COUNTERPARTS.items()
    for parameters in (RATES if issubclass(cls, RelaxedPoisson) else COUNTS_AND_PROBS)
]


def _names(mark):
    """Returns the arguments of a test that a mark gives, or none if they are others than a case's."""
    names = [name.strip() for name in mark.args[0].split(",")] if mark.name == "parametrize" and mark.args else []
    return names if set(names) <= set(CASES[0]) else []


def _has_poisson(mark):
    rows = [getattr(row, "values", row) for row in mark.args[1]]
    return any(row[0] is dist.Poisson for row in rows)


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc):
    marks = metafunc.definition.own_markers
    for place, mark in enumerate(marks):
        names = _names(mark)
        if names and _has_poisson(mark):
            rows = [
                pytest.param(*(case[name] for name in names), id=f"{case['jax_dist'].__name__}-{number}")
                for number, case in enumerate(CASES)
            ]
            marks[place] = pytest.mark.parametrize(mark.args[0], rows).mark


def pytest_collection_modifyitems(config, items):
    ours = [item for item in items if any(f"{cls.__name__}-" in item.name for cls in COUNTERPARTS)]
    config.hook.pytest_deselected(items=[item for item in items if item not in ours])
    items[:] = ours
