"""Spikes of a code and what a probe reads from them."""

import numpy as np
import pytest
import torch
from scipy import stats

from pyrocount.backends import as_backend
from pyrocount.data import load_dataset
from pyrocount.metrics.energy import bits_per_spike_of_latents, probe_hits, spikes_per_observation, thinned
from pyrocount.models import make_vae
from pyrocount.suites.energy import PARTS, energy

from cases import within
from contexts import context_of

RNG = np.random.default_rng(0)


def test_thinned_poisson_counts_are_poisson_counts():
    kept = thinned(RNG.poisson(3.0, 20_000), 0.4, RNG)
    seen = np.bincount(kept, minlength=7)
    expected = stats.poisson.pmf(np.arange(6), 1.2)
    expected = 20_000 * np.append(expected, 1 - expected.sum())
    assert stats.chisquare(np.append(seen[:6], seen[6:].sum()), expected).pvalue > 1e-3
    np.testing.assert_array_equal(thinned(np.array([[0.0, 4.0]]), 1.0, RNG), [[0, 4]])


def test_the_bits_of_a_spike():
    assert bits_per_spike_of_latents(6 * np.log(2), 3.0) == pytest.approx(2)
    assert np.isnan(bits_per_spike_of_latents(1.0, 0.0))


def test_the_probe_of_two_counts_is_as_good_as_the_best_decision():
    """Counts of two rates: the best rule compares them with the rate where both are equally likely."""
    labels, tested = RNG.integers(0, 2, 4000), RNG.integers(0, 2, 4000)
    rates = np.array([2.0, 6.0])
    codes, others = (RNG.poisson(rates[part])[:, None] for part in (labels, tested))
    counts = np.arange(40)
    best = np.maximum(*(stats.poisson.pmf(counts, rate) for rate in rates)).sum() / 2
    hits = probe_hits(codes, labels, others, tested)
    assert hits.mean() == pytest.approx(best, abs=4.5 * np.sqrt(best * (1 - best) / 4000))


@pytest.fixture
def digits():
    return load_dataset("digits", seed=0)


def test_the_suite_counts_spikes_and_reads_labels(digits):
    vae = make_vae("poisson", digits.shape, latent_dim=8, encoder="lin").eval()
    with torch.no_grad():
        # So that the counts tell something, without training.
        vae.encoder[-1].weight.normal_(0, 0.1)
    backend = as_backend(vae)
    context = context_of(backend, digits, train_observations=300)
    result = energy(context)
    evaluation = context.evaluation
    totals = spikes_per_observation(evaluation.counts[0])
    assert within(totals, 8 * evaluation.metrics["mean_rate"])
    found = result.metrics
    assert found["spikes_per_observation"].mean == totals.mean()
    bits = evaluation.metrics["kl"] / np.log(2) / totals.mean()
    assert found["latent_bits_per_spike"] == pytest.approx(bits, rel=1e-5)
    # Of five parts of the spikes the last is all.
    (table,) = result.tables
    assert [row[0] for row in table.rows] == ["5%", "10%", "20%", "50%", "100%"]
    assert len(table.rows) == len(PARTS)
    assert table.rows[-1][2] == found["accuracy"].mean > found["most_frequent_label"]
    assert found["probed"] == 300
    assert set(result.figures) == {"energy"}


def test_without_counts_or_labels_there_is_a_remark(digits):
    result = energy(context_of(as_backend(make_vae("gaussian", digits.shape, latent_dim=4).eval()), digits))
    (remark,) = result.remarks
    assert remark.startswith("energy: RUN: got latents that are not counts")
    assert not result.metrics
    unlabelled = type(digits)("digits", digits.train, digits.test, digits.offset, digits.scale)
    result = energy(context_of(as_backend(make_vae("poisson", digits.shape, latent_dim=4).eval()), unlabelled))
    (remark,) = result.remarks
    assert remark.startswith("accuracy: data: got digits without labels")
    assert set(result.metrics) == {"spikes_per_observation", "latent_bits_per_spike"}
    assert set(result.figures) == {"energy"}
