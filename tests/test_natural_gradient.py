"""Iterative inference: the families' natural gradients, the loop, and the closed form of linear decoders."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from jax.tree_util import Partial
from numpyro.distributions.kl import kl_divergence

from pyrocount.errors import InputError
from pyrocount.inference.natural_families import (
    GaussianFamily,
    NegativeBinomialFamily,
    PointFamily,
    PoissonFamily,
    family_of,
)
from pyrocount.inference.natural_gradient import Dynamics, Snapshot, State, infer, infer_sequence, make_problem
from pyrocount.inference.objectives import LinearGaussian
from pyrocount.numpyro import RelaxedNegativeBinomial, RelaxedPoisson

K, D, N = 5, 8, 3
RNG = np.random.default_rng(0)
DICTIONARY = jnp.asarray(0.4 * RNG.normal(size=(K, D)), jnp.float32)
X = jnp.asarray(RNG.normal(size=(N, D)), jnp.float32)
PRIORS = {
    "poisson": RelaxedPoisson(log_rate=jnp.linspace(-1, 1, K)),
    "numpyro poisson": dist.Poisson(jnp.ones(K)),
    "negbio": RelaxedNegativeBinomial(jnp.full(K, 2.0), logits=jnp.zeros(K)),
    "numpyro negbio": dist.NegativeBinomial2(jnp.ones(K), jnp.full(K, 3.0)),
    "gaussian": dist.Normal(jnp.zeros(K), 0.5),
}
FAMILIES = [PoissonFamily(), NegativeBinomialFamily(jnp.array([0.7, 3.0, 40.0])), GaussianFamily()]


def program(prior, x):
    with numpyro.plate("data", len(x)):
        z = numpyro.sample("z", prior.to_event(1))
        numpyro.sample("x", dist.Normal(z @ DICTIONARY + 0.1, 0.7).to_event(1), obs=x)


def potentials_of(family):
    at = jnp.array([-1.0, 0.2, 0.9])
    return (at, jnp.array([-0.5, 0.0, 0.4])) if isinstance(family, GaussianFamily) else at


def fisher(family, potentials, key, n):
    """The Fisher information of each latent by Monte Carlo: the variance of the score."""
    z = family.distribution(potentials).counts if family.is_count else family.distribution(potentials)
    z = z.sample(key, (n,))

    def log_prob(potentials, z):
        return family.distribution(potentials).log_prob(z).sum()

    score = jax.vmap(jax.grad(log_prob), (None, 0))(potentials, z)
    return jax.tree.map(lambda part: jnp.square(part).mean(0), score)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: type(family).__name__)
def test_the_leak_is_the_preconditioned_gradient_of_the_divergence(family):
    potentials = potentials_of(family)
    prior = jax.tree.map(lambda part: 0.5 * part + 0.3, potentials)
    gradient = jax.grad(lambda at: family.kl(at, prior).sum())(potentials)
    information = fisher(family, potentials, jax.random.key(0), 200_000)
    wanted = jax.tree.map(lambda part, scale: part / scale, gradient, information)
    # The variance of a square of a score has a relative standard error of a few times 200,000^(-1/2).
    jax.tree.map(
        lambda ours, theirs: np.testing.assert_allclose(ours, theirs, rtol=0.04, atol=1e-3),
        family.leak(potentials, prior),
        wanted,
    )


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: type(family).__name__)
def test_the_exact_drive_is_an_unbiased_natural_gradient(family):
    potentials = potentials_of(family)
    n = 400_000

    def f(z):
        return 0.3 * z**2 - z + jnp.tanh(z)

    distribution = family.distribution(potentials)
    z = (distribution.counts if family.is_count else distribution).sample(jax.random.key(1), (n,))
    slope = f(z + 1) - f(z) if family.is_count else jax.vmap(jax.vmap(jax.grad(f)))(z)
    estimates = family.natural_gradient(potentials, z, slope, "exact")

    if family.is_count:
        values = jnp.arange(400.0)[:, None]

        def expectation(at):
            return (jnp.exp(family.distribution(at).log_prob(values)) * f(values)).sum()
    else:
        nodes, weights = np.polynomial.hermite_e.hermegauss(60)

        def expectation(at):
            points = at[0] + jnp.exp(at[1]) * nodes[:, None]
            return (weights[:, None] / weights.sum() * f(points)).sum()

    gradient = jax.grad(expectation)(potentials)
    information = exact_information(family, potentials)

    def compare(estimate, gradient, information):
        error = estimate.mean(0) - gradient / information
        assert (jnp.abs(error) < 5 * estimate.std(0) / n**0.5 + 1e-4).all()

    jax.tree.map(compare, estimates, gradient, information)


def exact_information(family, potentials):
    if isinstance(family, GaussianFamily):
        return jnp.exp(-2 * potentials[1]), jnp.full(3, 2.0)
    values = jnp.arange(400.0)[:, None]

    def log_probs(at):
        return family.distribution(at).log_prob(values)

    score = jax.jvp(log_probs, (potentials,), (jnp.ones(3),))[1]
    return (jnp.exp(log_probs(potentials)) * score**2).sum(0)


def test_the_sampled_drive_misses_half_the_curvature():
    family, rate = PoissonFamily(), 0.8
    z = RelaxedPoisson(jnp.full(200_000, rate)).counts.sample(jax.random.key(0))
    sampled = family.natural_gradient(jnp.log(rate), z, 2 * 0.3 * z, "sampled").mean()
    exact = family.natural_gradient(jnp.log(rate), z, 0.3 * ((z + 1) ** 2 - z**2), "exact").mean()
    assert exact - sampled == pytest.approx(0.3, abs=1e-5)


LINEAR = LinearGaussian(DICTIONARY, jnp.array(0.1), jnp.array(0.7))


@pytest.mark.parametrize(
    ("name", "drive", "leak"),
    [
        ("poisson", "sampled", 0.3),
        ("numpyro poisson", "exact", None),
        ("negbio", "exact", 0.3),
        ("numpyro negbio", "sampled", None),
        ("gaussian", "sampled", 0.3),
    ],
)
def test_a_step_of_the_closed_form_is_that_of_the_generic_path(name, drive, leak):
    model = Partial(program, PRIORS[name])
    # A step so large that nothing is clamped.
    options = {"drive": drive, "dynamics": Dynamics(0.05, leak, max_step=1e6)}
    z = jnp.asarray(RNG.poisson(1.5, (N, K)), jnp.float32)
    slopes, moved = [], []
    for problem in (make_problem(model, X, **options), make_problem(model, X, objective=LINEAR, **options)):
        terms = problem.objective(z, X)
        slopes.append((terms, problem.slope(terms, z, X)))
        moved.append(problem.moved(State(jax.tree.map(lambda part: part + 0.1, problem.prior), z), slopes[-1][1]))
    for one, other in (slopes, moved):
        jax.tree.map(lambda ours, theirs: np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5), one, other)
    change = jax.tree.map(lambda new, old: jnp.abs(new - old).max(), moved[0], problem.prior)
    assert max(jax.tree.leaves(change)) > 0.01


@pytest.mark.parametrize(("name", "drive", "leak"), [("poisson", "exact", 0.3), ("negbio", "sampled", None)])
def test_an_inference_by_the_closed_form_is_that_of_the_generic_path(name, drive, leak):
    model = Partial(program, PRIORS[name])
    options = {"drive": drive, "dynamics": Dynamics(0.05, leak, max_step=1e6)}
    generic = infer(jax.random.key(1), make_problem(model, X, **options), X, steps=12)
    closed = infer(jax.random.key(1), make_problem(model, X, objective=LINEAR, **options), X, steps=12)
    np.testing.assert_array_equal(generic.trajectory.z, closed.trajectory.z)
    for field in Snapshot._fields:
        ours, theirs = getattr(closed.trajectory, field), getattr(generic.trajectory, field)
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-4, err_msg=field)


def test_what_a_step_records():
    model = Partial(program, PRIORS["poisson"])
    problem = make_problem(model, X, dynamics=Dynamics(0.1))
    path = infer(jax.random.key(0), problem, X, steps=6).trajectory
    assert path.z.shape == path.rate.shape == path.potentials.shape == (6, N, K)
    np.testing.assert_allclose(path.rate, np.exp(path.potentials), rtol=1e-5)
    np.testing.assert_allclose(path.reconstruction, path.z @ DICTIONARY + 0.1, rtol=1e-5, atol=1e-5)
    distribution = dist.Normal(path.reconstruction, 0.7)
    np.testing.assert_allclose(path.nll, -distribution.log_prob(X).sum(-1), rtol=1e-5)
    steps = [
        kl_divergence(RelaxedPoisson(log_rate=new), RelaxedPoisson(log_rate=old)).sum(-1)
        for old, new in pairwise(path.potentials)
    ]
    np.testing.assert_allclose(path.kl[1:], steps, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(path.free_energy, path.nll + path.kl)
    leaking = make_problem(model, X, dynamics=Dynamics(0.1, leak=0.5))
    path = infer(jax.random.key(0), leaking, X, steps=6).trajectory
    prior = kl_divergence(RelaxedPoisson(log_rate=path.potentials), PRIORS["poisson"]).sum(-1)
    np.testing.assert_allclose(path.kl, prior, rtol=1e-4, atol=1e-5)


def test_online_inference_finds_the_latents():
    key = jax.random.key(3)
    wanted = RelaxedPoisson(jnp.full((40, K), 3.0)).counts.sample(key)
    x = wanted @ DICTIONARY + 0.1 + 0.02 * jax.random.normal(key, (40, D))
    problem = make_problem(Partial(program, PRIORS["poisson"]), x, dynamics=Dynamics(0.05), objective=LINEAR)
    path = infer(key, problem, x, steps=1500).trajectory
    late = path.rate[-200:].mean(0)
    assert np.corrcoef(late.ravel(), wanted.ravel())[0, 1] > 0.95


def test_predictive_coding_reaches_the_ridge_solution():
    problem = make_problem(
        Partial(program, dist.Normal(jnp.zeros(K), 1.0)), X, family=PointFamily, dynamics=Dynamics(0.05, leak=1.0)
    )
    state = infer(jax.random.key(0), problem, X, steps=3000).state
    gram = DICTIONARY @ DICTIONARY.T / 0.7**2 + jnp.eye(K)
    np.testing.assert_allclose(state.z, jnp.linalg.solve(gram, DICTIONARY @ (X - 0.1).T / 0.7**2).T, atol=1e-4)


def test_chunks_and_carried_states_change_no_number():
    problem = make_problem(Partial(program, PRIORS["negbio"]), X, dynamics=Dynamics(0.1))
    whole = infer(jax.random.key(0), problem, X, steps=10)
    parts = infer(jax.random.key(0), problem, X, steps=10, chunk=5)
    assert isinstance(parts.trajectory.z, np.ndarray)
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-5), whole, parts)


def test_a_sequence_carries_its_state_over():
    problem = make_problem(Partial(program, PRIORS["poisson"]), X, dynamics=Dynamics(0.1))
    frames = jnp.stack([X, X, -X])
    result = infer_sequence(jax.random.key(0), problem, frames, steps=50)
    path = result.trajectory
    assert path.z.shape == (150, N, K)
    np.testing.assert_array_equal(path.z[-1], result.state.z)
    # The first step after a switch starts from where the last one was, not from the prior.
    jumps = np.abs(np.diff(path.potentials, axis=0)).max((1, 2))
    from_prior = np.abs(path.potentials[49] - PRIORS["poisson"].log_rate).max()
    assert jumps[49] < from_prior
    # A switch of the input costs free energy, more of it carries on at no cost.
    energy = path.free_energy.mean(1)
    assert energy[100] > 1.2 * energy[90:100].mean()
    assert energy[50] < 1.2 * energy[40:50].mean()
    with pytest.raises(InputError, match="frames"):
        infer_sequence(jax.random.key(0), problem, frames[:0], steps=5)


@pytest.mark.parametrize(
    ("prior", "max_step", "limit"),
    [
        ("poisson", None, 1.0),
        ("negbio", None, 4.0),
        ("numpyro negbio", None, 4.0),
        ("poisson", 0.7, 0.7),
        ("negbio", 0.7, 0.7),
    ],
)
def test_steps_are_clamped_symmetrically(prior, max_step, limit):
    dynamics = Dynamics(1.0, max_step=max_step)
    problem = make_problem(Partial(program, PRIORS[prior]), 1e4 * X, dynamics=dynamics)
    path = infer(jax.random.key(0), problem, 1e4 * X, steps=5).trajectory
    steps = np.diff(path.potentials, axis=0)
    assert np.abs(steps).max() == pytest.approx(limit, abs=1e-5)
    assert steps.min() < -0.69 / 0.7 * limit
    assert np.isfinite(path.free_energy).all()


def test_batches_of_the_site_may_have_any_shape():
    def images(x):
        with numpyro.plate("data", len(x)):
            z = numpyro.sample("z", RelaxedPoisson(jnp.ones((2, 3))).to_event(2))
            numpyro.sample("x", dist.Poisson(0.1 + z.sum(1)).to_event(1), obs=x)

    x = jnp.array([[1.0, 2.0, 3.0], [0.0, 0.0, 9.0]])
    path = infer(jax.random.key(0), make_problem(images, x, drive="exact"), x, steps=4).trajectory
    assert path.z.shape == (4, 2, 2, 3)
    assert path.free_energy.shape == (4, 2)


def test_scaled_sites_count_as_often():
    def scaled(x):
        with numpyro.plate("data", len(x)):
            z = numpyro.sample("z", PRIORS["poisson"].to_event(1))
            with numpyro.handlers.scale(scale=2.0):
                numpyro.sample("x", dist.Normal(z @ DICTIONARY + 0.1, 0.7).to_event(1), obs=x)

    single = make_problem(Partial(program, PRIORS["poisson"]), X)
    double = make_problem(scaled, X)
    z = jnp.ones((N, K))
    np.testing.assert_allclose(double.objective(z, X).nll, 2 * single.objective(z, X).nll, rtol=1e-5)


def nothing_observed(x):
    numpyro.sample("z", PRIORS["poisson"].to_event(1))


def two_latents(x):
    numpyro.sample("y", PRIORS["poisson"].to_event(1))
    program(PRIORS["poisson"], x)


def test_bad_programs_and_arguments():
    good = Partial(program, PRIORS["poisson"])
    for model, words in (
        (nothing_observed, "observes nothing"),
        (two_latents, "the latent sites y, z, expected exactly one"),
        (Partial(program, dist.Exponential(jnp.ones(K))), "a latent site with the distribution Exponential"),
    ):
        with pytest.raises(InputError, match=words):
            make_problem(model, X)
    with pytest.raises(InputError, match="drive: got 'fast'"):
        make_problem(good, X, drive="fast")
    for name in ("steps", "chunk"):
        with pytest.raises(InputError, match=f"{name}: got 0"):
            infer(jax.random.key(0), good, X, **{name: 0})


def test_the_family_of_a_reshaped_prior():
    family, potentials = family_of(RelaxedPoisson(log_rate=0.5).expand((4, K)).to_event(1))
    assert isinstance(family, PoissonFamily)
    np.testing.assert_array_equal(potentials, np.full((4, K), 0.5, np.float32))
