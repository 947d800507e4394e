import math
from itertools import product

import pyro
import pytest
import torch
from pyro.distributions import NegativeBinomial as PyroNegativeBinomial
from torch import tensor
from torch.distributions import NegativeBinomial, Poisson, constraints, kl_divergence

from pyrocount import ArrivalTimes, Discrete, RelaxedNegativeBinomial, RelaxedPoisson, SteinChen
from pyrocount.distributions import kl as kl_module

COUNTS = torch.arange(4000, dtype=torch.float64)[:, None]
RELAXATIONS = [ArrivalTimes(0.1), SteinChen(), Discrete()]


def brute_force(q, p):
    log_q, log_p = (getattr(d, "counts", d).log_prob(COUNTS) for d in (q, p))
    return (log_q.exp() * (log_q - log_p)).sum(0)


def leaf(*values):
    return tensor(values, dtype=torch.float64, requires_grad=True)


FAMILIES = {
    "poisson": (RelaxedPoisson, {"rate": (0.05, 1.0, 7.0, 40.0)}),
    "poisson-log": (RelaxedPoisson, {"log_rate": (-1.0, 0.3, 2.0, 3.0)}),
    "negbin": (RelaxedNegativeBinomial, {"total_count": (0.3, 1.0, 5.0, 30.0), "logits": (2.0, 0.0, 1.5, -1.0)}),
    "negbin-probs": (RelaxedNegativeBinomial, {"total_count": (2.0, 0.1, 4.0, 3.0), "probs": (0.3, 0.5, 0.8, 0.9)}),
    "torch-poisson": (Poisson, {"rate": (0.3, 3.0, 1.0, 30.0)}),
    "torch-negbin": (NegativeBinomial, {"total_count": (1.0, 2.0, 3.0, 20.0), "logits": (1.0, -1.0, 0.0, 0.5)}),
    "pyro-negbin": (PyroNegativeBinomial, {"total_count": (1.0, 2.0, 3.0, 20.0), "probs": (0.2, 0.6, 0.5, 0.1)}),
}
PAIRS = [
    (q, p) for q, p in product(FAMILIES, FAMILIES) if not q.startswith(("torch", "pyro")) or p[:3] in ("poi", "neg")
]


@pytest.mark.parametrize(("q", "p"), PAIRS)
def test_every_pair_and_its_gradient_is_the_sum_over_counts(q, p):
    leaves, pair = [], []
    for cls, arguments in (FAMILIES[q], FAMILIES[p]):
        own = {name: leaf(*values) for name, values in arguments.items()}
        leaves += own.values()
        pair.append(cls(**own))
    actual, expected = kl_divergence(*pair), brute_force(*pair)
    torch.testing.assert_close(actual, expected, rtol=1e-8, atol=1e-9)
    for mine, theirs in zip(*(torch.autograd.grad(kl.sum(), leaves) for kl in (actual, expected)), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("relaxation", RELAXATIONS, ids=repr)
def test_it_is_that_of_the_counts_for_every_relaxation(relaxation):
    for cls, arguments in (FAMILIES["poisson"], FAMILIES["negbin"]):
        q, p = (
            cls(**{name: leaf(*values) for name, values in arguments.items()}, relaxation=r)
            for r in (relaxation, Discrete())
        )
        assert (kl_divergence(q, p) == 0).all()


@pytest.mark.parametrize("shared", [True, False], ids=["shared", "coinciding"])
@pytest.mark.parametrize("given", ["logits", "probs"])
def test_total_counts_of_equal_values_have_the_gradients_of_their_own(shared, given):
    r = leaf(0.1, 1.0, 5.0, 30.0)
    s = r if shared else r.detach().clone().requires_grad_()
    q, p = (
        (leaf(2.0, 0.0, 1.5, -1.0), leaf(-1.0, 0.3, 1.5, 0.0))
        if given == "logits"
        else (leaf(0.9, 0.5, 0.8, 0.3), leaf(0.3, 0.6, 0.8, 0.5))
    )
    pair = RelaxedNegativeBinomial(r, **{given: q}), RelaxedNegativeBinomial(s, **{given: p})
    actual, expected = kl_divergence(*pair), brute_force(*pair)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)
    leaves = [q, p, r] if shared else [q, p, r, s]
    for mine, theirs in zip(*(torch.autograd.grad(kl.sum(), leaves) for kl in (actual, expected)), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-10)


