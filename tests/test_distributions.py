import copy
import math
import pickle

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch.distributions import constraints

from pyrocount import (
    ArrivalTimes,
    Discrete,
    GumbelSoftmax,
    RelaxedNegativeBinomial,
    RelaxedPoisson,
    SteinChen,
)
from pyrocount.distributions import elementwise, log_pmf

from cases import ARRIVALS, CASES, HARD, RELAXATIONS, Case, within

cases = pytest.mark.parametrize("case", CASES, ids=repr)
relaxations = pytest.mark.parametrize("relaxation", RELAXATIONS, ids=repr)
N = 50_000


@cases
@relaxations
def test_shapes_dtypes_and_devices(case: Case, relaxation, dtype, device):
    d = case(relaxation, dtype, device)
    assert d.batch_shape == (3,)
    assert d.event_shape == ()
    for shape in [(), (4,), (4, 2)]:
        draws = [d.sample(shape), d(shape)] + ([d.rsample(shape)] if relaxation.has_rsample else [])
        for z in draws:
            assert z.shape == (*shape, 3)
            assert z.dtype == dtype
            assert z.device.type == device.type
            assert d.log_prob(z).shape == (*shape, 3)
    if not isinstance(relaxation, GumbelSoftmax):
        assert d.mean.shape == d.variance.shape == (3,)
        assert d.mean.dtype == d.variance.dtype == dtype


@cases
def test_log_prob_is_scipys(case: Case, dtype):
    counts = torch.arange(60, dtype=dtype)[:, None]
    expected = case.scipy(**case.arguments).logpmf(counts.numpy())
    tolerance = 1e-12 if dtype == torch.float64 else 2e-5
    actual = case(Discrete(), dtype).log_prob(counts).numpy()
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


def test_log_prob_is_continued_by_the_gamma_function():
    z, r, logits, rate = 2.5, 1.7, -0.4, 3.1
    p = special.expit(logits)
    d = RelaxedNegativeBinomial(torch.tensor(r).double(), logits=torch.tensor(logits).double())
    expected = special.gammaln(z + r) - special.gammaln(r) - special.gammaln(z + 1) + r * np.log1p(-p) + z * np.log(p)
    assert d.log_prob(torch.tensor(z).double()).item() == pytest.approx(expected, rel=1e-7)
    d = RelaxedPoisson(torch.tensor(rate).double())
    expected = z * np.log(rate) - rate - special.gammaln(z + 1)
    assert d.log_prob(torch.tensor(z).double()).item() == pytest.approx(expected, rel=1e-7)


def test_zero_count_of_a_zero_rate_is_certain():
    assert RelaxedPoisson(0.0, relaxation=Discrete()).log_prob(torch.tensor(0.0)) == 0
    assert RelaxedPoisson(torch.zeros(5)).rsample().tolist() == [0.0] * 5


@cases
@pytest.mark.parametrize("relaxation", HARD, ids=repr)
def test_hard_counts_follow_their_law(case: Case, relaxation):
    d = case(relaxation)
    samples = (d.rsample if relaxation.has_rsample else d.sample)((N,)).detach().numpy()
    assert (samples == samples.round()).all()
    for column, values in enumerate(samples.T):
        distribution = case.scipy(**{name: value[column] for name, value in case.arguments.items()})
        # Bins with at least 20 expected counts; the last takes the tail.
        edges = np.arange(int(distribution.isf(20 / N)) + 1)
        observed = np.array([*(np.sum(values == k) for k in edges), np.sum(values > edges[-1])])
        expected = N * np.array([*distribution.pmf(edges), distribution.sf(edges[-1])])
        assert stats.chisquare(observed, expected).pvalue > 1e-4


@cases
@pytest.mark.parametrize("relaxation", [*ARRIVALS, *HARD], ids=repr)
def test_moments_are_those_of_the_samples(case: Case, relaxation):
    d = case(relaxation, torch.float64)
    z = d.sample((N,))
    assert within(z, d.mean)
    assert within((z - d.mean) ** 2, d.variance)


