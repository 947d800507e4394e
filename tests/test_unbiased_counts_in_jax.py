"""The gradient of NumPyro's UnbiasedCount_ELBO against exact gradients by enumeration."""

from contextlib import contextmanager
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from numpyro.infer import SVI

from pyrocount.errors import InputError
from pyrocount.inference.natural_gradient import make_problem
from pyrocount.numpyro import Discrete, RelaxedNegativeBinomial, RelaxedPoisson, SteinChen, UnbiasedCount_ELBO

from cases import UNCORRECTABLE

N, K = 4, 3
PARTICLES, REPEATS = 500, 40
WEIGHTS = jnp.array([[1.5, -1.0, 0.5], [-0.7, 1.2, 0.9], [1.0, 0.8, -1.4]])
OUTPUT = jnp.array([[1.0, -0.5], [0.6, 1.1], [-0.9, 0.7]])
X = jax.random.normal(jax.random.key(0), (N, 2))
MASK = jnp.arange(N) != 1
PARAMETERS = {
    "log_mean": jax.random.normal(jax.random.key(1), (N, K)) / 2 - 1.2,
    "total_count": jnp.full((N, K), 1.5),
}
PRIOR = {"log_mean": jnp.full(K, -1.0), "total_count": jnp.full(K, 2.0)}


def likelihood(z):
    return dist.Normal(jnp.maximum(z @ WEIGHTS - 0.4, 0.0) @ OUTPUT, 0.6).to_event(1)


class Problem:
    """Program with N units of K counts, in one or two sites, and its exact gradient."""

    def __init__(self, family="poisson", sites=1, scale=1.0, masked=False, subsample=None):
        self.family, self.scale, self.subsample = family, scale, subsample
        self.mask = MASK if masked else jnp.ones(N, bool)
        self.parts = [slice(0, 1), slice(1, K)] if sites == 2 else [slice(K)]

    def law(self, log_mean, total_count):
        if self.family == "poisson":
            return RelaxedPoisson(log_rate=log_mean)
        return RelaxedNegativeBinomial(total_count, logits=log_mean - jnp.log(total_count))

    @contextmanager
    def units(self):
        with numpyro.plate("data", N, subsample_size=self.subsample) as rows, handlers.scale(scale=self.scale):
            yield rows

    def draw(self, parameters):
        laws = [self.law(*(value[..., part] for value in parameters.values())) for part in self.parts]
        return jnp.concatenate([numpyro.sample(f"z{i}", law.to_event(1)) for i, law in enumerate(laws)], -1)

    def model(self):
        with self.units() as rows, handlers.mask(mask=self.mask[rows]):
            numpyro.sample("x", likelihood(self.draw(PRIOR)), obs=X[rows])

    def guide(self):
        parameters = {name: numpyro.param(name, value) for name, value in PARAMETERS.items()}
        with self.units() as rows, handlers.mask(mask=self.mask[rows]):
            self.draw({name: value[rows] for name, value in parameters.items()})

    def exact(self, parameters):
        most = 12 if self.family == "poisson" else 30
        grid = jnp.stack(jnp.meshgrid(*[jnp.arange(float(most))] * K), -1).reshape(-1, K)

        def loss(parameters):
            q = self.law(*parameters.values())
            mass = jnp.exp(q.log_prob(grid[:, None]).sum(-1))
            expected = (mass * likelihood(grid[:, None]).log_prob(X)).sum(0)
            kl = dist.kl_divergence(q, self.law(*PRIOR.values()).expand((N, K))).sum(-1)
            return self.scale * (self.mask * (kl - expected)).sum()

        return jax.grad(loss)(parameters)


def flat(gradients):
    return jnp.concatenate([value.reshape(*value.shape[:-2], N * K) for value in gradients.values()], -1)


@pytest.mark.parametrize(
    ("problem", "options"),
    [
        ({}, {}),
        ({}, {"neighbours": 2, "analytic_kl": False}),
        ({"family": "negbio"}, {}),
        ({"sites": 2}, {}),
        ({"scale": 0.3, "masked": True}, {}),
        ({"subsample": 2}, {}),
    ],
)
def test_the_gradient_is_unbiased(problem, options):
    problem = Problem(**problem)
    elbo = UnbiasedCount_ELBO(num_particles=PARTICLES, **options)
    loss = lambda parameters, key: elbo.loss(key, parameters, problem.model, problem.guide)  # noqa: E731
    # A subsample adds a spread of its own.
    repeats = REPEATS if problem.subsample is None else 4 * REPEATS
    keys = jax.random.split(jax.random.key(2), repeats)
    gradients = flat(jax.jit(lambda keys: jax.lax.map(lambda key: jax.grad(loss)(PARAMETERS, key), keys))(keys))
    exact = flat(problem.exact(PARAMETERS))
    error = gradients.std(0, ddof=1) / repeats**0.5
    drawn = error > 0
    # By Student's distribution of 40 means, one of up to 24 values is beyond this by chance once in 3000 tests.
    assert (jnp.abs(gradients.mean(0) - exact)[drawn] < 5 * error[drawn]).all()
    assert jnp.abs(exact[~drawn]).max(initial=0.0) < 1e-5
    assert jnp.linalg.norm(error) < 0.1 * jnp.linalg.norm(exact)