def test_the_integral_is_skipped_where_the_total_count_is_shared(monkeypatch):
    def integral(*arguments, **options):
        raise AssertionError("integrated")

    monkeypatch.setattr(kl_module, "dispersion_divergence", integral)
    r = torch.zeros(3, requires_grad=True)

    def parameter():
        return pyro.param("r", torch.ones(3), constraint=constraints.positive)

    assert parameter() is not parameter()
    for q, p in [(1.0, torch.ones(3)), (r.exp(), r.exp()), (r.exp().expand(2, 3), r.exp()), (parameter(), parameter())]:
        pair = [
            RelaxedNegativeBinomial(total_count, logits=torch.full((3,), x)) for total_count, x in ((q, 0.5), (p, -0.5))
        ]
        assert (kl_divergence(*pair) > 0).all()
    with pytest.raises(AssertionError, match="integrated"):
        kl_divergence(RelaxedNegativeBinomial(1.0, logits=0.0), RelaxedNegativeBinomial(2.0, logits=0.0))


@pytest.mark.parametrize("given", [torch.float32, torch.float64], ids=str)
def test_gradients_of_nearly_equal_total_counts(given):
    """The divergence of a small gap is tiny; its derivatives are small differences of terms that are not."""
    r, gap, mean = (
        each.flatten()
        for each in torch.meshgrid(
            tensor([0.3, 1.0, 5.0, 20.0]),
            tensor([0.0, 1e-12, 1e-6, 1e-3, 0.1]),
            tensor([0.1, 1.0, 10.0, 60.0]),
            indexing="ij",
        )
    )
    sizes = [(r * (1 + sign * gap)).to(given) for sign in (1, -1)]
    found = []
    for dtype, divergence in ((given, kl_divergence), (torch.float64, brute_force)):
        leaves = [size.to(dtype).requires_grad_() for size in sizes]
        pair = [RelaxedNegativeBinomial(size, logits=(mean / r).log().to(dtype)) for size in leaves]
        found.append(torch.autograd.grad(divergence(*pair).sum(), leaves))
    tolerance = 1e-7 if given == torch.float64 else 2e-4
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine.double(), theirs, rtol=tolerance, atol=tolerance)


def test_the_integral_has_second_derivatives():
    def kl(r, s, logits):
        return kl_divergence(*(RelaxedNegativeBinomial(size, logits=logits, validate_args=False) for size in (r, s)))

    arguments = leaf(1.0, 2.0, 0.5), leaf(2.0, 0.3, 7.0), leaf(0.3, 0.3, -1.0)
    assert torch.autograd.gradgradcheck(kl, arguments)


def test_a_rate_of_0_has_the_limit():
    zero, one = RelaxedPoisson(0.0), RelaxedPoisson(1.0)
    assert kl_divergence(zero, one) == 1.0
    assert kl_divergence(one, zero) == float("inf")
    p = RelaxedNegativeBinomial(2.0, logits=0.0)
    assert kl_divergence(RelaxedNegativeBinomial(2.0, probs=0.0), p).item() == pytest.approx(
        -p.log_prob(tensor(0.0)).item()
    )


ZERO = {
    "Poisson": lambda rate: RelaxedPoisson(rate),
    "negative binomial": lambda probs: RelaxedNegativeBinomial(2.0, probs=probs),
    "another negative binomial": lambda probs: RelaxedNegativeBinomial(3.0, probs=probs),
    "torch's Poisson": lambda rate: torch.distributions.Poisson(rate),
    "torch's negative binomial": lambda probs: torch.distributions.NegativeBinomial(2.0, probs=probs),
}