@cases
def test_counts_have_the_moments_of_scipy(case: Case):
    d = case(ArrivalTimes(1.0, "sigmoid"), torch.float64).counts
    distribution = case.scipy(**case.arguments)
    assert isinstance(d.relaxation, Discrete)
    np.testing.assert_allclose(d.mean, distribution.mean())
    np.testing.assert_allclose(d.variance, distribution.var())


def test_gradient_survives_an_underflowing_rate():
    log_rate = torch.tensor([-200.0, -95.0, 0.0], requires_grad=True)
    for relaxation in (SteinChen(), ArrivalTimes(0.1)):
        (gradient,) = torch.autograd.grad(
            RelaxedPoisson(log_rate=log_rate, relaxation=relaxation).rsample().sum(), log_rate
        )
        assert gradient.isfinite().all()


@pytest.mark.parametrize("relaxation", [*ARRIVALS, *HARD, GumbelSoftmax(1.0, 10)], ids=repr)
def test_a_rate_that_is_not_finite_gives_nan(relaxation):
    rate = torch.tensor([1.0, float("inf"), float("nan")])
    z = RelaxedPoisson(rate, relaxation=relaxation, validate_args=False).sample()
    assert z.isnan().tolist() == [False, True, True]


def test_a_second_derivative_through_a_sample_is_refused():
    rate = torch.tensor(2.0, requires_grad=True)
    (gradient,) = torch.autograd.grad(RelaxedPoisson(rate).rsample() ** 2, rate, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.backward()


@cases
@relaxations
def test_expand_keeps_the_class_and_everything_else(case: Case, relaxation):
    unchecked = case.cls(**{name: torch.ones(3) / 2 for name in case.arguments}, validate_args=False)
    assert not unchecked.expand((2, 3))._validate_args
    d = case(relaxation)
    value = d.sample()
    for wide in (d.expand((2, 3)), d.expand_by((2,)), d.expand([2, 1, 3]).expand((4, 2, 5, 3))):
        assert type(wide) is type(d)
        assert wide.relaxation is relaxation
        assert wide.batch_shape[-1:] == (3,)
        assert wide._validate_args == d._validate_args
        assert wide.sample((2,)).shape == (2, *wide.batch_shape)
        pairs = [(wide.log_prob(value), d.log_prob(value)), (wide.counts.mean, d.counts.mean)]
        if not isinstance(relaxation, GumbelSoftmax):
            pairs += [(wide.mean, d.mean), (wide.variance, d.variance)]
        for mine, theirs in pairs:
            torch.testing.assert_close(mine, theirs.expand(wide.batch_shape))
    assert d.expand((2, 3)).counts.batch_shape == (2, 3)
    with pytest.raises(RuntimeError):
        d.expand((4,))


@cases
def test_expand_from_one_element_and_sums_its_gradient(case: Case):
    parameters = {name: torch.tensor([value[1]], requires_grad=True) for name, value in case.arguments.items()}
    z = case.cls(**parameters, relaxation=SteinChen()).expand((1000, 1)).rsample()
    for parameter in parameters.values():
        (gradient,) = torch.autograd.grad(z.sum(), parameter, retain_graph=True)
        assert gradient.shape == (1,)
        assert gradient.abs() > 10


@cases
@relaxations
def test_copies_are_equal(case: Case, relaxation):
    d = case(relaxation)
    value = d.sample()
    for copied in (pickle.loads(pickle.dumps(d)), copy.deepcopy(d)):
        assert repr(copied.relaxation) == repr(relaxation)
        torch.testing.assert_close(copied.log_prob(value), d.log_prob(value))


@cases
@relaxations
def test_events_and_masks(case: Case, relaxation):
    d = case(relaxation)
    z = d.sample((4,))
    event = d.to_event(1)
    assert (event.batch_shape, event.event_shape) == ((), (3,))
    assert event.has_rsample == relaxation.has_rsample
    torch.testing.assert_close(event.log_prob(z), d.log_prob(z).sum(-1))
    masked = d.mask(torch.tensor([True, False, True]))
    assert masked.has_rsample == relaxation.has_rsample
    assert (masked.log_prob(z)[:, 1] == 0).all()
    torch.testing.assert_close(masked.log_prob(z)[:, 0], d.log_prob(z)[:, 0])


@cases
def test_support_follows_the_relaxation(case: Case):
    half = torch.full((3,), 0.5)
    for relaxation in RELAXATIONS:
        d = case(relaxation)
        assert d.support.is_discrete == relaxation.is_discrete
        if relaxation.is_discrete:
            assert d.support is constraints.nonnegative_integer
            with pytest.raises(ValueError, match="support"):
                d.log_prob(half)
        else:
            assert d.log_prob(half).isfinite().all()
        with pytest.raises(ValueError, match="support"):
            d.log_prob(-half)
    assert case.cls.infer_shapes(**{name: (3,) for name in case.arguments}) == ((3,), ())


def test_a_distribution_shows_its_relaxation():
    d = RelaxedPoisson(1.0, relaxation=SteinChen())
    assert repr(d) == "RelaxedPoisson(rate: 1.0, relaxation: SteinChen())"
    assert repr(d.counts) == "RelaxedPoisson(rate: 1.0, relaxation: Discrete())"


def test_discrete_has_no_gradient():
    d = RelaxedPoisson(torch.ones(3, requires_grad=True), relaxation=Discrete())
    assert not d.has_rsample
    assert not d.sample().requires_grad
    with pytest.raises(NotImplementedError, match="Discrete"):
        d.rsample()


def test_from_mean():
    d = RelaxedNegativeBinomial.from_mean(torch.tensor([0.5, 3.0]), 2.0)
    torch.testing.assert_close(d.mean, torch.tensor([0.5, 3.0]))
    torch.testing.assert_close(d.counts.variance, torch.tensor([0.5 * 1.25, 3.0 * 2.5]))


def test_parameters_of_two_dtypes_are_promoted():
    d = RelaxedNegativeBinomial(torch.ones(3), logits=torch.zeros(3, dtype=torch.float64))
    assert d.total_count.dtype == d.rsample().dtype == torch.float64


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: RelaxedPoisson(), ValueError, "rate or log_rate: got neither"),
        (lambda: RelaxedPoisson(1.0, 0.0), ValueError, "rate or log_rate: got rate and log_rate"),
        (lambda: RelaxedPoisson(torch.tensor(-1.0)), ValueError, "rate"),
        (lambda: RelaxedPoisson(log_rate=torch.tensor(float("nan"))), ValueError, "log_rate"),
        (lambda: RelaxedPoisson(torch.tensor(3)), TypeError, r"rate: got a tensor of dtype torch.int64"),
        (lambda: RelaxedPoisson(1.0, relaxation=0.1), TypeError, "relaxation: got 0.1"),
        (lambda: RelaxedNegativeBinomial(1.0), ValueError, "probs or logits: got neither"),
        (lambda: RelaxedNegativeBinomial(0.0, logits=0.0), ValueError, "total_count"),
        (lambda: RelaxedNegativeBinomial(1.0, probs=1.0), ValueError, "probs"),
    ],
)
def test_bad_arguments_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_log_prob_under_vmap():
    r, logits, k = torch.rand(4, 3) + 0.5, torch.randn(3), torch.tensor([[0.0], [2.0], [30.0], [1000.0]])

    def log_prob(r, logits, k):
        return RelaxedNegativeBinomial(r, logits=logits, validate_args=False).log_prob(k)

    expected = log_prob(r, logits, k)
    torch.testing.assert_close(torch.vmap(log_prob, (0, None, 0))(r, logits, k), expected)
    torch.testing.assert_close(torch.vmap(log_prob, (1, 0, None), out_dims=1)(r, logits, k.squeeze(1)), expected)
    nested = torch.vmap(torch.vmap(log_prob, (0, 0, None)), (0, None, 0))(r, logits, k.squeeze(1))
    torch.testing.assert_close(nested, expected)

    def poisson(rate, k):
        return RelaxedPoisson(rate, validate_args=False).log_prob(k)

    torch.testing.assert_close(torch.vmap(poisson, (0, None))(r, k[0]), poisson(r, k[0]))
    gradient = torch.func.vmap(torch.func.grad(lambda rate, k: poisson(rate, k).sum()), (0, None))(r, k[1])
    torch.testing.assert_close(gradient, 2 / r - 1)


