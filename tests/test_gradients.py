import math

import pytest
import torch
from matplotlib.figure import Figure

from pyrocount import ArrivalTimes, RelaxedNegativeBinomial, RelaxedPoisson, SteinChen, StraightThrough, figures
from pyrocount.distributions import Discrete
from pyrocount.errors import InputError
from pyrocount.gradients import UnbiasedCounts, gradient_report
from pyrocount.models import make_vae


def found(report):
    return {estimate.estimator: estimate for estimate in report.estimates}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


RATE = torch.tensor([0.4, 3.0], dtype=torch.float64)
NEGATIVE_BINOMIAL = RelaxedNegativeBinomial.from_mean(RATE, 2.0)


@pytest.mark.parametrize(
    ("q", "variance_slope"),
    # Of the variance with respect to the log mean: m for the Poisson, m + 2 m^2 / r.
    [(RelaxedPoisson(RATE), RATE), (NEGATIVE_BINOMIAL, RATE + RATE**2)],
)
def test_the_exact_gradient_of_a_quadratic(q, variance_slope):
    c = torch.tensor([2.0, -1.0], dtype=torch.float64)
    report = gradient_report(lambda z: ((z - c) ** 2).sum(-1), q, {"Stein-Chen": SteinChen()})
    expected = 2 * (RATE - c) * RATE + variance_slope
    assert ((report.exact - expected).abs() < 5 * report.exact_error).all()
    assert (report.exact_error < 0.05 * expected.abs()).all()


def test_bias_spread_and_time_of_what_is_known():
    q = RelaxedPoisson(torch.full((3,), 2.0, dtype=torch.float64))
    report = gradient_report(lambda z: (z**2).sum(-1), q, samples=40_000, exact_samples=400_000)
    estimates = found(report)
    assert len(estimates) == 8
    # d E z^2 = 2 m^2 + m, of which the straight-through estimator misses m.
    biased = estimates.pop("straight-through")
    assert abs(biased.bias - 2 / 10) < 5 * biased.resolution
    for name in ("Stein-Chen", "unbiased", "score function"):
        assert estimates[name].bias < 2.5 * estimates[name].resolution
    # 2 N m has the variance 4 m^3, of which the mean is 10 a count.
    assert biased.spread == pytest.approx(math.sqrt(3 * 32) / math.sqrt(300), rel=0.05)
    assert estimates["score function"].spread > estimates["Stein-Chen"].spread
    assert all(estimate.milliseconds > 0 for estimate in report.estimates)


def test_a_vae_with_a_linear_decoder_has_a_closed_form():
    x = torch.randn(6, 4)
    for model in ("poisson", "negbio"):
        vae = make_vae(model, (4,), latent_dim=3, decoder="lin")
        report = gradient_report(vae, x, {"Stein-Chen": SteinChen()}, samples=20_000)
        assert report.exact.shape == (6, 3)
        assert not report.exact_error.any()
        assert report.estimates[0].bias < 2.5 * report.estimates[0].resolution
        q = vae.encode(x).base_dist

        def loss(z, vae=vae):
            return -vae.likelihood(vae.decode(z)).log_prob(x).sum(-1)

        other = gradient_report(loss, q, {"Stein-Chen": SteinChen()}, exact_samples=50_000)
        assert ((other.exact - report.exact).abs() < 5 * other.exact_error + 1e-4).all()


def test_a_vae_with_images_and_another_decoder():
    vae = make_vae("negbio", (1, 8, 8), latent_dim=4, decoder="conv")
    report = gradient_report(vae, torch.randn(2, 1, 8, 8), {"a": Discrete()}, samples=20, exact_samples=50)
    assert report.exact.shape == (2, 4)
    assert (report.exact_error > 0).all()


def test_table_and_plot():
    estimators = {"one": SteinChen(), "another": StraightThrough()}
    report = gradient_report(lambda z: z.square().sum(-1), RelaxedPoisson(RATE), estimators, samples=100)
    lines = report.table().splitlines()
    assert [line.split()[0] for line in lines] == ["estimator", "one", "another"]
    for line, estimate in zip(lines[1:], report.estimates, strict=True):
        numbers = [estimate.bias, estimate.resolution, estimate.spread, estimate.milliseconds]
        assert [float(word) for word in line.split()[1:]] == pytest.approx(numbers, abs=1e-3)
    assert isinstance(report.plot(), Figure)