@pytest.mark.parametrize("values", [(0.0, 0.3), (0.3, 0.0), (0.0, 0.0)])
@pytest.mark.parametrize(("q", "p"), [(q, p) for q in ZERO for p in ZERO if "torch" not in q or "torch" not in p])
def test_the_boundary_of_the_parameters(q, p, values):
    """A rate or a probability of 0 has the exact divergence, and finite gradients."""
    parameters = [torch.tensor([value, 0.2, 0.3], dtype=torch.float64, requires_grad=True) for value in values]
    divergence = kl_divergence(ZERO[q](parameters[0]), ZERO[p](parameters[1]))
    mass_at_0 = ZERO[p](parameters[1]).log_prob(torch.zeros(3, dtype=torch.float64))[0]
    wanted = math.inf if values[0] > 0 else -mass_at_0.item()
    assert divergence[0].item() == pytest.approx(wanted, abs=1e-12)
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(divergence.sum(), parameters))
    inside = [torch.tensor([0.2, 0.3], dtype=torch.float64)] * 2
    torch.testing.assert_close(divergence[1:], kl_divergence(ZERO[q](inside[0]), ZERO[p](inside[1])))


@pytest.mark.parametrize(
    "make",
    [
        lambda x: RelaxedPoisson(log_rate=x),
        lambda x: RelaxedNegativeBinomial(2.0, logits=x),
        lambda x: RelaxedNegativeBinomial(1.0 + x, logits=x),
    ],
    ids=["poisson", "shared", "free"],
)
def test_events_masks_and_expansion(make):
    q, p = make(tensor([0.0, 1.0, 2.0])), make(tensor([0.5, 0.5, 0.5]))
    kl = kl_divergence(q, p)
    assert (kl > 0).all()
    torch.testing.assert_close(kl_divergence(q.to_event(1), p.to_event(1)), kl.sum())
    torch.testing.assert_close(kl_divergence(q.expand((4, 3)), p.expand((4, 3))), kl.expand(4, 3))
    torch.testing.assert_close(kl_divergence(q.expand((4, 3)), p), kl.expand(4, 3))
    mask = tensor([True, False, True])
    torch.testing.assert_close(kl_divergence(q.mask(mask), p.mask(mask)), kl * mask)
    torch.testing.assert_close(kl_divergence(q.mask(mask), p), kl * mask)
    torch.testing.assert_close(kl_divergence(q, p.mask(mask)), kl * mask)
    torch.testing.assert_close(kl_divergence(q.mask(mask).to_event(1), p.to_event(1)), (kl * mask).sum())
    torch.testing.assert_close(kl_divergence(q, q), torch.zeros(3))


@pytest.mark.parametrize("family", ["shared", "free", "poisson"])
def test_divergences_under_vmap(family):
    def kl(x, y):
        if family == "poisson":
            q, p = (RelaxedPoisson(log_rate=u, validate_args=False) for u in (x, y))
        else:
            sizes = (2.0, 2.0) if family == "shared" else (1 + x.exp(), 2 + y.exp())
            q, p = (
                RelaxedNegativeBinomial(r, logits=u, validate_args=False) for r, u in zip(sizes, (x, y), strict=True)
            )
        return kl_divergence(q, p)

    torch.manual_seed(0)
    x, y = torch.randn(5, 3, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    torch.testing.assert_close(torch.func.vmap(kl, (0, None))(x, y), kl(x, y), rtol=1e-7, atol=1e-9)
    slopes = torch.func.vmap(torch.func.grad(lambda x, y: kl(x, y).sum()), (0, None))(x, y)
    leaf = x.clone().requires_grad_()
    torch.testing.assert_close(slopes, torch.autograd.grad(kl(leaf, y).sum(), leaf)[0], rtol=1e-6, atol=1e-8)