@cases
def test_log_prob_has_first_and_second_derivatives(case: Case):
    """By finite differences, with respect to real counts as well."""
    values = {
        name: torch.tensor(value, dtype=torch.float64, requires_grad=True) for name, value in case.arguments.items()
    }
    for count in ([0.3, 2.0, 7.7], [17.0, 40.5, 16.2]):
        value = torch.tensor(count, dtype=torch.float64, requires_grad=True)

        def log_prob(value, *parameters):
            return case.cls(**dict(zip(values, parameters, strict=True)), validate_args=False).log_prob(value)

        assert torch.autograd.gradcheck(log_prob, (value, *values.values()))
        assert torch.autograd.gradgradcheck(log_prob, (value, *values.values()))


@cases
@pytest.mark.parametrize("relaxation", [ArrivalTimes(0.1), SteinChen(), GumbelSoftmax(0.5, 20)], ids=repr)
@pytest.mark.filterwarnings("ignore")  # torch's compiler warns of what it does itself
def test_compiled_programs_give_the_same(case: Case, relaxation):
    values = {name: torch.tensor(value) for name, value in case.arguments.items()}

    def draw(**values):
        d = case.cls(**values, relaxation=relaxation, validate_args=False)
        z = d.rsample((4,))
        return z, d.log_prob(z)

    torch._dynamo.reset()
    compiled = torch.compile(draw, backend="aot_eager")
    results = []
    for program in (draw, compiled):
        torch.manual_seed(0)
        leaves = {name: value.clone().requires_grad_() for name, value in values.items()}
        z, log_prob = program(**leaves)
        results.append([z, log_prob, *torch.autograd.grad((z + log_prob).sum(), list(leaves.values()))])
    for mine, reference in zip(*results, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-4, atol=1e-5)


