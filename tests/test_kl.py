import pyro
import pytest
import torch
from torch import tensor
from torch.distributions import constraints, kl_divergence

from pyrocount import ArrivalTimes, Discrete, RelaxedNegativeBinomial, RelaxedPoisson, SteinChen

COUNTS = torch.arange(4000, dtype=torch.float64)[:, None]


def brute_force(q, p):
    log_q = q.counts.log_prob(COUNTS)
    return (log_q.exp() * (log_q - p.counts.log_prob(COUNTS))).sum(0)


def poisson(log_rate, relaxation=ArrivalTimes(0.1)):
    return RelaxedPoisson(log_rate=log_rate, relaxation=relaxation)


@pytest.mark.parametrize("relaxation", [ArrivalTimes(0.1), SteinChen(), Discrete()], ids=repr)
def test_poisson(relaxation):
    q = tensor([-3.0, 0.0, 2.0, 4.0]).double().requires_grad_()
    p = tensor([-1.0, 0.3, 2.0, 3.0]).double().requires_grad_()
    actual = kl_divergence(poisson(q, relaxation), poisson(p, relaxation))
    expected = brute_force(poisson(q), poisson(p))
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-12)
    for mine, theirs in zip(*(torch.autograd.grad(kl.sum(), [q, p]) for kl in (actual, expected)), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("relaxation", [ArrivalTimes(0.1), SteinChen(), Discrete()], ids=repr)
def test_negative_binomial_of_shared_total_count(relaxation):
    r = tensor([0.1, 1.0, 5.0, 30.0]).double().requires_grad_()
    q = tensor([2.0, 0.0, 1.5, -1.0]).double().requires_grad_()
    p = tensor([-1.0, 0.3, 1.5, 0.0]).double().requires_grad_()
    pair = [RelaxedNegativeBinomial(r, logits=logits, relaxation=relaxation) for logits in (q, p)]
    actual, expected = kl_divergence(*pair), brute_force(*pair)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)
    for mine, theirs in zip(*(torch.autograd.grad(kl.sum(), [r, q, p]) for kl in (actual, expected)), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-11)


def nb(total_count, logits=0.5):
    return RelaxedNegativeBinomial(total_count, logits=torch.full((3,), logits))


def test_total_counts_that_differ_have_no_closed_form():
    for q, p in [(1.0, 2.0), (torch.ones(3), tensor([1.0, 1.0, 1.5]))]:
        with pytest.raises(NotImplementedError, match="shared total_count"):
            kl_divergence(nb(q), nb(p))


def test_total_counts_that_merely_coincide_are_not_shared():
    """The closed form would give each the derivative of a shared one."""
    r, other = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    for q, p in [(r, other), (r, r.detach()), (r, 1.0), (r * other, r), (r.exp(), (r + 0 * other).exp())]:
        with pytest.raises(NotImplementedError, match="shared total_count"):
            kl_divergence(nb(q), nb(p))


def test_total_counts_that_are_computed_alike_are_shared():
    r = torch.zeros(3, requires_grad=True)
    for q, p in [(1.0, torch.ones(3)), (r.exp(), r.exp()), (r.exp().expand(2, 3), r.exp())]:
        assert (kl_divergence(nb(q), nb(p, -0.5)) > 0).all()
    with pytest.raises(NotImplementedError):
        kl_divergence(nb(r + 1.0), nb(r + 2.0))

    def total_count():
        return pyro.param("r", torch.ones(3), constraint=constraints.positive)

    assert total_count() is not total_count()
    assert (kl_divergence(nb(total_count()), nb(total_count(), -0.5)) > 0).all()


@pytest.mark.parametrize("make", [lambda x: poisson(x), lambda x: RelaxedNegativeBinomial(2.0, logits=x)])
def test_events_masks_and_expansion(make):
    q, p = make(tensor([0.0, 1.0, 2.0])), make(tensor([0.5, 0.5, 0.5]))
    kl = kl_divergence(q, p)
    assert (kl > 0).all()
    torch.testing.assert_close(kl_divergence(q.to_event(1), p.to_event(1)), kl.sum())
    torch.testing.assert_close(kl_divergence(q.expand((4, 3)), p.expand((4, 3))), kl.expand(4, 3))
    mask = tensor([True, False, True])
    torch.testing.assert_close(kl_divergence(q.mask(mask), p.mask(mask)), kl * mask)
    torch.testing.assert_close(kl_divergence(q, q), torch.zeros(3))
