"""Negative-binomial counts that are drawn together by inversion."""

import numpy as np
import pytest
import torch
from scipy import stats

from pyrocount import RelaxedNegativeBinomial
from pyrocount.distributions import SteinChen, inversion
from pyrocount.distributions.negative_binomial_sampler import negative_binomial

N = 400_000


@pytest.mark.parametrize(("total_count", "odds"), [(0.1, 2.0), (0.5, 0.3), (1.0, 0.5), (3.0, 1e-3), (40.0, 0.03)])
def test_goodness_of_fit(total_count, odds, dtype):
    torch.manual_seed(0)
    drawn = negative_binomial(*(torch.full((N,), value, dtype=dtype) for value in (total_count, odds)))
    assert drawn.dtype == dtype
    distribution = stats.nbinom(total_count, 1 / (1 + odds))
    expected = N * distribution.pmf(np.arange(200))
    # Cells of at least five counts; the last one takes the rest.
    cells = int((expected > 5).sum())
    observed = np.bincount(drawn.clamp(max=cells).long().numpy(), minlength=cells + 1)
    expected = np.r_[expected[:cells], N * distribution.sf(cells - 1)]
    if expected[-1] < 5:
        observed, expected = (np.r_[each[:-2], each[-2:].sum()] for each in (observed, expected))
    assert stats.chisquare(observed, expected * N / expected.sum()).pvalue > 1e-4


def test_large_means_and_odds_among_many_small_ones():
    torch.manual_seed(0)
    r = torch.tensor([1.0, 200.0, 0.05, 2.0, 1e-6, 1e6]).repeat(2000, 20)
    odds = torch.tensor([0.3, 1.0, 40.0, 0.1, 1e-6, 1e-6]).repeat(2000, 20)
    drawn = torch.stack([negative_binomial(r, odds) for _ in range(5)]).double().view(-1, 6)
    mean = (r * odds)[0, :6].double()
    variance = mean * (1 + odds[0, :6].double())
    assert (drawn == drawn.round()).all()
    assert ((drawn.mean(0) - mean).abs() <= 5 * (variance / len(drawn)).sqrt()).all()
    squares = (drawn - mean) ** 2
    assert ((squares.mean(0) - variance).abs() <= 5 * squares.std(0) / len(drawn) ** 0.5 + 1e-9).all()


def test_tails_far_out():
    torch.manual_seed(0)
    drawn = torch.cat([negative_binomial(torch.full((10**6,), 2.0), torch.full((10**6,), 0.9)) for _ in range(5)])
    for count in (12, 20, 25):
        expected = len(drawn) * stats.nbinom(2, 1 / 1.9).sf(count - 1)
        assert abs(int((drawn >= count).sum()) - expected) < 5 * expected**0.5


def test_uniform_numbers_that_no_sum_of_probabilities_reaches_end_the_count(monkeypatch):
    monkeypatch.setattr(torch, "rand_like", torch.ones_like)
    rate = torch.tensor([1e-3, 16.0], dtype=torch.float64)
    assert (inversion.invert((-rate).exp(), rate) <= inversion.BEYOND).all()


def test_the_distribution_draws_by_inversion_only_where_that_is_exact_and_fast(monkeypatch):
    calls = []
    monkeypatch.setattr("pyrocount.distributions.negative_binomial_sampler.invert", lambda *given: calls.append(0))
    many = torch.zeros(10_000)
    for logits in (many + 2.0, torch.zeros(100), many.to("meta")):
        d = RelaxedNegativeBinomial(1.0, logits=logits, relaxation=SteinChen(), validate_args=False)
        assert d.rsample().shape == logits.shape
    assert not calls