@cases
@pytest.mark.parametrize("relaxation", [ArrivalTimes(0.3), SteinChen(), GumbelSoftmax(0.5, 200)], ids=repr)
@pytest.mark.parametrize("validate", [False, True])
def test_samples_under_vmap(case: Case, relaxation, validate):
    """Each row has random numbers of its own, or all have the same, as vmap's randomness says; and gradients."""
    n = 4000
    names, values = zip(*((name, torch.tensor(value)) for name, value in case.arguments.items()), strict=True)

    def sample(row, *parameters):
        d = case.cls(**dict(zip(names, parameters, strict=True)), relaxation=relaxation, validate_args=validate)
        return d.rsample()

    rows = torch.zeros(n)
    axes = (0, *[None] * len(values))
    z = torch.func.vmap(sample, axes, randomness="different")(rows, *values)
    wanted = case(relaxation).rsample((n,))
    spread = ((z.var(0) + wanted.var(0)) / n).sqrt()
    assert ((z.mean(0) - wanted.mean(0)).abs() <= 5 * spread).all()
    # Rows of large enough rates differ.
    assert len(z[:, -1].unique()) > 5
    same = torch.func.vmap(sample, axes, randomness="same")(rows[:50], *values)
    assert (same == same[0]).all()
    with pytest.raises(RuntimeError, match="randomness"):
        torch.func.vmap(sample, axes)(rows, *values)

    wide = [value.expand(n, *value.shape) for value in values]
    slope = torch.func.vmap(torch.func.grad(lambda *p: sample(None, *p).sum()), randomness="different")(*wide)
    leaves = [value.clone().requires_grad_() for value in wide]
    d = case.cls(**dict(zip(names, leaves, strict=True)), relaxation=relaxation)
    (reference,) = torch.autograd.grad(d.rsample().sum(), leaves[0])
    spread = ((slope.var(0) + reference.var(0)) / n).sqrt()
    assert ((slope.mean(0) - reference.mean(0)).abs() <= 5 * spread + 1e-6).all()


