"""The joint law of samples and their derivatives, against references written the plain way."""

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from scipy import stats

from pyrocount import ArrivalTimes, GumbelSoftmax, RelaxedNegativeBinomial, RelaxedPoisson, SteinChen, StraightThrough
from pyrocount.distributions import poisson_sampler
from pyrocount.distributions.poisson_sampler import poisson
from pyrocount.distributions.relaxations import gumbel_softmax

from cases import within

TAUS, INDICATORS = [0.1, 0.5, 2.5], ["cubic", "sigmoid"]
ARRIVALS = [ArrivalTimes(tau, indicator) for tau, indicator in product([0.02, *TAUS, 1.0], INDICATORS)]


def naive_arrivals(rate, relaxation, n):
    """n soft counts, numbers of arrivals and derivatives with respect to the rate, by a stack of arrival times."""
    tau = relaxation.temperature
    # Later arrivals have weights below 1e-9.
    last = rate * (1 + tau * (1 if relaxation.indicator == "cubic" else 21))
    arrivals = torch.empty(math.ceil(last + 8 * last**0.5 + 12), n, dtype=torch.float64).exponential_().cumsum(0)
    rates = torch.full((n,), rate, dtype=torch.float64, requires_grad=True)
    y = (1 - arrivals / rates) / tau
    if relaxation.indicator == "cubic":
        y = y.clamp(-1, 1)
        z = (0.5 + 0.75 * y - 0.25 * y**3).sum(0)
    else:
        z = torch.sigmoid(y).sum(0)
    return z.detach(), (arrivals <= rate).sum(0).double(), torch.autograd.grad(z.sum(), rates)[0]


def ours(rate, relaxation, n):
    rates = torch.full((n,), rate, dtype=torch.float64, requires_grad=True)
    z = RelaxedPoisson(rates, relaxation=relaxation).rsample()
    return z.detach(), torch.autograd.grad(z.sum(), rates)[0]


def assert_same_law(mine, reference):
    """Two samples of pairs have the same moments up to order four, and the same marginal distributions."""
    for i, j in [(1, 0), (0, 1), (2, 0), (1, 1), (0, 2), (2, 1), (1, 2), (2, 2)]:
        a, b = (z**i * slope**j for z, slope in (mine, reference))
        spread = a.var() / len(a) + b.var() / len(b)
        assert (a.mean() - b.mean()).abs() <= 5 * spread.sqrt() + 1e-6, (i, j)
    for a, b in zip(mine, reference, strict=True):
        # Rounded, because ours are exactly 0 where the reference is less than the resolution of the dtype.
        assert stats.ks_2samp(a.round(decimals=6), b.round(decimals=6), method="asymp").pvalue > 1e-4


@pytest.mark.parametrize("relaxation", ARRIVALS, ids=repr)
@pytest.mark.parametrize("rate", [1e-3, 0.1, 1.0, 5.0, 40.0, 300.0])
def test_soft_counts_and_their_derivatives_have_the_joint_law_of_arrival_times(rate, relaxation):
    n = 50_000 if rate < 2 else 8000 if rate < 20 else 1500
    z, _, slope = naive_arrivals(rate, relaxation, n)
    assert_same_law(ours(rate, relaxation, n), (z, slope))


@pytest.mark.parametrize("relaxation", [ArrivalTimes(0.1, hard=True), ArrivalTimes(0.5, "sigmoid", True)], ids=repr)
@pytest.mark.parametrize("rate", [0.1, 3.0, 40.0, 1500.0])
def test_hard_counts_are_the_arrivals_behind_the_soft_derivative(rate, relaxation):
    n = 8000 if rate < 1000 else 1500
    _, count, slope = naive_arrivals(rate, relaxation, n)
    mine = ours(rate, relaxation, n)
    assert (mine[0] == mine[0].round()).all()
    assert_same_law(mine, (count, slope))


