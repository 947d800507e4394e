"""The NumPyro twin: the numbers of the torch classes, under JAX's transformations and in NumPyro's inference."""

import copy
import dataclasses
import pickle
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import torch
from numpyro.contrib.control_flow import scan
from numpyro.distributions.batch_util import vmap_over
from numpyro.infer import SVI, Trace_ELBO, TraceMeanField_ELBO
from scipy import stats
from torch.distributions import kl_divergence

import pyrocount
import pyrocount.numpyro as twin
from pyrocount.errors import InputError

RELAXATIONS = [
    ("ArrivalTimes", {"temperature": 0.1}),
    ("ArrivalTimes", {"temperature": 2.5}),
    ("ArrivalTimes", {"temperature": 0.3, "indicator": "sigmoid"}),
    ("ArrivalTimes", {"temperature": 0.1, "hard": True}),
    ("GumbelSoftmax", {"temperature": 0.5, "max_count": 60}),
    ("SteinChen", {}),
    ("StraightThrough", {}),
    ("Discrete", {}),
]
HARD = [(name, arguments) for name, arguments in RELAXATIONS if not arguments or "hard" in arguments]
CLOSED = [(name, arguments) for name, arguments in RELAXATIONS if name != "GumbelSoftmax"]
PARAMETERS = [
    ("RelaxedPoisson", {"rate": [0.05, 1.0, 7.5]}),
    ("RelaxedPoisson", {"log_rate": [-3.0, 0.0, 2.0]}),
    ("RelaxedNegativeBinomial", {"total_count": [0.3, 2.0, 20.0], "logits": [0.4, -1.5, -0.7]}),
    ("RelaxedNegativeBinomial", {"total_count": [0.3, 2.0, 20.0], "probs": [0.6, 0.2, 0.3]}),
    ("RelaxedNegativeBinomial", {"total_count": [0.5, 2.0, 7.0], "logits": [0.0, -1.0, 1.0]}),
]


@pytest.fixture
def x64():
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


def ours(parameters, relaxation=("ArrivalTimes", {"temperature": 0.1}), **options):
    name, arguments = parameters
    arrays = {key: jnp.asarray(value, float) for key, value in arguments.items()}
    return getattr(twin, name)(**arrays, relaxation=made(twin, relaxation), **options)


def theirs(parameters, relaxation=("ArrivalTimes", {"temperature": 0.1})):
    name, arguments = parameters
    tensors = {key: torch.tensor(value, dtype=torch.float64) for key, value in arguments.items()}
    return getattr(pyrocount, name)(**tensors, relaxation=made(pyrocount, relaxation))


def made(module, relaxation):
    name, arguments = relaxation
    return getattr(module, name)(**arguments)