def test_a_bias_that_is_not_seen_is_drawn_as_a_bound():
    figure = figures.gradient_estimators(["a", "b"], [0.5, 0.001], [0.01, 0.02], [1, 2], [3, 4])
    seen, bound = figure.axes[0].lines
    assert (*seen.get_xdata(), *seen.get_ydata()) == (0.5, 1)
    assert (*bound.get_xdata(), *bound.get_ydata()) == (0.04, 0)


def test_a_constant_difference_has_no_error_and_shows_bias():
    q = RelaxedPoisson(torch.tensor([0.3, 1.7, 5.3]))
    report = gradient_report(lambda z: z.sum(-1), q, {"sigmoid": ArrivalTimes(1.0, "sigmoid")}, samples=50_000)
    torch.testing.assert_close(report.exact, q.rate.double())
    assert (report.exact_error < 1e-6).all()
    # The mean of the relaxed counts is softplus(1) times the rate.
    factor = torch.nn.functional.softplus(torch.tensor(1.0)).item()
    assert abs(report.estimates[0].bias - abs(factor - 1)) < 5 * report.estimates[0].resolution


def test_the_support_covers_overdispersed_counts():
    q = RelaxedNegativeBinomial.from_mean(torch.tensor([50.0]), 0.5)
    report = gradient_report(lambda z: z.sum(-1), q, samples=4000)
    assert found(report)["Gumbel-softmax, 0.1"].bias < 2.5 * found(report)["Gumbel-softmax, 0.1"].resolution


def test_a_function_may_change_its_argument():
    torch.manual_seed(0)
    report = gradient_report(lambda z: z.mul_(2).sum(-1), RelaxedPoisson(RATE), {"score": Discrete()})
    torch.testing.assert_close(report.exact, 2 * RATE)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: gradient_report(lambda z: z, RelaxedPoisson(RATE)), "model: got values of shape \\(20000, 2\\)"),
        (lambda: gradient_report(torch.sum, RelaxedPoisson(1.0)), "given: got RelaxedPoisson"),
        (lambda: gradient_report(torch.sum, torch.distributions.Poisson(RATE)), "given: got Poisson"),
        (
            lambda: gradient_report(lambda z: (z > 1).double().sum(-1), RelaxedPoisson(RATE)),
            "model: got values without",
        ),
        (
            lambda: gradient_report(lambda z: (1e3 * z).sin().sum(-1), RelaxedPoisson(RATE), exact_samples=10),
            "exact_samples: got 10 samples, which leave the exact gradient",
        ),
        (lambda: gradient_report(torch.sum, RelaxedPoisson(RATE), samples=1e4), "samples: got 10000.0, expected"),
        (lambda: gradient_report(torch.sum, RelaxedPoisson(RATE), samples=3), "samples: got 3, expected"),
        (lambda: gradient_report(torch.sum, RelaxedPoisson(RATE), exact_samples=0), "exact_samples: got 0, expected"),
        (
            lambda: gradient_report(lambda z: 0 * z.sum(-1), RelaxedPoisson(RATE)),
            "model: got an exact gradient of norm 0.0",
        ),
        (
            lambda: gradient_report(make_vae("poisson", (4,), latent_dim=2, estimator="score"), RelaxedPoisson(RATE)),
            "given: got RelaxedPoisson, expected a tensor of data",
        ),
    ],
)
def test_bad_arguments(call, words):
    with pytest.raises(InputError, match=words):
        call()


@pytest.mark.parametrize("neighbours", [1, 3])
@pytest.mark.parametrize("law", [RelaxedPoisson, RelaxedNegativeBinomial])
def test_counts_that_meet_a_kink_have_an_unbiased_gradient(law, neighbours):
    rate = torch.full((4,), 0.1, dtype=torch.float64)
    q = law(rate) if law is RelaxedPoisson else law.from_mean(rate, 2.0)
    estimators = {"unbiased": UnbiasedCounts(neighbours), "Stein-Chen": SteinChen()}
    report = gradient_report(
        lambda z: torch.relu(z.sum(-1) - 0.2), q, estimators, samples=100_000, exact_samples=100_000
    )
    estimates = found(report)
    assert estimates["unbiased"].bias < 2.5 * estimates["unbiased"].resolution
    assert estimates["Stein-Chen"].bias > 10 * estimates["Stein-Chen"].resolution
    assert estimates["unbiased"].resolution < 0.05