def assert_moments(z, slope, mean, variance, mean_slope):
    """Counts of a large rate and their derivatives with respect to its logarithm, up to rounding."""
    n, rounding = len(z), 4 * torch.finfo(z.dtype).eps * mean
    z, slope = z.double(), slope.double()
    assert abs(z.mean() - mean) <= 5 * math.sqrt(variance / n) + rounding
    # A normal sample's variance has the standard error sqrt(2 / n).
    assert abs(z.var() / variance - 1) <= 5 * math.sqrt(2 / n) + rounding**2 / variance
    assert abs(slope.mean() - mean_slope) <= 5 * slope.std() / math.sqrt(n) + rounding


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rate", [1e6, 1.6e7, 1e8, 1e9])
@pytest.mark.parametrize(
    "relaxation",
    [
        *(
            ArrivalTimes(tau, indicator, hard)
            for tau, indicator, hard in product([0.1, 2.5], INDICATORS, [False, True])
        ),
        ArrivalTimes(torch.tensor(0.3)),
        SteinChen(),
        StraightThrough(),
    ],
    ids=repr,
)
def test_counts_of_large_rates_have_their_moments(relaxation, rate, dtype):
    n = 4000
    u = torch.full((n,), math.log(rate), dtype=dtype, requires_grad=True)
    d = RelaxedPoisson(log_rate=u, relaxation=relaxation, validate_args=False)
    z = d.rsample()
    (slope,) = torch.autograd.grad(z.sum(), u)
    mean, variance = (float(factor) * d.rate[0].item() for factor in relaxation.moment_factors())
    # The derivative of a hard count is that of the soft one.
    soft = replace(relaxation, hard=False) if isinstance(relaxation, ArrivalTimes) else relaxation
    mean_slope = float(soft.moment_factors()[0]) * d.rate[0].item()
    assert_moments(z.detach(), slope, mean, variance, mean_slope)
    assert not relaxation.is_discrete or (z == z.round()).all()
    # Its law is that of a normal variable to 1 / sqrt(rate).
    assert stats.kstest(((z.detach() - mean) / math.sqrt(variance)).double(), "norm").pvalue > 1e-4

    logits = torch.full((n,), math.log(rate / 200), dtype=dtype, requires_grad=True)
    z = RelaxedNegativeBinomial(200.0, logits=logits, relaxation=relaxation, validate_args=False).rsample()
    (slope,) = torch.autograd.grad(z.sum(), logits)
    assert stats.kstest(z.detach().double() / mean, stats.gamma(200, scale=1 / 200).cdf).pvalue > 1e-4
    assert abs(slope.double().mean() / mean_slope - 1) <= 5 / math.sqrt(200 * n)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("rate", [0.1, 2.0, 8.0])
def test_gumbel_softmax_has_the_joint_law_of_torchs(rate, temperature, monkeypatch):
    """Worked through in blocks of a few rows."""
    monkeypatch.setitem(gumbel_softmax.BLOCK, "cpu", 7000)
    n = 20_000
    support = torch.arange(31, dtype=torch.float64)
    rates = torch.full((n, 1), rate, dtype=torch.float64, requires_grad=True)
    scores = support * rates.log() - rates - torch.lgamma(support + 1)
    z = torch.nn.functional.gumbel_softmax(scores, temperature) @ support
    (slope,) = torch.autograd.grad(z.sum(), rates)
    assert_same_law(ours(rate, GumbelSoftmax(temperature, 30), n), (z.detach(), slope.squeeze(1)))


@pytest.mark.parametrize("make", [lambda tau: ArrivalTimes(tau), lambda tau: GumbelSoftmax(tau, 25)])
def test_a_tensor_of_temperatures_gives_each_its_law(make):
    temperatures = torch.tensor([0.05, 0.3, 1.0], dtype=torch.float64)
    rates = torch.full((8000, 3), 2.0, dtype=torch.float64, requires_grad=True)
    z = RelaxedPoisson(rates, relaxation=make(temperatures)).rsample()
    (slope,) = torch.autograd.grad(z.sum(), rates)
    for column, temperature in enumerate(temperatures.tolist()):
        assert_same_law((z[:, column].detach(), slope[:, column]), ours(2.0, make(temperature), 8000))
    annealed = make(torch.tensor(0.3, dtype=torch.float64))
    assert_same_law(ours(2.0, annealed, 8000), ours(2.0, make(0.3), 8000))


def gradients_of_a_quadratic(d, parameters, n=50_000, groups=50):
    """Estimates of the gradient of the sum of E (z^2 + z / 2), each of n / groups samples."""
    z = d.rsample((n,))
    terms = (z**2 + z / 2).sum(tuple(range(1, z.ndim))).view(groups, -1).mean(1)
    rows = [torch.autograd.grad(term, parameters, retain_graph=True) for term in terms]
    return torch.stack([torch.cat(row) for row in rows])