@cases
def test_a_missing_count_has_no_gradient(case: Case):
    """Behind a mask, which keeps its log probability but not the gradient of a NaN out."""
    leaves = {name: torch.tensor(value, requires_grad=True) for name, value in case.arguments.items()}
    x = torch.tensor([1.0, math.nan, 2.0])
    known = case.cls(**leaves, validate_args=False).mask(~x.isnan()).log_prob(x)
    filled = case.cls(**leaves, validate_args=False).mask(~x.isnan()).log_prob(x.nan_to_num())
    torch.testing.assert_close(known, filled)
    for name, gradient in zip(leaves, torch.autograd.grad(known.sum(), list(leaves.values())), strict=True):
        (wanted,) = torch.autograd.grad(filled.sum(), leaves[name], retain_graph=True)
        torch.testing.assert_close(gradient, wanted)


@cases
@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision(case: Case, half):
    d = case(ArrivalTimes(0.1), half)
    torch.manual_seed(0)
    z = d.rsample((4000,))
    assert z.dtype == half
    mean = torch.tensor(case.scipy(**case.arguments).mean())
    error = 5 * (z.double().var(0) / len(z)).sqrt() + 3 * torch.finfo(half).eps * mean
    assert ((z.double().mean(0) - mean).abs() <= error).all()
    counts = torch.tensor([0.0, 1.0, 3.0], dtype=half)
    wanted = case().log_prob(counts.float())
    torch.testing.assert_close(d.log_prob(counts).float(), wanted, rtol=20 * torch.finfo(half).eps, atol=0.0)
    assert torch.distributions.kl_divergence(d, d.expand((3,))).dtype == half


@cases
@pytest.mark.parametrize("expanded", [(4000, 3), (40, 100, 3)], ids=str)
def test_a_table_of_counts_gives_what_the_counts_do_one_by_one(case: Case, expanded, dtype, monkeypatch):
    """Many counts of few parameters are looked up; counts between whole numbers and missing ones are not."""
    torch.manual_seed(0)
    tables = []

    def spied(function, count, *parameters):
        chosen, arguments = elementwise.tabulated(function, count, *parameters)
        tables.extend(["table"] if chosen is not function else [])
        return chosen, arguments

    monkeypatch.setattr(log_pmf, "tabulated", spied)

    def of(counts):
        parameters = {name: torch.tensor(value, dtype=dtype) for name, value in case.arguments.items()}
        for each in (counts, *parameters.values()):
            each.requires_grad_(True)
        log_prob = case.cls(**parameters, relaxation=Discrete(), validate_args=False).log_prob(counts)
        return log_prob, torch.autograd.grad(log_prob.nansum(), (counts, *parameters.values()))

    counts = case(Discrete(), dtype).sample(expanded[:-1])
    looked_up = of(counts.clone())
    assert tables
    for value in (0.5, math.nan):
        del tables[:]
        log_prob, _ = of(counts.index_fill(0, torch.tensor([3]), value))
        assert not tables
        assert log_prob[3].isnan().all() == math.isnan(value)
        kept = [row for row in range(len(counts)) if row != 3]
        torch.testing.assert_close(log_prob[kept], looked_up[0][kept])
    monkeypatch.setattr(elementwise, "LARGER", 1e9)
    del tables[:]
    found = of(counts.clone())
    assert not tables
    torch.testing.assert_close(found[0], looked_up[0])
    # Gradients in parameters are sums over 4000 counts, each of which is rounded.
    rounding = 4000 * torch.finfo(dtype).eps
    torch.testing.assert_close(found[1], looked_up[1], rtol=1e-5, atol=rounding)
