"""Errors against mpmath over sixteen decades, and nothing that is not finite over the whole range of the dtypes."""

from itertools import product

import mpmath
import numpy as np
import pytest
import torch
from quadrature_rules import largest_errors
from torch.distributions import kl_divergence

from pyrocount import Discrete, RelaxedNegativeBinomial, RelaxedPoisson
from pyrocount.distributions import dispersion
from pyrocount.numerics.quadrature import GAUSSIAN

DECADES = [10.0**e for e in range(-8, 9, 2)]
COUNTS = [0, 1, 2, 7, 15, 16, 17, 100, 12345, 10**6, 10**8]


@pytest.fixture(autouse=True)
def _fifty_digits():
    with mpmath.workdps(50):
        yield


def exactly(values):
    return [mpmath.mpf(value) for value in values.double().tolist()]


def relative_errors(actual, expected, floor=0.0):
    """Errors relative to the expected values, or to the floor where they are below it."""
    pairs = zip(exactly(actual), expected, strict=True)
    return np.array([float(abs(a - e) / max(abs(e), floor)) for a, e in pairs])


def near(count):
    return [max(count * (1 + deviation), 1e-8) for deviation in (-1e-2, -3e-4, 0.0, 1e-5, 1e-3)]


def columns(rows, dtype):
    return torch.tensor(list(rows), dtype=dtype).T.unbind()


@pytest.mark.parametrize("given", ["rate", "log_rate"])
def test_log_prob_of_poisson(given, dtype):
    count, rate = columns(((k, rate) for k in COUNTS for rate in DECADES + near(k)), dtype)
    parameter = rate if given == "rate" else rate.log()
    d = RelaxedPoisson(**{given: parameter}, relaxation=Discrete())
    expected = []
    for k, x in zip(exactly(count), exactly(parameter), strict=True):
        log_rate = mpmath.log(x) if given == "rate" else x
        expected.append(k * log_rate - mpmath.exp(log_rate) - mpmath.loggamma(k + 1))
    tolerance = {torch.float32: 1e-5, torch.float64: 1e-12}[dtype]
    assert relative_errors(d.log_prob(count), expected, floor=1.0).max() < tolerance


@pytest.mark.parametrize("given", ["probs", "logits"])
def test_log_prob_of_negative_binomial(given, dtype):
    rows = ((k, r, mean) for k in COUNTS for r in [*DECADES, max(k, 1.0)] for mean in DECADES + near(k))
    count, r, mean = columns(rows, torch.float64)
    logits = mean.log() - r.log()
    # The largest probs below 1.
    probs = torch.sigmoid(logits).clamp(max=1 - torch.finfo(dtype).eps / 2)
    parameter = (probs if given == "probs" else logits).to(dtype)
    count, r = count.to(dtype), r.to(dtype)
    d = RelaxedNegativeBinomial(r, **{given: parameter}, relaxation=Discrete())
    expected = []
    for k, r_, x in zip(*map(exactly, (count, r, parameter)), strict=True):
        odds = mpmath.exp(x) if given == "logits" else x / (1 - x)
        coefficient = mpmath.loggamma(k + r_) - mpmath.loggamma(r_) - mpmath.loggamma(k + 1)
        expected.append(coefficient + k * mpmath.log(odds / (1 + odds)) - r_ * mpmath.log1p(odds))
    tolerance = {torch.float32: 1e-5, torch.float64: 1e-12}[dtype]
    assert relative_errors(d.log_prob(count), expected, floor=1.0).max() < tolerance


FEW = [0, 1, 2, 3, 5, 8, 13, 28]


