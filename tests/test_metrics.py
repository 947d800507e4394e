import numpy as np
import pytest

from pyrocount.metrics import (
    active_latents,
    lifetime_sparsity,
    mean_rate,
    mean_squared_error,
    population_sparsity,
    r_squared,
    zero_fraction,
)


def test_r_squared_is_one_zero_or_below():
    x = np.random.default_rng(0).normal(size=(20, 3, 4, 4)).astype(np.float32)
    assert r_squared(x, x) == 1
    assert r_squared(x, np.broadcast_to(x.mean((1, 2, 3), keepdims=True), x.shape)) == pytest.approx(0, abs=1e-6)
    assert r_squared(x, -x) < 0


def test_r_squared_is_that_of_each_observation_averaged():
    x = np.array([[0.0, 2.0, 4.0], [1.0, 1.0, 4.0]])
    prediction = np.array([[0.0, 2.0, 3.0], [1.0, 0.0, 4.0]])
    assert r_squared(x, prediction) == pytest.approx(((1 - 1 / 8) + (1 - 1 / 6)) / 2)
    assert r_squared(x, np.stack([prediction, x])) == pytest.approx(((1 - 1 / 8) + (1 - 1 / 6) + 2) / 4)


def test_r_squared_leaves_constant_observations_out():
    x = np.array([[1.0, 1.0], [0.0, 2.0]])
    assert r_squared(x, np.zeros_like(x)) == pytest.approx(1 - 4 / 2)
    assert np.isnan(r_squared(np.ones((2, 2)), np.zeros((2, 2))))


def test_mean_squared_error_broadcasts_samples():
    x = np.zeros((2, 3))
    assert mean_squared_error(x, np.stack([x, x + 2])) == 2


def test_counts():
    counts = np.array([[0.0, 0.0, 3.0, 1.0]])
    assert mean_rate(counts) == 1
    assert zero_fraction(counts) == 0.5


@pytest.mark.parametrize(
    ("kl", "active"),
    [
        ([0.0, 1e-6, 5e-4, 0.2, 0.4, 0.9], 3),
        ([-1e-4, 0.02, 0.03, 0.05], 3),
        ([0.002, 0.0025, 0.06, 0.3], 2),
        ([0.3, 0.2], 2),
        ([1e-4, 5e-4], 0),
        ([0.02], 1),
        ([0.0015, 0.0025, 0.004, 0.007, 0.012, 0.02, 0.035, 0.06], 4),
    ],
)
def test_active_latents(kl, active):
    assert active_latents(np.array(kl)) == active


def test_observations_that_do_not_vary_have_no_r_squared():
    x = np.array([[0.1, 0.1, 0.1], [0.0, 1.0, 2.0]], np.float32)
    assert r_squared(x, np.zeros_like(x)) == pytest.approx(1 - 5 / 2)
    assert np.isnan(r_squared(x[:1], x[:1]))


def test_lifetime_sparsity():
    rng = np.random.default_rng(0)
    assert lifetime_sparsity(np.eye(5)) == pytest.approx(1)
    assert lifetime_sparsity(np.full((5, 3), 2.0)) == pytest.approx(0)
    # Of Gaussian magnitudes, 1 - 2 / pi, as the papers find for Gaussian latents.
    assert lifetime_sparsity(rng.normal(size=(20_000, 10))) == pytest.approx(1 - 2 / np.pi, abs=0.01)
    one, other = rng.poisson(0.3, (2, 100, 4))
    together = lifetime_sparsity(np.stack([one, other]))
    assert together == pytest.approx((lifetime_sparsity(one) + lifetime_sparsity(other)) / 2)
    assert np.isnan(lifetime_sparsity(np.zeros((5, 3))))


def test_what_is_silent_has_the_sparsity_that_is_given():
    counts = np.eye(4)[:, :3] * [1.0, 2.0, 0.0] + [0.0, 1.0, 0.0]
    active = lifetime_sparsity(counts)
    assert lifetime_sparsity(counts, silent=1.0) == pytest.approx((2 * active + 1) / 3)
    assert lifetime_sparsity(np.zeros((5, 3)), silent=1.0) == 1
    assert np.isnan(lifetime_sparsity(np.zeros((5, 0)), silent=1.0))
    assert population_sparsity(counts.T, silent=1.0) == pytest.approx((2 * active + 1) / 3)


def test_population_sparsity():
    assert population_sparsity(np.eye(5)) == pytest.approx(1)
    assert population_sparsity(np.arange(1.0, 6)[:, None] * np.ones(3)) == pytest.approx(0)
    # A third of the latents answers alike: 1 - 1/3, over 1 - 1/6.
    assert population_sparsity(np.tile([1.0, 1, 0, 0, 0, 0], (7, 1))) == pytest.approx((2 / 3) / (5 / 6))
    assert np.isnan(population_sparsity(np.zeros((5, 3))))
