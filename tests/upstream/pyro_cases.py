"""Plugin of pytest that gives Pyro's own tests of distributions the count distributions of pyrocount to test.

Pyro's ``tests/distributions`` run over fixtures called ``dist``, ``discrete_dist`` and ``continuous_dist``, of a class
with examples of parameters and data. This plugin puts the cases below in their place.
"""

import numpy as np
import pytest
import scipy.stats

from pyrocount import ArrivalTimes, Discrete, RelaxedNegativeBinomial, RelaxedPoisson

HARD = ArrivalTimes(0.1, hard=True)


class HardPoisson(RelaxedPoisson):
    """Poisson counts with a gradient."""

    def __init__(self, rate=None, log_rate=None, validate_args=None):
        super().__init__(rate, log_rate, HARD, validate_args=validate_args)


class ExactPoisson(RelaxedPoisson):
    """Poisson counts without a gradient."""

    def __init__(self, rate=None, log_rate=None, validate_args=None):
        super().__init__(rate, log_rate, Discrete(), validate_args=validate_args)


class HardNegativeBinomial(RelaxedNegativeBinomial):
    """Negative-binomial counts with a gradient."""

    def __init__(self, total_count, probs=None, logits=None, validate_args=None):
        super().__init__(total_count, probs, logits, HARD, validate_args=validate_args)


class ExactNegativeBinomial(RelaxedNegativeBinomial):
    """Negative-binomial counts without a gradient."""

    def __init__(self, total_count, probs=None, logits=None, validate_args=None):
        super().__init__(total_count, probs, logits, Discrete(), validate_args=validate_args)


def _poisson_arguments(rate=None, log_rate=None):
    return (np.array(rate) if log_rate is None else np.exp(log_rate),), {}


def _negative_binomial_arguments(total_count, probs):
    return (np.array(total_count), 1 - np.array(probs)), {}


RATES = [
    {"rate": [2.0, 3.0], "test_data": [0.0, 4.0]},
    {"log_rate": [[0.5], [-1.0], [1.5]], "test_data": [[1.0], [0.0], [7.0]]},
    {"rate": [[0.0, 1.0], [2.0, 30.0]], "test_data": [[0.0, 2.0], [3.0, 21.0]]},
]
COUNTS_AND_PROBS = [
    {"total_count": [2.0, 0.7], "probs": [0.4, 0.9], "test_data": [0.0, 4.0]},
    {"total_count": [[3.0], [8.0]], "probs": [[0.3], [0.6]], "test_data": [[1.0], [17.0]]},
    {
        "total_count": [[0.3, 1.0], [2.0, 30.0]],
        "probs": [[0.5, 0.1], [0.2, 0.8]],
        "test_data": [[0.0, 2.0], [3.0, 99.0]],
    },
]
CLASSES = {
    "discrete": (HardPoisson, ExactPoisson, HardNegativeBinomial, ExactNegativeBinomial),
    "continuous": (RelaxedPoisson, RelaxedNegativeBinomial),
}


def _fixtures(*kinds):
    from tests.distributions.dist_fixture import Fixture

    for kind in kinds:
        for cls in CLASSES[kind]:
            poisson = issubclass(cls, RelaxedPoisson)
            yield Fixture(
                pyro_dist=cls,
                scipy_dist=scipy.stats.poisson if poisson else scipy.stats.nbinom,
                scipy_arg_fn=_poisson_arguments if poisson else _negative_binomial_arguments,
                examples=[dict(example) for example in (RATES if poisson else COUNTS_AND_PROBS)],
                # Data are whole numbers, so that the masses of SciPy's laws are those of relaxed counts too.
                is_discrete=True,
            )


KINDS = {"dist": ("discrete", "continuous"), "discrete_dist": ("discrete",), "continuous_dist": ("continuous",)}


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc):
    for name in KINDS.keys() & {*metafunc.fixturenames}:
        fixtures = list(_fixtures(*KINDS[name]))
        mark = pytest.mark.parametrize(name, fixtures, ids=[fixture.pyro_dist.__name__ for fixture in fixtures])
        metafunc.definition.own_markers.append(mark.mark)


def pytest_collection_modifyitems(config, items):
    ours = [item for item in items if KINDS.keys() & {*getattr(item, "fixturenames", ())}]
    config.hook.pytest_deselected(items=[item for item in items if item not in ours])
    items[:] = ours