def close(jax_array, tensor, tolerance):
    """Within the tolerance, relative or, where the value is under 1, absolute."""
    np.testing.assert_allclose(np.asarray(jax_array), tensor.numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("parameters", PARAMETERS)
@pytest.mark.parametrize("relaxation", CLOSED)
def test_moments_are_those_of_torch(x64, parameters, relaxation):
    for moment in ("mean", "variance"):
        close(getattr(ours(parameters, relaxation), moment), getattr(theirs(parameters, relaxation), moment), 1e-12)


@pytest.mark.parametrize("name", ["rate", "log_rate", "probs", "logits"])
def test_log_probs_are_those_of_torch(x64, name):
    wide = 10.0 ** np.arange(-8, 9)
    counts = np.r_[0, 1, 0.3, 2, 15.5, 16, 10.0 ** np.arange(2, 9)]
    parameter = {"rate": wide, "log_rate": np.log(wide), "probs": wide / (1 + wide), "logits": np.log(wide)}[name]
    names = {name} if name.endswith("rate") else {name, "total_count"}
    cls = "RelaxedPoisson" if name.endswith("rate") else "RelaxedNegativeBinomial"
    k, r, parameter = np.meshgrid(counts, wide if "total_count" in names else [1.0], parameter, indexing="ij")
    arguments = {key: {"total_count": r, name: parameter}[key] for key in names}
    expected = getattr(pyrocount, cls)(
        **{key: torch.from_numpy(value) for key, value in arguments.items()}, validate_args=False
    ).log_prob(torch.from_numpy(k))
    close(getattr(twin, cls)(**arguments).log_prob(k), expected, 1e-12)


@pytest.mark.parametrize("q", PARAMETERS)
@pytest.mark.parametrize("p", PARAMETERS)
def test_divergences_are_those_of_torch(x64, q, p):
    close(dist.kl_divergence(ours(q), ours(p)), kl_divergence(theirs(q), theirs(p)), 1e-12)


@pytest.mark.parametrize("values", [(0.0, 0.3), (0.3, 0.0), (0.0, 0.0)])
def test_the_boundary_of_the_parameters(values):
    """A rate or a probability of 0 has the exact divergence, and finite gradients."""
    made = {
        "Poisson": lambda rate: twin.RelaxedPoisson(rate, validate_args=False),
        "negative binomial": lambda probs: twin.RelaxedNegativeBinomial(2.0, probs=probs, validate_args=False),
        "another": lambda probs: twin.RelaxedNegativeBinomial(3.0, probs=probs, validate_args=False),
        "NumPyro's": lambda rate: dist.Poisson(rate, validate_args=False),
    }
    for q, p in product(made, made):
        if q == p == "NumPyro's":
            continue

        def divergence(first, second, q=q, p=p):
            return dist.kl_divergence(made[q](first), made[p](second))

        wanted = np.inf if values[0] > 0 else -float(made[p](values[1]).log_prob(0.0))
        assert float(divergence(*values)) == pytest.approx(wanted, abs=1e-6)
        assert np.isfinite(jax.grad(divergence, (0, 1))(*values)).all()


def test_divergences_from_numpyros_own_classes(x64):
    total_count, rate = jnp.array([0.3, 2.0]), jnp.array([1.0, 7.0])
    poisson = twin.RelaxedPoisson(rate + 1), dist.Poisson(rate + 1)
    for negative_binomial in (
        (twin.RelaxedNegativeBinomial(total_count, logits=rate), dist.NegativeBinomialLogits(total_count, rate)),
        (twin.RelaxedNegativeBinomial(total_count, probs=0.3), dist.NegativeBinomialProbs(total_count, 0.3)),
        (twin.RelaxedNegativeBinomial.from_mean(rate, total_count), dist.NegativeBinomial2(rate, total_count)),
        (twin.RelaxedNegativeBinomial(total_count, probs=0.25), dist.GammaPoisson(total_count, 3.0)),
    ):
        for (q, q_own), (p, p_own) in product((poisson, negative_binomial), repeat=2):
            expected = dist.kl_divergence(q, p)
            np.testing.assert_allclose(dist.kl_divergence(q_own, p), expected, rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(dist.kl_divergence(q, p_own), expected, rtol=1e-12, atol=1e-12)


def test_gradients_of_log_prob_and_divergence_are_those_of_torch(x64):
    r, logits, z = np.array([0.3, 2.0, 50.0]), np.array([0.4, -1.5, 2.0]), np.array([0.0, 3.0, 500.0])

    def jax_value(r, logits):
        q = twin.RelaxedNegativeBinomial(r, logits=logits)
        p = twin.RelaxedNegativeBinomial(r[::-1], logits=-logits)
        return (q.log_prob(z) + dist.kl_divergence(q, p)).sum()

    def torch_value(r, logits):
        q = pyrocount.RelaxedNegativeBinomial(r, logits=logits)
        p = pyrocount.RelaxedNegativeBinomial(r.flip(0), logits=-logits)
        return (q.log_prob(torch.from_numpy(z)) + kl_divergence(q, p)).sum()

    tensors = [torch.from_numpy(array).requires_grad_() for array in (r, logits)]
    expected = torch.autograd.grad(torch_value(*tensors), tensors)
    for gradient, wanted in zip(jax.grad(jax_value, (0, 1))(r, logits), expected, strict=True):
        close(gradient, wanted, 1e-10)
    hessian = torch.autograd.functional.hessian(torch_value, tuple(tensors))
    ours = jax.hessian(jax_value, (0, 1))(r, logits)
    for i, j in product(range(2), repeat=2):
        close(ours[i][j], hessian[i][j].detach(), 1e-8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nothing_is_nan_or_infinite(x64, dtype):
    limits = np.finfo(dtype)
    wide = np.array([limits.tiny, 1e-8, 1e-3, 1, 1e3, 1e8, limits.max], dtype)
    k, r, mean = (array.ravel() for array in np.meshgrid(np.r_[0, wide[2:]].astype(dtype), wide, wide))
    for value, arguments in [
        (lambda k, rate: twin.RelaxedPoisson(rate, validate_args=False).log_prob(k), (k, mean)),
        (lambda k, u: twin.RelaxedPoisson(log_rate=u, validate_args=False).log_prob(k), (k, np.log(mean))),
        (
            lambda k, r, u: twin.RelaxedNegativeBinomial(r, logits=u, validate_args=False).log_prob(k),
            (k, r, np.log(mean)),
        ),
    ]:
        assert value(*arguments).dtype == dtype
        gradients = jax.grad(lambda *arguments, value=value: value(*arguments).sum(), range(len(arguments)))(*arguments)
        for array in (value(*arguments), *gradients):
            assert np.isfinite(array).all()


@pytest.mark.parametrize("arguments", [{"temperature": 0.02}, {"temperature": 0.5}, {"temperature": 1.0}])
@pytest.mark.parametrize("indicator", ["cubic", "sigmoid"])
@pytest.mark.parametrize("hard", [False, True])
def test_arrival_times_map_the_same_noise_to_the_same_path(x64, arguments, indicator, hard):
    rate = 6.0
    times = np.random.default_rng(0).exponential(size=(50, 40)).cumsum(1) / rate
    width = arguments["temperature"] * (1 if indicator == "cubic" else 36)
    times = np.clip(times, 1 - width, 1 + width)
    relaxed = {**arguments, "indicator": indicator, "hard": hard}
    value, slope = twin.ArrivalTimes(**relaxed).contribution(jnp.asarray(times), arguments["temperature"])
    wanted, steepness = pyrocount.ArrivalTimes(**relaxed).contribution(torch.from_numpy(times), **arguments)
    close(value.sum(1), wanted.sum(1), 1e-10)
    close(slope.sum(1), steepness.sum(1), 1e-10)


def test_gumbel_softmax_maps_the_same_noise_to_the_same_path(x64):
    rng = np.random.default_rng(0)
    rate, noise = rng.exponential(5, 30), rng.gumbel(size=(30, 41))
    for temperature in (0.1, 1.0):
        value, slope = twin.GumbelSoftmax(temperature, 40).soft(jnp.asarray(rate), lambda k: jnp.asarray(noise)[:, k])
        wanted, steepness = pyrocount.GumbelSoftmax(temperature, 40).soft(
            torch.from_numpy(rate), torch.from_numpy(noise.copy()), temperature
        )
        close(value, wanted, 1e-10)
        close(slope, steepness, 1e-10)


@pytest.mark.parametrize("relaxation", RELAXATIONS[:6])
def test_samples_have_the_law_of_torchs(relaxation):
    n, parameters = 40_000, PARAMETERS[2]
    z = np.asarray(ours(parameters, relaxation).sample(jax.random.key(0), (n,)), np.float64)
    torch.manual_seed(0)
    wanted = theirs(parameters, relaxation).sample((n,)).numpy()
    for a, b in zip(z.T, wanted.T, strict=True):
        for power in (1, 2):
            error = np.sqrt(((a**power).var() + (b**power).var()) / n)
            assert abs((a**power).mean() - (b**power).mean()) < 5 * error
    assert (z == np.round(z)).all() == (relaxation in HARD)


@pytest.mark.parametrize("relaxation", [case for case in RELAXATIONS if case[0] != "Discrete"])
def test_derivatives_have_the_law_of_torchs(relaxation):
    n = 40_000
    rate = jnp.tile(jnp.array([0.05, 1.0, 7.5]), (n, 1))
    drawn = made(twin, relaxation).draw(jax.random.key(0), rate)
    value, slope = (np.asarray(array, np.float64) for array in drawn)
    torch.manual_seed(0)
    drawn = made(pyrocount, relaxation).draw(torch.from_numpy(np.asarray(rate, np.float64)))
    wanted, steepness = (tensor.numpy() for tensor in drawn)
    for a, b in [(slope, steepness), (slope**2, steepness**2), (slope * value, steepness * wanted)]:
        error = np.sqrt((a.var(0) + b.var(0)) / n)
        assert (np.abs(a.mean(0) - b.mean(0)) <= 5 * error + 1e-5).all()


def test_gradients_reach_the_parameters():
    key = jax.random.key(0)
    r, logits = jnp.array([0.5, 3.0]), jnp.array([0.3, -0.5])

    def mean(r, logits):
        z = twin.RelaxedNegativeBinomial(r, logits=logits).sample(key, (100_000,))
        return z.mean(0).sum()

    for_r, for_logits = jax.grad(mean, (0, 1))(r, logits)
    # The standard error of a mean of derivatives is of the order of that of the counts.
    error = 5 * np.sqrt(np.asarray(r * jnp.exp(logits) * (1 + jnp.exp(logits))) / 100_000)
    np.testing.assert_array_less(np.abs(for_r - jnp.exp(logits)), 3 * error)
    np.testing.assert_array_less(np.abs(for_logits - r * jnp.exp(logits)), 3 * error)
    gradient = jax.grad(lambda u: twin.RelaxedPoisson(log_rate=u, relaxation=twin.SteinChen()).sample(key, (3,)).sum())(
        jnp.array(-200.0)
    )
    assert gradient == 0


@pytest.mark.parametrize("parameters", PARAMETERS)
def test_log_prob_under_transformations(parameters):
    d = ours(parameters)
    log_prob = d.log_prob(2.0)
    np.testing.assert_allclose(jax.jit(lambda d: d.log_prob(2.0))(d), log_prob, rtol=1e-5)
    axes = vmap_over(d, **dict.fromkeys(d.parameters, 0))
    np.testing.assert_allclose(jax.vmap(lambda d: d.log_prob(2.0), in_axes=(axes,))(d), log_prob, rtol=1e-5)
    for other in (jax.tree.unflatten(*jax.tree.flatten(d)[::-1]), copy.deepcopy(d), pickle.loads(pickle.dumps(d))):
        assert type(other) is type(d)
        assert other.relaxation == d.relaxation
        np.testing.assert_array_equal(other.log_prob(2.0), log_prob)


@pytest.mark.parametrize("relaxation", [RELAXATIONS[0], RELAXATIONS[4], RELAXATIONS[7]])
def test_samples_under_transformations(relaxation):
    d, keys = ours(PARAMETERS[2], relaxation), jax.random.split(jax.random.key(1), 5)
    drawn = d.sample(keys[0])
    assert drawn.shape == (3,)
    assert drawn.dtype == jnp.float32
    np.testing.assert_allclose(jax.jit(lambda d, key: d.sample(key))(d, keys[0]), drawn, rtol=1e-5, atol=1e-5)
    one_by_one = jax.lax.scan(lambda d, key: (d, d.sample(key)), d, keys)[1]
    np.testing.assert_allclose(one_by_one[0], drawn, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(jax.vmap(lambda key: d.sample(key))(keys), one_by_one, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("total_count", "odds"), [(0.1, 1.0), (2.0, 1.0), (40.0, 0.05), (0.5, 5.0), (1e6, 1e-6)])
def test_negative_binomial_counts_have_their_distribution(total_count, odds):
    number = 200_000
    d = twin.RelaxedNegativeBinomial(total_count, logits=np.log(odds), relaxation=twin.SteinChen())
    drawn = np.asarray(d.sample(jax.random.key(5), (number,)))
    distribution = stats.nbinom(total_count, 1 / (1 + odds))
    expected = number * distribution.pmf(np.arange(200))
    # Cells of at least five counts; the last one takes the rest.
    cells = int((expected > 5).sum()) - 1
    observed = np.bincount(np.minimum(drawn, cells).astype(int), minlength=cells + 1)
    expected = np.r_[expected[:cells], number * distribution.sf(cells - 1)]
    assert stats.chisquare(observed, expected * number / expected.sum()).pvalue > 1e-4


def test_few_negative_binomial_counts_that_are_not_small_are_drawn_among_many_that_are():
    r, odds = (np.tile(each, 5000).astype(np.float32) for each in ([1.0, 200.0, 0.05, 2.0], [0.3, 1.0, 40.0, 0.1]))
    d = twin.RelaxedNegativeBinomial(r, logits=np.log(odds), relaxation=twin.Discrete())
    drawn = np.asarray(d.sample(jax.random.key(0), (5,))).reshape(-1, 4).astype(float)
    mean = (r * odds)[:4]
    assert (drawn == drawn.round()).all()
    assert (abs(drawn.mean(0) - mean) <= 5 * np.sqrt(mean * (1 + odds[:4]) / len(drawn))).all()


def test_log_prob_in_float32_is_that_of_float64():
    k, r, mean = (each.ravel() for each in np.meshgrid([0, 1, 3, 12, 31, 40, 500], *[np.logspace(-6, 6, 13)] * 2))
    d = twin.RelaxedNegativeBinomial(r.astype(np.float32), logits=np.log(mean / r).astype(np.float32))
    logits, total_count = (torch.tensor(np.asarray(each)).double() for each in (d.logits, d.total_count))
    wanted = pyrocount.RelaxedNegativeBinomial(total_count, logits=logits).log_prob(torch.tensor(k)).numpy()
    few = k < 32
    error = abs(np.asarray(d.log_prob(k.astype(np.float32))) - wanted) / np.maximum(1, abs(wanted))
    assert error[few].max() < 1e-5


@pytest.mark.parametrize("relaxation", RELAXATIONS)
def test_what_a_relaxation_says(relaxation):
    d = ours(PARAMETERS[0], relaxation)
    assert d.has_rsample == (relaxation[0] != "Discrete")
    assert d.support.is_discrete == (not d.has_rsample)
    assert d.support(2.0)
    assert d.support(0.5) == (relaxation not in HARD)
    assert not d.support(-1.0)
    assert d.counts.relaxation == twin.Discrete()


def test_a_temperature_may_be_traced_or_differ_between_counts():
    rate, key = jnp.array([1.0, 5.0]), jax.random.key(0)

    @jax.jit
    def draw(temperature):
        return twin.RelaxedPoisson(rate, relaxation=twin.ArrivalTimes(temperature)).sample(key, (5,))

    fixed = twin.RelaxedPoisson(rate, relaxation=twin.ArrivalTimes(0.3)).sample(key, (5,))
    np.testing.assert_allclose(draw(0.3), fixed, rtol=1e-5)
    np.testing.assert_allclose(draw(jnp.array([0.3, 0.3])), fixed, rtol=1e-5)
    assert draw._cache_size() == 2
    assert not jax.grad(lambda temperature: draw(temperature).sum())(0.3)


def test_a_distribution_is_a_pytree_of_anything():
    d = ours(PARAMETERS[2])
    slopes = jax.grad(lambda d: d.log_prob(2.0).sum())(d)
    assert slopes.relaxation.temperature == 0
    assert (slopes.parameters["logits"] != 0).all()
    assert not jax.tree.map(jnp.zeros_like, d).parameters["total_count"].any()
    assert jax.eval_shape(lambda d: d, d).parameters["logits"].shape == (3,)


@pytest.mark.parametrize("steps", [3, 5])
@pytest.mark.parametrize("temperature", [0.1, np.array([0.1, 0.2, 0.3], np.float32)])
def test_numpyros_scan(steps, temperature):
    logits = jnp.array([0.0, 1.0, 2.0])

    def step(carry, offset):
        q = twin.RelaxedNegativeBinomial(2.0, logits=logits + offset, relaxation=twin.ArrivalTimes(temperature))
        return carry, numpyro.sample("z", q.to_event(1))

    def model():
        return scan(step, None, jnp.arange(float(steps)))[1]

    site = numpyro.handlers.trace(numpyro.handlers.seed(model, 0)).get_trace()["z"]
    assert site["value"].shape == (steps, 3)
    wanted = [
        twin.RelaxedNegativeBinomial(2.0, logits=logits + n).to_event(1).log_prob(site["value"][n])
        for n in range(steps)
    ]
    np.testing.assert_allclose(site["fn"].log_prob(site["value"]), wanted, rtol=1e-5)
    assert site["fn"].base_dist.mean.shape == (steps, 3)


def test_expanded_masked_and_independent_keep_the_divergence():
    q, p = ours(PARAMETERS[2]), ours(PARAMETERS[4])
    kl = dist.kl_divergence(q, p)
    np.testing.assert_allclose(dist.kl_divergence(q.expand((4, 3)), p), jnp.tile(kl, (4, 1)), rtol=1e-6)
    np.testing.assert_allclose(dist.kl_divergence(q.to_event(1), p.to_event(1)), kl.sum(), rtol=1e-6)
    mask = jnp.array([True, False, True])
    for masked in [(q.mask(mask), p), (q, p.mask(mask)), (q.mask(mask), p.mask(mask))]:
        np.testing.assert_allclose(dist.kl_divergence(*masked), kl * mask, rtol=1e-6)


def test_a_shared_total_count_has_the_closed_form_also_when_traced(monkeypatch):
    monkeypatch.setattr("pyrocount.numpyro.kl.dispersion_divergence", lambda *arguments: pytest.fail("an integral"))

    @jax.jit
    def divergence(r, logits):
        q = twin.RelaxedNegativeBinomial(r, logits=logits)
        return dist.kl_divergence(q.expand((5, 2)), twin.RelaxedNegativeBinomial(r, logits=0.0))

    assert divergence(jnp.array([1.0, 2.0]), jnp.array([0.3, 0.0])).shape == (5, 2)


@pytest.mark.parametrize(
    ("loss", "relaxation"),
    [*product([TraceMeanField_ELBO], RELAXATIONS[::2]), *product([Trace_ELBO], RELAXATIONS[3:6:2])],
)
def test_svi(loss, relaxation):
    x = jnp.asarray(np.random.default_rng(0).normal([3.0, 0.0, 1.0], 1, (20, 3)))

    def model(x):
        with numpyro.plate("data", len(x)):
            z = numpyro.sample("z", ours(("RelaxedPoisson", {"log_rate": [0.0] * 3}), relaxation).to_event(1))
            numpyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        r = numpyro.param("r", jnp.ones(3), constraint=dist.constraints.positive)
        logits = numpyro.param("logits", jnp.zeros(3))
        q = twin.RelaxedNegativeBinomial(r, logits=logits, relaxation=made(twin, relaxation))
        with numpyro.plate("data", len(x)):
            numpyro.sample("z", q.to_event(1))

    svi = SVI(model, guide, numpyro.optim.Adam(0.03), loss(num_particles=4))
    result = svi.run(jax.random.key(0), 200, x, progress_bar=False)
    assert np.isfinite(result.losses).all()
    assert result.losses[-20:].mean() < result.losses[:20].mean() - 5
    mean = result.params["r"] * jnp.exp(result.params["logits"])
    assert mean[0] > 1.5 > mean[2] > mean[1]


def test_the_mean_field_elbo_takes_the_divergence():
    q, p = ours(PARAMETERS[2]), ours(PARAMETERS[1])

    def model():
        numpyro.sample("z", p.to_event(1))

    def guide():
        numpyro.sample("z", q.to_event(1))

    loss = TraceMeanField_ELBO().loss(jax.random.key(0), {}, model, guide)
    np.testing.assert_allclose(loss, dist.kl_divergence(q, p).sum(), rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: twin.ArrivalTimes(0.0), "temperature: got 0.0, expected a positive number; exact counts are Discrete"),
        (lambda: twin.ArrivalTimes(jnp.array([1.0, -1.0])), "temperature: got \\[1.0, -1.0\\], expected positive"),
        (lambda: twin.ArrivalTimes(0.1, "square"), "indicator: got 'square', expected one of cubic, sigmoid"),
        (lambda: twin.ArrivalTimes("0.1"), "temperature: got '0.1', expected a positive number or an array"),
        (lambda: twin.GumbelSoftmax(0.1, 0), "max_count: got 0"),
        (lambda: twin.GumbelSoftmax(0.1, 5.0), "max_count: got 5.0"),
        (
            lambda: twin.poisson(jax.random.key(0), jnp.array([3, 4])),
            "rate: got an array of dtype int32, expected a floating",
        ),
        (lambda: twin.RelaxedPoisson(), "rate or log_rate: got neither"),
        (lambda: twin.RelaxedPoisson(1.0, 1.0), "rate or log_rate: got rate and log_rate"),
        (lambda: twin.RelaxedNegativeBinomial(1.0), "probs or logits: got neither"),
        (lambda: twin.RelaxedPoisson(1.0).sample(7), "key: got 7"),
        (
            lambda: twin.RelaxedPoisson(jnp.inf).sample(jax.random.key(0)),
            "rate: got NaN or infinite values for 1 of 1 rates",
        ),
        (
            lambda: twin.RelaxedPoisson(jnp.ones(3), relaxation=twin.ArrivalTimes(jnp.ones(2))),
            "temperature: got an array of shape \\(2,\\), expected a shape that broadcasts to the batch shape \\(3,\\)",
        ),
    ],
)
def test_bad_arguments(make, words):
    with pytest.raises(InputError, match=words), numpyro.validation_enabled():
        make()


def test_bad_parameters_and_values():
    with numpyro.validation_enabled():
        for make in (
            lambda: twin.RelaxedPoisson(-1.0),
            lambda: twin.RelaxedNegativeBinomial(0.0, logits=0.0),
            lambda: twin.RelaxedNegativeBinomial(1.0, probs=1.5),
        ):
            with pytest.raises(ValueError, match="invalid"):
                make()
        with pytest.raises(TypeError, match="rate: got an array of dtype int32"):
            twin.RelaxedPoisson(jnp.array([1, 2]))
        with pytest.raises(TypeError, match="relaxation: got 3"):
            twin.RelaxedPoisson(1.0, relaxation=3)
        with pytest.warns(UserWarning, match="Out-of-support"):
            twin.RelaxedPoisson(1.0, relaxation=twin.SteinChen()).log_prob(0.5)
        with pytest.warns(UserWarning, match="counts above 16777216 are rounded"):
            twin.RelaxedPoisson(1e8, relaxation=twin.Discrete()).sample(jax.random.key(0))
        with pytest.warns(UserWarning, match="max_count: got 5"):
            twin.RelaxedPoisson(9.0, relaxation=twin.GumbelSoftmax(0.1, 5)).sample(jax.random.key(0))
    with pytest.raises(NotImplementedError, match="no closed form"):
        _ = twin.RelaxedPoisson(1.0, relaxation=twin.GumbelSoftmax(0.1, 5)).mean


@pytest.mark.parametrize(
    ("make", "theirs"),
    [
        (lambda bad: twin.RelaxedPoisson(bad, validate_args=True), lambda bad: dist.Poisson(bad, validate_args=True)),
        (
            lambda bad: twin.RelaxedNegativeBinomial(2.0, probs=bad, validate_args=True),
            lambda bad: dist.BinomialProbs(bad, 3, validate_args=True),
        ),
    ],
)
@pytest.mark.parametrize("constant", [-1.0, -1, np.array([0.5, -1.0]), jnp.array([-1.0]), np.nan])
def test_constants_in_a_traced_constructor_are_validated_as_numpyros(make, theirs, constant):
    for each in (make, theirs):
        with pytest.raises(ValueError, match=r"got invalid (rate|probs) parameter"):
            jax.jit(lambda x, each=each: x + each(constant).log_prob(1.0))(0.0)
        # Traced values are unknown.
        jax.jit(lambda x, each=each: each(x).log_prob(1.0))(0.5)


@pytest.mark.parametrize("relaxation", CLOSED[:-1])
def test_counts_of_large_rates_have_their_moments(relaxation):
    n, rates = 1000, jnp.array([3000.0, 1e6, 1.6e7, 1e8, 1e9])
    relaxation = made(twin, relaxation)
    z, slopes = relaxation.draw(jax.random.key(0), jnp.tile(rates, (n, 1)))
    # The derivative of a hard count is that of the soft one.
    soft = dataclasses.replace(relaxation, hard=False) if getattr(relaxation, "hard", False) else relaxation
    for value, slope, rate in zip(np.asarray(z.T, float), np.asarray(slopes.T, float), rates.tolist(), strict=True):
        mean, variance = (float(factor) * rate for factor in relaxation.moment_factors())
        mean_slope = float(soft.moment_factors()[0]) * rate
        rounding = 4 * float(jnp.finfo(float).eps) * mean
        assert abs(value.mean() - mean) <= 5 * np.sqrt(variance / n) + rounding
        # A normal sample's variance has the standard error sqrt(2 / n).
        assert abs(value.var() / variance - 1) <= 5 * np.sqrt(2 / n) + rounding**2 / variance
        assert abs(slope.mean() - mean_slope) <= 5 * slope.std() / np.sqrt(n) + rounding
        assert stats.kstest((value - mean) / np.sqrt(variance), "norm").pvalue > 1e-4
        # Larger numbers of single precision are all whole.
        if rate < 2**22:
            assert relaxation.is_discrete == (value == np.round(value)).all()


def test_counts_beyond_the_largest_rate_are_refused_or_nan():
    for relaxation in (twin.ArrivalTimes(0.1), twin.SteinChen()):
        for array in relaxation.draw(jax.random.key(0), jnp.full(2, 6e9)):
            assert jnp.isnan(array).all()
        d = twin.RelaxedPoisson(6e9, relaxation=relaxation, validate_args=True)
        with pytest.raises(InputError, match=r"rate: got rates up to 6e\+09, expected rates of at most 2.15e\+09"):
            d.sample(jax.random.key(0))


def test_no_rates_give_no_counts():
    for relaxation in RELAXATIONS:
        assert ours(("RelaxedPoisson", {"rate": []}), relaxation).sample(jax.random.key(0)).shape == (0,)