@pytest.mark.parametrize("spread", ["full", "column"])
def test_log_prob_of_few_counts_and_its_derivatives(spread, dtype):
    """Whole counts that are small have sums in place of gamma functions, and larger ones among them do not."""
    rows = list(product([*FEW, *[0] * 60, 40], DECADES, DECADES))
    count, r, mean = columns(rows, torch.float64)
    logits = (mean.log() - r.log()).to(dtype)
    count, r = count.to(dtype), r.to(dtype)
    if spread == "column":
        # Parameters that are expanded, and a second dimension.
        count, r, logits = (each.view(len(FEW) + 61, -1) for each in (count, r, logits))
        r, logits = (each[:1].expand(count.shape) for each in (r, logits))
    leaves = [each.clone().requires_grad_() for each in (count, r, logits)]
    d = RelaxedNegativeBinomial(leaves[1], logits=leaves[2], relaxation=Discrete())
    log_prob = d.log_prob(leaves[0])
    gradients = torch.autograd.grad(log_prob.sum(), leaves)
    chosen = torch.tensor([i for i, row in enumerate(rows) if i < len(FEW) * 81 or row[0] == 40])
    expected = [[] for _ in range(4)]
    for k, r_, x in zip(*(exactly(each.flatten()[chosen]) for each in (count, r, logits)), strict=True):
        p, rest = 1 / (1 + mpmath.exp(-x)), 1 / (1 + mpmath.exp(x))
        coefficient = mpmath.loggamma(k + r_) - mpmath.loggamma(r_) - mpmath.loggamma(k + 1)
        rising = mpmath.digamma(k + r_)
        values = (
            coefficient + k * mpmath.log(p) + r_ * mpmath.log(rest),
            rising - mpmath.digamma(k + 1) + mpmath.log(p),
            rising - mpmath.digamma(r_) + mpmath.log(rest),
            k * rest - r_ * p,
        )
        for each, value in zip(expected, values, strict=True):
            each.append(value)
    tolerance = {torch.float32: 1e-5, torch.float64: 1e-12}[dtype]
    for found, wanted in zip((log_prob, *gradients), expected, strict=True):
        assert relative_errors(found.detach().flatten()[chosen], wanted, floor=1.0).max() < tolerance


@pytest.mark.parametrize("largest", GAUSSIAN)
def test_rules_of_few_nodes(largest):
    """Their errors over parameters that were not used to find them; other nodes that were found would do as well."""
    t, weights = np.array(GAUSSIAN[largest]).T
    assert (largest_errors(t, weights, largest) < 4e-5).all()


def extremes(dtype):
    limits = torch.finfo(dtype)
    positive = [limits.tiny * limits.eps, limits.tiny, 1e-8, 1.0, 1e8, 1e30, limits.max]
    real = [-limits.max, -1e4, -90.0, -1.0, 0.0, 1.0, 90.0, 1e4, limits.max]
    probs = [limits.tiny * limits.eps, limits.tiny, 1e-8, 0.5, 1 - limits.eps / 2]
    return {"rate": positive, "log_rate": real, "total_count": positive, "logits": real, "probs": probs}


@pytest.mark.parametrize(
    ("cls", "names"),
    [
        (RelaxedPoisson, ["rate"]),
        (RelaxedPoisson, ["log_rate"]),
        (RelaxedNegativeBinomial, ["total_count", "logits"]),
        (RelaxedNegativeBinomial, ["total_count", "probs"]),
    ],
)
@pytest.mark.parametrize("counts", [COUNTS, FEW], ids=["many", "few"])
def test_log_prob_and_its_gradient_are_finite_everywhere(cls, names, counts, dtype):
    values = extremes(dtype)
    count, *parameters = columns(product(map(float, counts), *(values[name] for name in names)), dtype)
    parameters = [parameter.clone().requires_grad_() for parameter in parameters]
    log_prob = cls(**dict(zip(names, parameters, strict=True)), relaxation=Discrete()).log_prob(count)
    assert log_prob.isfinite().all()
    for gradient in torch.autograd.grad(log_prob.sum(), parameters):
        assert gradient.isfinite().all()


def test_a_count_that_is_impossible_has_probability_0():
    assert RelaxedPoisson(0.0, relaxation=Discrete()).log_prob(torch.tensor([0.0, 1.0, 20.0])).tolist() == [
        0.0,
        -np.inf,
        -np.inf,
    ]
    nothing = RelaxedNegativeBinomial(2.0, probs=0.0, relaxation=Discrete())
    assert nothing.log_prob(torch.tensor([0.0, 1.0, 20.0])).tolist() == [0.0, -np.inf, -np.inf]


TOLERANCES = {torch.float32: 1e-5, torch.float64: 1e-10}


@pytest.mark.parametrize("given", ["rate", "log_rate"])
def test_kl_of_poissons(given, dtype):
    a, b = columns(product(DECADES, DECADES), dtype)
    if given == "log_rate":
        a, b = a.log(), b.log()
    kl = kl_divergence(RelaxedPoisson(**{given: a}), RelaxedPoisson(**{given: b}))
    expected = []
    for x, y in zip(exactly(a), exactly(b), strict=True):
        q, p = (x, y) if given == "rate" else (mpmath.exp(x), mpmath.exp(y))
        expected.append(q * mpmath.log(q / p) - q + p)
    # Equal rates expect exactly 0.
    assert relative_errors(kl, expected, floor=1e-300).max() < TOLERANCES[dtype]


