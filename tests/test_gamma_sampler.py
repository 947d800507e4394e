import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import torch
from scipy import stats

from pyrocount.distributions.gamma_sampler import standard_gamma
from pyrocount.numpyro.gamma_sampler import gamma, slope

N = 400_000


def drawn_in_jax(concentration, number=N):
    return np.asarray(gamma(jax.random.key(0), jnp.full(number, concentration)), np.float64)


def drawn_in_torch(concentration, number=N, dtype=torch.float32):
    return standard_gamma(torch.full((number,), concentration, dtype=dtype)).double().numpy()


@pytest.mark.parametrize("draw", [drawn_in_jax, drawn_in_torch])
@pytest.mark.parametrize("concentration", [0.1, 0.5, 1.0, 3.0, 30.0, 1e3, 1e5])
def test_goodness_of_fit(draw, concentration):
    distribution = stats.gamma(float(np.float32(concentration)))
    assert stats.kstest(distribution.cdf(draw(concentration)), "uniform").pvalue > 1e-4


def test_variables_of_many_concentrations_are_drawn_together(dtype):
    torch.manual_seed(0)
    concentration = torch.tensor([1e-3, 0.2, 1.0, 40.0], dtype=dtype)
    drawn = standard_gamma(concentration.expand(N // 4, 4))
    assert drawn.dtype == dtype
    assert (drawn > 0).all()
    for column, shape in zip(drawn.T.double().numpy(), concentration.double().numpy(), strict=True):
        # The smallest are below every float32.
        column = np.log(np.maximum(column, 1e-30))
        reference = np.log(np.maximum(stats.gamma(shape).rvs(N // 4, random_state=0), 1e-30))
        assert stats.ks_2samp(column, reference, method="asymp").pvalue > 1e-4
    assert standard_gamma(torch.full((0, 3), 2.0)).shape == (0, 3)


@pytest.mark.parametrize("draw", [drawn_in_jax, drawn_in_torch])
def test_large_deviations(draw):
    drawn = draw(2.0, 5_000_000)
    for value in (12.0, 16.0):
        expected = len(drawn) * stats.gamma(2).sf(value)
        assert abs((drawn > value).sum() - expected) < 5 * expected**0.5


@pytest.mark.parametrize("concentration", [0.1, 0.5, 1.0, 3.0, 30.0, 1e3, 1e5])
def test_the_slope_is_the_implicit_derivative(concentration):
    """At the extremes, in the middle, and on both sides of where the integral changes sides."""
    levels = np.array([1e-6, 1e-3, 0.05, 0.3, 0.5, 0.6, 0.8, 0.95, 0.999, 1 - 1e-6])
    values = np.float32(stats.gamma(concentration).ppf(levels))
    with mpmath.workdps(40):
        alpha = mpmath.mpf(float(np.float32(concentration)))
        wanted = []
        for value in map(float, values):
            change = mpmath.diff(lambda a, value=value: mpmath.gammainc(a, 0, value, regularized=True), alpha)
            density = mpmath.exp(-value) * mpmath.mpf(value) ** (alpha - 1) / mpmath.gamma(alpha)
            wanted.append(float(-change / density))
    np.testing.assert_allclose(slope(jnp.asarray(values), concentration), wanted, rtol=3e-5)


def test_gradients_of_expectations():
    """The mean grows as alpha, the mean square as alpha + alpha^2."""
    alpha = jnp.array([0.3, 1.0, 7.0])

    def draws(alpha):
        return gamma(jax.random.key(0), jnp.broadcast_to(alpha, (N, 3)))

    drawn, change = jax.jvp(draws, (alpha,), (jnp.ones(3),))
    for gradient, wanted in ((change, 1.0), (2 * drawn * change, 1 + 2 * alpha)):
        error = np.asarray(gradient).std(0) / N**0.5
        np.testing.assert_array_less(np.abs(gradient.mean(0) - wanted), 5 * error)


def test_what_is_no_concentration():
    given = jnp.array([0.0, -1.0, jnp.nan, jnp.inf])
    np.testing.assert_array_equal(gamma(jax.random.key(0), given), [0, np.nan, np.nan, np.nan])
    assert gamma(jax.random.key(0), jnp.zeros((0, 3))).shape == (0, 3)


def test_small_concentrations_underflow_without_a_nan():
    drawn, change = jax.jvp(lambda a: gamma(jax.random.key(0), a), (jnp.full(1000, 0.01),), (jnp.ones(1000),))
    assert (drawn == 0).any()
    assert jnp.isfinite(change).all()


def test_under_vmap_and_in_other_precisions():
    keys = jax.random.split(jax.random.key(0), 4000)
    drawn = jax.vmap(lambda key: gamma(key, jnp.array([0.5, 4.0])))(keys)
    wanted = np.array([0.5, 4.0])
    np.testing.assert_array_less(np.abs(drawn.mean(0) - wanted), 5 * (wanted / 4000) ** 0.5)
    assert gamma(jax.random.key(0), jnp.ones(3, jnp.float16)).dtype == jnp.float16
    jax.config.update("jax_enable_x64", True)
    try:
        drawn = gamma(jax.random.key(0), jnp.full(N, 4.0))
        assert drawn.dtype == np.float64
        assert abs(drawn.mean() - 4) < 5 * 2 / N**0.5
    finally:
        jax.config.update("jax_enable_x64", False)
