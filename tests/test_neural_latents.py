"""Metrics of the Neural Latents Benchmark, against cases by hand."""

import math

import numpy as np
import pytest

from pyrocount.metrics.neural_latents import co_bps, psth_r_squared, velocity_r_squared

RNG = np.random.default_rng(1)


def test_co_bps():
    """Two trials of two bins: one channel at 1 and 3 spikes with the right rates, one at 2 with twice the rate."""
    spikes = np.array([[[1.0, 2.0], [3.0, 2.0]], [[1.0, 2.0], [3.0, 2.0]]])
    rates = np.array([[[1.0, 4.0], [3.0, 4.0]], [[1.0, 4.0], [3.0, 4.0]]])
    first = 2 * (math.log(1 / 2) + 3 * math.log(3 / 2))
    second = 4 * (2 * math.log(2) - 2)
    assert co_bps(spikes, rates) == pytest.approx((first + second) / (16 * math.log(2)))
    assert co_bps(spikes, np.full_like(spikes, 2.0)) == pytest.approx(0)
    spikes[0, 0, 1] = np.nan
    assert co_bps(spikes, rates) == pytest.approx((first + 3 / 4 * second) / (14 * math.log(2)))


def test_velocity():
    rates = RNG.uniform(0, 1, (30, 4, 3))
    velocity = np.stack([2 * rates[..., 0] - rates[..., 1], rates[..., 2] + 1], -1)
    assert velocity_r_squared(rates[:20], velocity[:20], rates[20:], velocity[20:]) > 0.999
    # A component that the rates say nothing about has R^2 near 0, and the mean over both halves.
    velocity[..., 1] = RNG.normal(size=(30, 4))
    found = velocity_r_squared(rates[:20], velocity[:20], rates[20:], velocity[20:])
    # R^2 of three useless predictors, by 80 of 40 points: its standard deviation is about sqrt(2 * 3) / 40.
    assert found == pytest.approx(0.5, abs=5 * math.sqrt(6) / 40)


def test_psths():
    """One channel whose two conditions have the means (1, 3) and (3, 1), predicted exactly, and flat."""
    conditions = np.array([0, 0, 1, 1])
    spikes = np.array([[0.0, 2.0], [2.0, 4.0], [2.0, 0.0], [4.0, 2.0]])[:, :, None]
    exact = np.array([[1.0, 3.0], [1.0, 3.0], [3.0, 1.0], [3.0, 1.0]])[:, :, None]
    flat = np.full_like(exact, 2.0)
    half = (exact + flat) / 2
    assert psth_r_squared(spikes, exact, conditions) == pytest.approx(1)
    assert psth_r_squared(spikes, flat, conditions) == pytest.approx(0)
    assert psth_r_squared(spikes, half, conditions) == pytest.approx(3 / 4)
    both = [np.concatenate(pair, 2) for pair in ((spikes, spikes), (exact, flat))]
    assert psth_r_squared(*both, conditions) == pytest.approx(1 / 2)