def shared_kl(r, x, y):
    q, p = r * mpmath.exp(x), r * mpmath.exp(y)
    return q * mpmath.log(q / p) - (r + q) * mpmath.log((r + q) / (r + p))


def test_kl_of_negative_binomials_with_a_shared_total_count(dtype):
    r, a, b = columns(product(DECADES, DECADES, DECADES), torch.float64)
    a, b, r = (a / r).log().to(dtype), (b / r).log().to(dtype), r.to(dtype)
    kl = kl_divergence(RelaxedNegativeBinomial(r, logits=a), RelaxedNegativeBinomial(r, logits=b))
    expected = [shared_kl(*row) for row in zip(*map(exactly, (r, a, b)), strict=True)]
    assert relative_errors(kl, expected, floor=1e-300).max() < TOLERANCES[dtype]


def test_kl_of_distributions_that_almost_coincide(dtype):
    r, log_mean = columns(((r, np.log(mean)) for r, mean in product(DECADES, DECADES)), dtype)
    moved = log_mean + 1e-6
    tolerance = {torch.float32: 1e-3, torch.float64: 1e-10}[dtype]
    kl = kl_divergence(RelaxedPoisson(log_rate=moved), RelaxedPoisson(log_rate=log_mean))
    expected = []
    for x, y in zip(exactly(moved), exactly(log_mean), strict=True):
        q, p = mpmath.exp(x), mpmath.exp(y)
        expected.append(q * (x - y) - q + p)
    assert relative_errors(kl, expected, floor=1e-300).max() < tolerance
    kl = kl_divergence(RelaxedNegativeBinomial(r, logits=moved), RelaxedNegativeBinomial(r, logits=log_mean))
    expected = [shared_kl(*row) for row in zip(*map(exactly, (r, moved, log_mean)), strict=True)]
    assert relative_errors(kl, expected, floor=1e-300).max() < tolerance


def free_kl(r, x, s, y):
    """KL of NB(r, logits x) to NB(s, logits y) by the integral of log gamma, on a finer and wider grid than ours."""
    m, n = r * mpmath.exp(x), s * mpmath.exp(y)
    with mpmath.workdps(30):
        start, end = mpmath.log(mpmath.mpf(10) ** -26), mpmath.log(90 / min(r, s))
        step = (end - start) / 500

        def integrand(t):
            mass = -mpmath.expm1(-t)
            transform = -mpmath.expm1(-r * mpmath.log1p(m / r * mass))
            return (mpmath.exp(-s * t) - mpmath.exp(-r * t)) * transform / mass

        integral = step * mpmath.fsum(integrand(mpmath.exp(start + i * step)) for i in range(501))
    rest = mpmath.log(m * (s + n) / (n * (r + m)))
    return integral - r * mpmath.log1p(m / r) + s * mpmath.log1p(n / s) + m * rest


@pytest.mark.parametrize("read", [True, False], ids=["read", "unread"])
def test_kl_of_negative_binomials_with_any_total_counts(dtype, read, monkeypatch):
    """On other devices values are not read, and float32 is kept, with an error of up to 1e-6 times the mean."""
    if not read:
        monkeypatch.setattr(dispersion, "readable", lambda x: False)
    sizes = [(r, s) for r, s in product([1e-3, 1.0, 1e3, 1e6], repeat=2) if r != s] + [(2.0, 2.001), (0.5, 30.0)]
    means = [(1e-4, 1e-4), (1e4, 1e4), (1.0, 3.0), (1e4, 1e-4), (30.0, 29.9)]
    rows = [(r, s, np.log(m / r), np.log(n / s)) for (r, s), (m, n) in product(sizes, means)]
    r, s, x, y = columns(rows, dtype)
    kl = kl_divergence(RelaxedNegativeBinomial(r, logits=x), RelaxedNegativeBinomial(s, logits=y))
    expected = [free_kl(*row) for row in zip(*map(exactly, (r, x, s, y)), strict=True)]
    absolute, relative = {torch.float32: (1e-4, 1e-5), torch.float64: (1e-8, 1e-7)}[dtype]
    errors = np.array(
        [abs(mpmath.mpf(each) - e) for each, e in zip(kl.double().tolist(), expected, strict=True)], float
    )
    allowed = np.maximum(absolute, relative * np.array(expected, float))
    if not read and dtype == torch.float32:
        allowed = np.maximum(allowed, 1e-6 * (r * x.exp()).numpy())
    assert (errors < allowed).all()
    assert (kl >= 0).all()