def test_svi_trains_model_and_guide():
    def model():
        scale = numpyro.param("scale", 2.0, constraint=dist.constraints.positive)
        with numpyro.plate("data", N):
            z = numpyro.sample("z", RelaxedPoisson(jnp.ones(K)).to_event(1))
            numpyro.sample("x", dist.Normal(z, scale).to_event(1), obs=jnp.full((N, K), 2.0))

    def guide():
        rate = numpyro.param("rate", jnp.full((N, K), 0.3), constraint=dist.constraints.positive)
        with numpyro.plate("data", N):
            numpyro.sample("z", RelaxedPoisson(rate, relaxation=Discrete()).to_event(1))

    svi = SVI(model, guide, numpyro.optim.Adam(0.05), UnbiasedCount_ELBO())
    result = svi.run(jax.random.key(0), 200, progress_bar=False)
    assert jnp.isfinite(result.losses).all()
    assert (result.params["rate"] > 0.3).all()
    assert result.params["scale"] < 2


def counts():
    return RelaxedPoisson(jnp.ones(K)).to_event(1)


def fed_guide():
    with numpyro.plate("data", N):
        z = numpyro.sample("z", counts())
        numpyro.sample("y", dist.Normal(jax.jit(jnp.sin)(z), 1.0).to_event(1))


def fed_model():
    with numpyro.plate("data", N):
        z = numpyro.sample("z", counts())
        y = numpyro.sample("y", dist.Normal(0.0, jnp.ones(K)).to_event(1))
        numpyro.sample("x", dist.Normal(y + z, 1.0).to_event(1), obs=jnp.zeros((N, K)))


def plain_guide():
    with numpyro.plate("data", N):
        numpyro.sample("z", counts())


def summed_model():
    with numpyro.plate("data", N):
        z = numpyro.sample("z", counts())
    numpyro.sample("x", dist.Normal(z.sum(), 1.0), obs=0.0)


def continuous_guide():
    with numpyro.plate("data", N):
        numpyro.sample("z", dist.LogNormal(jnp.zeros(K), 1.0).to_event(1))


@pytest.mark.parametrize(("model", "guide", "message"), UNCORRECTABLE)
def test_programs_to_which_it_does_not_apply(model, guide, message):
    with pytest.raises(NotImplementedError) as error:
        UnbiasedCount_ELBO().loss(jax.random.key(0), {}, globals()[model], globals()[guide])
    assert message in str(error.value)


def test_global_parameters_and_other_sites_are_no_obstacle():
    def model():
        shift = numpyro.sample("shift", dist.Normal(0.0, 1.0))
        with numpyro.plate("data", N):
            z = numpyro.sample("z", counts())
            numpyro.sample("x", dist.Normal(z + shift, 1.0).to_event(1), obs=jnp.zeros((N, K)))

    def guide():
        with numpyro.plate("data", N):
            numpyro.sample("z", counts())
        numpyro.sample("shift", dist.Normal(numpyro.param("loc", 0.0), 1.0))

    assert jnp.isfinite(UnbiasedCount_ELBO().loss(jax.random.key(0), {"loc": jnp.array(0.5)}, model, guide))


@pytest.mark.parametrize("value", [0, 1.5])
def test_what_is_refused(value):
    with pytest.raises(InputError, match=f"neighbours: got {value}"):
        UnbiasedCount_ELBO(neighbours=value)


@pytest.mark.parametrize(("law", "neighbours"), [("poisson", 1), ("negbio", 2)])
def test_the_own_loss_of_a_step_of_inference(law, neighbours):
    law = Problem(law).law(*(value[:2] for value in PRIOR.values()))

    def program(x):
        with numpyro.plate("data", 1):
            z = numpyro.sample("z", law.to_event(1))
            numpyro.sample("x", dist.Normal(jnp.maximum(z @ WEIGHTS[:2] - 0.4, 0.0), 0.6).to_event(1), obs=x)

    x = jnp.array([[1.0, -0.5, 0.3]])
    problem = replace(make_problem(program, x, relaxation=SteinChen()), neighbours=neighbours)
    potentials = jax.tree.map(lambda part: jnp.broadcast_to(part, (1, 2)) - 0.3, problem.prior)
    grid = jnp.stack(jnp.meshgrid(*[jnp.arange(30.0)] * 2), -1).reshape(-1, 2)

    def expected(potentials):
        mass = jnp.exp(problem.family.distribution(potentials).log_prob(grid).sum(-1))
        return (mass * jax.vmap(lambda z: problem.objective(z[None], x).nll[0])(grid)).sum()

    def sampled(potentials, key, corrected):
        z = problem.sample(key, potentials)
        terms = problem.objective(z, x)
        return (terms.nll + corrected * problem.correction(key, potentials, z, terms, x)).sum()

    exact = jax.tree.leaves(jax.grad(expected)(potentials))[0].ravel()
    keys = jax.random.split(jax.random.key(0), 100_000)
    distances = {}
    for corrected in (1.0, 0.0):
        gradient = jax.jit(jax.vmap(jax.grad(sampled), (None, 0, None)))(potentials, keys, corrected)
        found = jax.tree.leaves(gradient)[0].reshape(len(keys), -1)
        distances[corrected] = jnp.abs(found.mean(0) - exact) / found.std(0) * len(keys) ** 0.5
    assert distances[1.0].max() < 4.5
    assert distances[0.0].max() > 10
