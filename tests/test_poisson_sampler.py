import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from pyrocount.numpyro import poisson, poisson_sampler

draw = jax.jit(poisson)


@pytest.mark.parametrize("rate", [0.01, 0.3, 3.0, 30.0, 100.0, 149.9, 150.0, 151.0, 300.0, 1e5])
def test_goodness_of_fit(rate):
    n = 400_000
    counts = np.asarray(draw(jax.random.key(3), jnp.full(n, rate)))
    distribution = stats.poisson(float(np.float32(rate)))
    edges = np.unique(distribution.ppf(np.linspace(0, 1, 60)[1:-1]))
    observed = np.histogram(counts, np.r_[-1, edges, np.inf] + 0.5)[0]
    expected = n * np.diff(np.r_[0, distribution.cdf(edges), 1])
    enough = expected > 5
    observed = np.r_[observed[enough], observed[~enough].sum()]
    expected = np.r_[expected[enough], expected[~enough].sum()]
    observed, expected = observed[expected > 0], expected[expected > 0]
    assert len(expected) > 1
    assert stats.chisquare(observed, expected * n / expected.sum()).pvalue > 1e-4


def test_the_tables_hold_each_probability_to_what_a_word_resolves():
    tables = poisson_sampler._alias_tables().reshape(poisson_sampler.TABULATED, poisson_sampler.CELLS).astype(np.int64)
    cells = np.arange(poisson_sampler.CELLS)
    for rate, entry in enumerate(tables):
        kept, alias = entry >> 8, entry & 255
        kept = np.where(alias == cells, poisson_sampler.CAPACITY, kept)
        shares = kept.copy()
        np.add.at(shares, alias, poisson_sampler.CAPACITY - kept)
        assert shares.sum() == 2**32
        error = np.abs(shares / 2**32 - stats.poisson.pmf(cells, rate))
        # The mode takes what the rounding of the others leaves over.
        assert error.max() < 64 * 2**-32
        assert np.sort(error)[:-1].max() < 0.501 * 2**-32


def test_small_probabilities():
    n = 5_000_000
    for rate, count in [(0.01, 2), (3.0, 14), (50.0, 95), (149.0, 214)]:
        expected = n * stats.poisson.sf(count - 1, rate)
        assert abs(int((draw(jax.random.key(0), jnp.full(n, rate)) >= count).sum()) - expected) < 5 * expected**0.5


def test_rates_of_all_sizes_together():
    rates = np.float32(10.0) ** np.linspace(-6, 6, 49, dtype=np.float32)
    counts = np.asarray(draw(jax.random.key(0), jnp.tile(rates, (20_000, 1))), np.float64)
    assert (np.abs(counts.mean(0) - rates) < 5 * np.sqrt(rates / 20_000)).all()
    wanted = rates + 2 * rates.astype(float) ** 2
    spread = ((counts - rates) ** 2).mean(0)
    assert (np.abs(spread - rates) < 5 * np.sqrt(wanted / 20_000)).all()


def test_what_is_no_rate():
    rates = jnp.array([0.0, -1.0, jnp.nan, jnp.inf, 1e-45])
    np.testing.assert_array_equal(draw(jax.random.key(0), rates), [0, np.nan, np.nan, np.nan, 0])
    assert draw(jax.random.key(0), jnp.zeros((0, 3))).shape == (0, 3)


def test_under_vmap_and_in_float64():
    keys = jax.random.split(jax.random.key(0), 2000)
    counts = jax.vmap(lambda key: poisson(key, jnp.array([0.5, 100.0, 300.0])))(keys)
    np.testing.assert_array_less(np.abs(counts.mean(0) / np.array([0.5, 100.0, 300.0]) - 1), 5 / np.sqrt(1000))
    jax.config.update("jax_enable_x64", True)
    try:
        counts = poisson(jax.random.key(0), jnp.full(100_000, 3.0))
        assert counts.dtype == np.float64
        assert abs(counts.mean() - 3) < 5 * np.sqrt(3 / 100_000)
    finally:
        jax.config.update("jax_enable_x64", False)


def test_half_precision():
    counts = poisson(jax.random.key(0), jnp.full(4000, 20.0, jnp.float16))
    assert counts.dtype == jnp.float16
    assert abs(counts.astype(float).mean() - 20) < 5 * np.sqrt(20 / 4000)
