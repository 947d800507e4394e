"""Decisions from spikes in time, against Bayes' rule and lines that are known."""

import numpy as np
import pytest
import torch
from scipy import stats

from pyrocount.backends import as_backend
from pyrocount.data import load_dataset
from pyrocount.errors import InputError
from pyrocount.metrics.decisions import (
    Choices,
    arrivals,
    decisions,
    hicks_law,
    log_evidence,
    subsets,
    trial_rates,
)
from pyrocount.models import make_vae
from pyrocount.suites.reaction_time import reaction_time

from cases import within
from contexts import context_of

RNG = np.random.default_rng(0)


def test_arrivals_are_poisson_counts_at_each_time():
    rates = np.tile([0.5, 4.0], (5000, 1))
    path = np.stack(list(arrivals(rates, 0.1, 12, RNG)))
    assert (np.diff(path, axis=0) >= 0).all()
    for step in (0, 4, 11):
        assert within(path[step], rates[0] * 0.1 * (step + 1))
        assert within((path[step] - path[step].mean(0)) ** 2, rates[0] * 0.1 * (step + 1))
    # What arrives later does not depend on what came.
    assert within((path[4] - path[4].mean(0)) * (path[11] - path[4]), np.zeros(2))


def test_rates_of_trials_have_the_variance_of_the_counts():
    mean, total_count = 3.0, 2.0
    moments = np.full((20_000, 1), mean), np.full((20_000, 1), mean * (1 + mean / total_count))
    rates = trial_rates(*moments, RNG)
    assert within(rates, [mean])
    assert within((rates - mean) ** 2, [mean**2 / total_count])
    np.testing.assert_array_equal(trial_rates(moments[0], moments[0], RNG), moments[0])


def test_the_evidence_is_that_of_bayes_rule():
    exemplars, labels = RNG.gamma(1.0, 2.0, (9, 4)), np.array([0, 2, 1, 1, 0, 2, 2, 2, 0])
    counts, time = RNG.poisson(2.0, (6, 4)), 0.7
    likelihood = stats.poisson.pmf(counts[:, None], time * exemplars).prod(2)
    by_hand = np.log(np.stack([likelihood[:, labels == label].mean(1) for label in range(3)], 1))
    found = log_evidence(counts, time, exemplars, labels)
    # Up to what does not depend on the label.
    np.testing.assert_allclose(found - found[:, :1], by_hand - by_hand[:, :1], atol=1e-10)


def test_decisions_come_at_the_first_entropy_below_the_bound():
    beliefs = np.array([[0.6, 0.4], [0.05, 0.95], [0.8, 0.2]])[:, None]
    entropies = stats.entropy(beliefs, base=2, axis=-1)[:, 0]
    bounds = [1.0, 0.9, entropies[1] - 0.01]
    steps, chosen = decisions(np.log(beliefs) + 7, bounds)
    assert steps[:, 0].tolist() == [0, 1, 2]
    assert chosen[:, 0].tolist() == [0, 1, 0]
    # Beliefs of 0 and 1 have no entropy.
    steps, _ = decisions(np.array([[[0.0, 0.0]], [[0.0, -np.inf]]]), [0.5])
    assert steps.tolist() == [[1]]


def test_beliefs_of_the_right_decoder_are_its_accuracy():
    """A Bayesian decides correctly as often as it believes to, whatever the bound at which it stops."""
    exemplars, labels = RNG.gamma(1.0, 3.0, (12, 5)), np.repeat(np.arange(4), 3)
    truth = RNG.integers(0, 12, 3000)
    paths = enumerate(arrivals(exemplars[truth], 0.05, 40, RNG), 1)
    evidence = np.stack([log_evidence(counts, 0.05 * step, exemplars, labels) for step, counts in paths])
    bounds = [1.5, 0.8, 0.2]
    steps, chosen = decisions(evidence, bounds)
    beliefs = np.exp(evidence - np.logaddexp.reduce(evidence, -1)[..., None])
    for place in range(3):
        believed = beliefs[steps[place], np.arange(3000)].max(1)
        assert within((chosen[place] == labels[truth]) - believed, 0.0)
    assert steps[0].mean() < steps[1].mean() < steps[2].mean()


def line(number, slope=0.3, spread=0.0):
    """Decisions whose reaction time at an accuracy of 3/4 is a line in bits, on 50 observations."""
    accuracy, base = np.array([0.5, 0.7, 0.8, 0.9]), 0.1 + slope * np.log2(number)
    trials = np.full(50, 4.0)
    times = base * np.array([0.2, 0.9, 1.1, 2.0])
    noise = 1 + spread * RNG.normal(size=50)
    return Choices(number, np.outer(accuracy, trials), np.outer(times, trials * noise), trials)


def test_times_are_interpolated_between_bounds():
    choices = line(4)
    assert choices.time_at(0.75) == pytest.approx(0.7)
    # Below the most lax bound, from a guess that takes no time; above the strictest, its time.
    assert choices.time_at(0.375) == pytest.approx(0.5 * 0.14)
    assert choices.time_at(0.95) == pytest.approx(1.4)
    weights = np.arange(50) == 3
    other = Choices(4, choices.correct * weights, choices.time * weights * 2, choices.trials)
    assert other.time_at(0.75, weights) == pytest.approx(1.4)


def test_hicks_law_finds_its_line():
    law = hicks_law([line(number) for number in (2, 4, 8, 10)], 0.75)
    assert (law.slope.mean, law.intercept, law.r2) == pytest.approx((0.3, 0.1, 1.0))
    assert (law.slope.low, law.slope.high) == pytest.approx((0.3, 0.3))
    np.testing.assert_allclose(law.times[:, 0], 0.1 + 0.3 * np.log2([2, 4, 8, 10]))
    noisy = hicks_law([line(number, spread=0.3) for number in (2, 4, 8)], 0.75)
    assert noisy.slope.low < 0.3 < noisy.slope.high
    assert noisy.slope.high - noisy.slope.low > 0.01
    with pytest.raises(InputError, match="choices: got 2 numbers of alternatives, expected at least 3"):
        hicks_law([line(2), line(3)], 0.75)


def test_subsets_are_different():
    found = subsets(10, 4, 20, RNG)
    assert len({tuple(one.tolist()) for one in found}) == 20
    assert all((np.diff(one) > 0).all() and len(one) == 4 for one in found)


def test_the_suite_times_decisions_on_digits():
    digits = load_dataset("digits", seed=0)
    vae = make_vae("poisson", digits.shape, latent_dim=12, encoder="lin").eval()
    with torch.no_grad():
        # So that the counts tell something, without training.
        vae.encoder[-1].weight.normal_(0, 0.25)
    result = reaction_time(context_of(as_backend(vae), digits, checked=150, train_observations=600))
    assert not result.remarks
    metrics = result.metrics
    # More alternatives take longer.
    assert 0 < metrics["hick_slope"].low < metrics["hick_slope"].mean < metrics["hick_slope"].high
    (table,) = result.tables
    times = [row[1] for row in table.rows]
    assert times == sorted(times)
    assert [row[0] for row in table.rows] == ["2", "3", "4", "6", "8", "10"]
    assert metrics["accuracy_compared"] <= metrics["accuracy_at_the_strictest_bound"]
    assert set(result.figures) == {"reaction_time"}


def test_without_counts_there_is_a_remark():
    digits = load_dataset("digits", seed=0)
    result = reaction_time(context_of(as_backend(make_vae("gaussian", digits.shape, latent_dim=4).eval()), digits))
    (remark,) = result.remarks
    assert remark.startswith("reaction time: RUN: got latents that are not counts")