@pytest.mark.parametrize("given", ["rate", "log_rate"])
@pytest.mark.parametrize("relaxation", [SteinChen(), StraightThrough()], ids=repr)
def test_stein_chen_is_unbiased_for_a_quadratic_of_poisson_counts_and_the_identity_is_not(given, relaxation):
    rate = torch.tensor([0.05, 1.0, 7.5], dtype=torch.float64)
    parameter = (rate.log() if given == "log_rate" else rate.clone()).requires_grad_()
    gradients = gradients_of_a_quadratic(RelaxedPoisson(**{given: parameter}, relaxation=relaxation), [parameter])
    chain = rate if given == "log_rate" else 1.0
    exact, identity = (1.5 + 2 * rate) * chain, (0.5 + 2 * rate) * chain
    assert within(gradients, exact if isinstance(relaxation, SteinChen) else identity)
    assert not within(gradients, identity if isinstance(relaxation, SteinChen) else exact)


@pytest.mark.parametrize("given", ["logits", "probs"])
@pytest.mark.parametrize("relaxation", [SteinChen(), ArrivalTimes(0.02)], ids=repr)
def test_gradients_of_the_negative_binomial_are_those_of_the_expectation(given, relaxation):
    total_count = torch.tensor([0.3, 2.0, 20.0], dtype=torch.float64, requires_grad=True)
    logits = torch.tensor([0.4, -1.5, -0.7], dtype=torch.float64)
    parameter = (logits if given == "logits" else logits.sigmoid()).requires_grad_()
    d = RelaxedNegativeBinomial(total_count, **{given: parameter}, relaxation=relaxation)
    expectation = (d.variance + d.mean**2 + d.mean / 2).sum()
    exact = torch.cat(torch.autograd.grad(expectation, [total_count, parameter]))
    assert within(gradients_of_a_quadratic(d, [total_count, parameter]), exact)


def test_gradients_agree_with_finite_differences_of_exact_expectations():
    """For a function that is no polynomial; the sigmoid of a soft count at a small temperature is nearly unbiased."""
    counts = torch.arange(400, dtype=torch.float64)

    def expectation(total_count, logits):
        d = RelaxedNegativeBinomial(total_count, logits=logits).counts
        return (d.log_prob(counts).exp() * torch.sin(counts / 3)).sum()

    point, step = (torch.tensor(1.5).double(), torch.tensor(0.3).double()), 1e-5
    exact = [
        (expectation(point[0] + step, point[1]) - expectation(point[0] - step, point[1])) / (2 * step),
        (expectation(point[0], point[1] + step) - expectation(point[0], point[1] - step)) / (2 * step),
    ]
    n = 400_000
    leaves = [value.expand(n).clone().requires_grad_() for value in point]
    for relaxation, bias in [(SteinChen(), 0.01), (ArrivalTimes(0.05), 0.01)]:
        z = RelaxedNegativeBinomial(leaves[0], logits=leaves[1], relaxation=relaxation).rsample()
        for gradient, truth in zip(torch.autograd.grad(torch.sin(z / 3).sum(), leaves), exact, strict=True):
            assert (gradient.mean() - truth).abs() < 5 * gradient.std() / n**0.5 + bias
            assert truth.abs() > 0.02


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: ArrivalTimes("cubic"),
            "temperature: got 'cubic', expected a positive number or a tensor of positive numbers",
        ),
        (lambda: ArrivalTimes(0), "temperature: got 0, expected a positive number; exact counts are Discrete"),
        (lambda: ArrivalTimes(-1.0), "temperature: got -1.0"),
        (lambda: ArrivalTimes(float("nan")), "temperature: got nan"),
        (lambda: ArrivalTimes(0.1, "linear"), "indicator: got 'linear', expected one of cubic, sigmoid"),
        (lambda: GumbelSoftmax(0.0, 5), "temperature: got 0.0, expected a positive number; exact counts are Discrete"),
        (lambda: GumbelSoftmax(0.5, 0), "max_count: got 0, expected a positive whole number"),
        (
            lambda: RelaxedPoisson(torch.ones(3), relaxation=ArrivalTimes(torch.tensor([0.1, 0.0, 0.1]))).sample(),
            "temperature: got .*, expected positive numbers; exact counts are Discrete",
        ),
        (
            lambda: RelaxedPoisson(torch.ones(3), relaxation=ArrivalTimes(torch.ones(2))),
            r"temperature: got a tensor of shape \(2,\), expected a shape that broadcasts to the batch shape \(3,\)",
        ),
        (
            lambda: RelaxedPoisson(torch.ones(3), relaxation=ArrivalTimes(torch.ones(2, 3))),
            r"temperature: got a tensor of shape \(2, 3\)",
        ),
        (
            lambda: RelaxedPoisson(torch.tensor([1.0, math.inf])).sample(),
            "rate: got NaN or infinite values for 1 of 2 rates",
        ),
        (
            lambda: RelaxedNegativeBinomial(2.0, logits=200.0).sample(),
            "rate: got NaN or infinite values for 1 of 1 rates",
        ),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_capped_and_rounded_counts_bring_a_warning():
    with pytest.warns(UserWarning, match="max_count: got 10, which counts of rate 9 exceed with probability 0.29"):
        RelaxedPoisson(9.0, relaxation=GumbelSoftmax(0.1, 10)).sample()
    RelaxedPoisson(9.0, relaxation=GumbelSoftmax(0.1, 30)).sample()
    with pytest.warns(
        UserWarning, match=r"rate: got rates up to 1e\+09, but counts above 16777216 are rounded in torch.float32"
    ):
        RelaxedPoisson(1e9, relaxation=SteinChen()).sample()
    RelaxedPoisson(torch.tensor(1e9, dtype=torch.float64), relaxation=SteinChen()).sample()
    RelaxedPoisson(1e9, relaxation=SteinChen(), validate_args=False).sample()
    with pytest.raises(
        NotImplementedError, match="the mean and the variance of Gumbel-softmax counts have no closed form"
    ):
        _ = RelaxedPoisson(1.0, relaxation=GumbelSoftmax(0.1, 10)).mean


