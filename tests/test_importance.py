import numpy as np
import pytest
from scipy import stats

from pyrocount.errors import InputError
from pyrocount.metrics.importance import FEWEST, effective_sample_size, importance_weighted_elbo, pareto_k


def gaussian_weights(samples, proposal, seed=0, observations=50):
    """Log weights for a standard Gaussian target with a log density 3 above its normalised one."""
    z = np.random.default_rng(seed).normal(*proposal, (samples, observations))
    return 3 + stats.norm.logpdf(z) - stats.norm.logpdf(z, *proposal)


@pytest.mark.parametrize("shape", [0.2, 0.5, 1.0, 1.5])
def test_k_hat_is_the_shape_of_the_tail(shape):
    samples = 10_000
    weights = stats.genpareto.rvs(shape, size=(samples, 40), random_state=0)
    tail = 3 * np.sqrt(samples)
    # The spread of the maximum likelihood shape of a generalised Pareto, and the pull of the prior (0.5, ten samples).
    pull = 10 * abs(shape - 0.5) / tail
    spread = (1 + shape) / np.sqrt(tail)
    estimates = pareto_k(np.log(weights))
    assert np.abs(estimates.mean() - shape) < pull + 4 * spread / np.sqrt(40)
    assert estimates.std() < 1.5 * spread


def test_k_hat_looks_at_the_large_weights():
    """The tail of small weights is of no consequence."""
    heavy = np.random.default_rng(0).exponential(3.0, (1000, 20))
    assert (pareto_k(heavy) > 0.7).all()
    assert (pareto_k(-heavy) < 0.7).all()


def test_a_wide_proposal_is_fine_and_a_narrow_one_is_flagged():
    assert np.mean(pareto_k(gaussian_weights(1000, (0, 1.5))) > 0.7) < 0.05
    # The shape is 1 - 0.3^2, in estimates with a standard deviation of about 0.2.
    assert np.mean(pareto_k(gaussian_weights(1000, (0, 0.3))) > 0.7) > 0.5


def test_ties_do_not_make_a_tail():
    """Weights that come again, as those of counts: of the tail, only what is above the tie has a shape."""
    heavy = stats.genpareto.rvs(1.2, size=(60, 40), random_state=0)
    tied = np.concatenate([np.ones((940, 40)), 1 + heavy])
    # Of the 94 weights in the tail, 34 are at the tie.
    assert np.median(pareto_k(np.log(tied))) == pytest.approx((60 * 1.2 + 10 * 0.5) / 70, abs=0.25)
    rounding = 1e-5 * np.random.default_rng(0).normal(size=(1000, 40))
    np.testing.assert_allclose(pareto_k(np.log(tied) + rounding), pareto_k(np.log(tied)), atol=0.02)
    assert (pareto_k(rounding) == -np.inf).all()


@pytest.mark.parametrize("tail", [np.zeros(200), np.r_[np.full(150, 1.0), np.linspace(-5, 0, 50)]])
def test_a_bounded_tail_has_no_shape(tail):
    assert pareto_k(tail[:, None]).tolist() == [-np.inf]


@pytest.mark.parametrize(("number", "rest"), [(1, -5000.0), (3, -50.0), (6, -50.0), (1, -8.0)])
def test_a_few_weights_that_are_all_are_no_bounded_tail(number, rest):
    weights = np.full((400, 1), rest)
    weights[:number] = 0
    assert pareto_k(weights).tolist() == [np.inf]


def test_weights_over_all_magnitudes():
    weights = -np.random.default_rng(0).exponential(3000, (400, 30))
    assert (pareto_k(weights) > 5).all()


def test_weights_that_are_not_finite():
    weights = np.random.default_rng(0).normal(size=(100, 3))
    weights[0, 0], weights[0, 1] = np.nan, -np.inf
    k = pareto_k(weights)
    assert np.isnan(k[0])
    assert np.isfinite(k[1:]).all()


def test_too_few_samples():
    with pytest.raises(InputError, match="samples: got 24 samples, expected at least 25"):
        pareto_k(np.zeros((FEWEST - 1, 2)))


def test_the_bound_tends_to_the_evidence():
    """With proposal N(0, 1.5) the weights are bounded; their spread gives the tolerance."""
    samples, observations = 2000, 100
    weights = gaussian_weights(samples, (0, 1.5), observations=observations)
    relative = np.exp(weights - 3)
    error = relative.std() / np.sqrt(samples)
    bound = importance_weighted_elbo(weights)
    assert np.abs(bound - 3).max() < 5 * error
    assert importance_weighted_elbo(weights[:1]).mean() < bound.mean()
    np.testing.assert_allclose(importance_weighted_elbo(weights[:1]), weights[0])


def test_effective_samples():
    assert effective_sample_size(np.zeros((10, 2))).tolist() == [10, 10]
    one = np.full((10, 1), -1e6)
    one[3] = 0
    assert effective_sample_size(one).tolist() == [1]
    # E w^2 / (E w)^2 of a Gaussian target and a wider Gaussian proposal is v / sqrt(2 v - 1), v being its variance.
    v = 1.5**2
    found = effective_sample_size(gaussian_weights(20_000, (0, 1.5))).mean() / 20_000
    assert found == pytest.approx(np.sqrt(2 * v - 1) / v, rel=0.01)