@pytest.mark.parametrize("mean", [1e-4, 0.02, 0.09, 0.3, 1.5])
def test_many_small_rates_are_counted_exactly(mean, monkeypatch):
    """Arrivals of one process below a mean of .1, else inverted: each count and the sum of all are Poisson."""
    rates = mean * torch.cat([torch.rand(5000, generator=torch.Generator().manual_seed(0)), torch.zeros(100)])
    rates[7] = 40.0
    assert rates.mean() < 2.0
    monkeypatch.setattr(poisson_sampler, "LARGE", 1000)
    draws = torch.stack([poisson(rates) for _ in range(400)])
    assert (draws == draws.round()).all()
    assert (draws[:, -100:] == 0).all()
    assert within(draws[:, 7], 40.0)
    assert within((draws[:, 7] - 40.0) ** 2, 40.0)
    others = torch.cat([draws[:, :7], draws[:, 8:]], 1)
    expected = torch.cat([rates[:7], rates[8:]])
    assert within(others.sum(1), expected.sum())
    assert within((others.sum(1) - expected.sum()) ** 2, expected.sum())
    # Of all counts together, whose law is a mixture.
    number = draws.numel() - 400
    distribution = stats.poisson(expected.double().numpy()[:, None]).pmf(np.arange(4)).sum(0) * 400
    for count, wanted in enumerate(distribution):
        found = (others == count).sum().item()
        assert abs(found - wanted) < 5 * (wanted * (1 - wanted / number)) ** 0.5 + 1e-9


def test_small_arrays_and_large_rates_are_left_to_torch(monkeypatch):
    calls = []
    original = torch.poisson
    monkeypatch.setattr(torch, "poisson", lambda rate: calls.append(rate.shape) or original(rate))
    for rate in (torch.full((100,), 0.1), torch.full((40_000,), 2.1)):
        assert poisson(rate).shape == rate.shape
    assert len(calls) == 2
    assert poisson(torch.full((40_000,), 0.1, dtype=torch.float64)).dtype == torch.float64
    assert len(calls) == 2
    with pytest.raises(RuntimeError, match="invalid Poisson rate"):
        poisson(torch.full((40_000,), -0.1))
