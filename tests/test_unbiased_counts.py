"""The gradient of UnbiasedCount_ELBO against exact gradients by enumeration."""

import math
from contextlib import contextmanager

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI
from torch.distributions import kl_divergence
from torch.utils._python_dispatch import TorchDispatchMode

from pyrocount import ArrivalTimes, Discrete, RelaxedNegativeBinomial, RelaxedPoisson
from pyrocount.errors import InputError
from pyrocount.inference import StrictMeanField_ELBO, UnbiasedCount_ELBO

from cases import UNCORRECTABLE

N, K = 4, 3
PARTICLES, REPEATS = 500, 40


def decode(z):
    """Returns predictions (..., 2) of counts (..., 3), with kinks that rare counts meet."""
    weights = z.new_tensor([[1.5, -1.0, 0.5], [-0.7, 1.2, 0.9], [1.0, 0.8, -1.4]])
    hidden = torch.relu(z @ weights - 0.4)
    return hidden @ z.new_tensor([[1.0, -0.5], [0.6, 1.1], [-0.9, 0.7]])


class Problem:
    """Program with N units of K counts, in one or two sites, and its exact gradient."""

    def __init__(self, family="poisson", sites=1, scale=1.0, masked=False, subsample=None, dtype=torch.float64):
        generator = torch.Generator().manual_seed(0)
        spread = torch.randn(N, K, generator=generator).to(dtype) / 2
        self.family, self.sites, self.scale, self.subsample = family, sites, scale, subsample
        self.mask = torch.arange(N) != 1 if masked else torch.ones(N, dtype=torch.bool)
        self.x = torch.randn(N, 2, generator=generator).to(dtype)
        self.log_mean = (spread - 1.2).requires_grad_()
        self.total_count = torch.full((N, K), 1.5, dtype=dtype, requires_grad=True)
        self.parameters = [self.log_mean] if family == "poisson" else [self.log_mean, self.total_count]

    def law(self, log_mean, total_count):
        if self.family == "poisson":
            return RelaxedPoisson(log_rate=log_mean)
        return RelaxedNegativeBinomial(total_count, logits=log_mean - total_count.log())

    def prior(self, part):
        return self.law(self.x.new_full((K,), -1.0)[part], self.x.new_full((K,), 2.0)[part])

    @contextmanager
    def units(self):
        with pyro.plate("data", N, subsample_size=self.subsample) as rows, poutine.scale(scale=self.scale):
            yield rows

    def draw(self, law_of):
        parts = [slice(0, 1), slice(1, K)] if self.sites == 2 else [slice(0, K)]
        return torch.cat([pyro.sample(f"z{part.start}", law_of(part).to_event(1)) for part in parts], -1)

    def likelihood(self, z):
        return dist.Normal(decode(z), 0.6).to_event(1)

    def model(self):
        with self.units() as rows, poutine.mask(mask=self.mask[rows]):
            z = self.draw(self.prior)
            pyro.sample("x", self.likelihood(z), obs=self.x[rows])

    def guide(self):
        with self.units() as rows, poutine.mask(mask=self.mask[rows]):
            self.draw(lambda part: self.law(self.log_mean[rows][:, part], self.total_count[rows][:, part]))

    def exact(self):
        most = 12 if self.family == "poisson" else 30
        grid = torch.cartesian_prod(*[torch.arange(most).to(self.x)] * K)
        loss = self.x.new_zeros(())
        for row in self.mask.nonzero().flatten().tolist():
            q = self.law(self.log_mean[row], self.total_count[row])
            mass = q.counts.log_prob(grid).sum(-1).exp()
            assert mass.sum() > 1 - 1e-6
            expected = (mass * self.likelihood(grid).log_prob(self.x[row])).sum()
            loss = loss + self.scale * (kl_divergence(q, self.prior(slice(K))).sum() - expected)
        return torch.cat([part.flatten() for part in torch.autograd.grad(loss, self.parameters)])

    def gradients(self, elbo, repeats=REPEATS):
        found = []
        for _ in range(repeats):
            loss = elbo.differentiable_loss(self.model, self.guide)
            found.append(torch.cat([part.flatten() for part in torch.autograd.grad(loss, self.parameters)]))
        return torch.stack(found)


def distance(gradients, exact):
    """Returns the largest distance of the mean gradient from another, in standard errors."""
    error = gradients.std(0) / len(gradients) ** 0.5
    return ((gradients.mean(0) - exact).abs() / error.clamp(min=1e-12))[error > 0].max()


@pytest.mark.parametrize(
    ("problem", "options"),
    [
        ({}, {}),
        ({}, {"neighbours": 2}),
        ({}, {"share": 0.5}),
        ({}, {"analytic_kl": False}),
        ({"dtype": torch.float32}, {}),
        ({"family": "negbio"}, {}),
        ({"family": "negbio"}, {"analytic_kl": False, "neighbours": 2}),
        ({"sites": 2}, {}),
        ({"sites": 2}, {"analytic_kl": False}),
        ({"scale": 0.3, "masked": True}, {}),
        ({"subsample": 2}, {}),
    ],
)
@pytest.mark.parametrize("validation", [True, False])
def test_the_gradient_is_unbiased(problem, options, validation):
    pyro.set_rng_seed(1)
    problem = Problem(**problem)
    elbo = UnbiasedCount_ELBO(num_particles=PARTICLES, vectorize_particles=True, max_plate_nesting=1, **options)
    with pyro.validation_enabled(validation):
        # A subsample adds a spread of its own.
        gradients = problem.gradients(elbo, REPEATS if problem.subsample is None else 4 * REPEATS)
    exact = problem.exact()
    # By Student's distribution of 40 means, one of up to 24 values is beyond this by chance once in 3000 tests.
    assert distance(gradients, exact) < 5
    # The errors are small enough to see the bias of the rule without corrections.
    assert (gradients.std(0) / len(gradients) ** 0.5).norm() < 0.1 * exact.norm()


def test_the_rule_that_is_corrected_is_biased():
    pyro.set_rng_seed(1)
    problem = Problem()
    elbo = UnbiasedCount_ELBO(num_particles=PARTICLES, vectorize_particles=True, max_plate_nesting=1, share=1e-12)
    assert distance(problem.gradients(elbo, 4 * REPEATS), problem.exact()) > 10


def test_a_loss_without_a_derivative():
    pyro.set_rng_seed(0)
    log_rate = torch.full((200_000, 1), -0.5, requires_grad=True)

    def model():
        with pyro.plate("data", len(log_rate)):
            z = pyro.sample("z", RelaxedPoisson(torch.ones(1)).to_event(1))
            pyro.factor("x", -3.0 * (z > 0).to(z).squeeze(-1))

    def guide():
        with pyro.plate("data", len(log_rate)):
            pyro.sample("z", RelaxedPoisson(log_rate=log_rate).to_event(1))

    (gradient,) = torch.autograd.grad(UnbiasedCount_ELBO().differentiable_loss(model, guide), log_rate)
    rate = log_rate[0].exp().item()
    expected = 3 * rate * math.exp(-rate) + rate * log_rate[0].item()
    assert abs(gradient.mean() - expected) < 5 * gradient.std() / len(gradient) ** 0.5
    assert gradient.std() > 0


def test_a_factor_on_the_loss_is_one_on_the_gradient():
    problem = Problem()
    elbo = UnbiasedCount_ELBO(max_plate_nesting=1)
    found = []
    for factor in (1.0, 0.25):
        pyro.set_rng_seed(3)
        loss = factor * elbo.differentiable_loss(problem.model, problem.guide)
        found.append(torch.autograd.grad(loss, problem.log_mean)[0] / factor)
    torch.testing.assert_close(*found)


def test_parameters_of_the_model_have_their_ordinary_gradient():
    scale, seen = torch.tensor(0.7, requires_grad=True), []

    def model():
        with pyro.plate("data", N):
            z = pyro.sample("z", RelaxedPoisson(torch.ones(K)).to_event(1))
            seen.append(z.detach())
            pyro.sample("x", dist.Normal(scale * decode(z), 0.6).to_event(1), obs=torch.zeros(N, 2))

    def guide():
        with pyro.plate("data", N):
            pyro.sample("z", RelaxedPoisson(torch.ones(K, requires_grad=True)).to_event(1))

    UnbiasedCount_ELBO(neighbours=3).differentiable_loss(model, guide).backward()
    assert len(seen) == 4
    expected = (scale * (decode(seen[0]) / 0.6).square().sum()).item()
    assert scale.grad.item() == pytest.approx(expected, rel=1e-5)


def test_svi_takes_steps():
    pyro.set_rng_seed(0)
    rate = pyro.param("rate", torch.full((N, K), 0.3), constraint=dist.constraints.positive)

    def model():
        with pyro.plate("data", N):
            z = pyro.sample("z", RelaxedPoisson(torch.ones(K)).to_event(1))
            pyro.sample("x", dist.Normal(z, 0.5).to_event(1), obs=torch.full((N, K), 2.0))

    def guide():
        rate = pyro.param("rate")
        with pyro.plate("data", N):
            pyro.sample("z", RelaxedPoisson(rate, relaxation=Discrete()).to_event(1))

    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.05}), UnbiasedCount_ELBO())
    for _ in range(200):
        svi.step()
    assert torch.isfinite(torch.tensor(svi.evaluate_loss()))
    assert (pyro.param("rate") > rate.detach()).all()
    pyro.clear_param_store()


class _Reads(TorchDispatchMode):
    """Counts the values that the host reads."""

    number = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.number += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


def test_nothing_more_is_read_from_the_device():
    problem, reads = Problem(), []
    for kind in (StrictMeanField_ELBO, UnbiasedCount_ELBO):
        with pyro.validation_enabled(False), _Reads() as mode:
            kind(max_plate_nesting=1).differentiable_loss(problem.model, problem.guide).backward()
        reads.append(mode.number)
    assert reads[1] <= reads[0]


def counts(rate):
    return RelaxedPoisson(rate, relaxation=ArrivalTimes(0.1)).to_event(1)


def fed_guide():
    with pyro.plate("data", N):
        z = pyro.sample("z", counts(torch.ones(K, requires_grad=True)))
        pyro.sample("y", dist.Normal(z, 1.0).to_event(1))


def fed_model():
    with pyro.plate("data", N):
        z = pyro.sample("z", counts(torch.ones(K)))
        y = pyro.sample("y", dist.Normal(0.0, torch.ones(K)).to_event(1))
        pyro.sample("x", dist.Normal(y + z, 1.0).to_event(1), obs=torch.zeros(N, K))


def plain_guide():
    with pyro.plate("data", N):
        pyro.sample("z", counts(torch.ones(K, requires_grad=True)))


def summed_model():
    with pyro.plate("data", N):
        z = pyro.sample("z", counts(torch.ones(K)))
    pyro.sample("x", dist.Normal(z.sum(), 1.0), obs=torch.tensor(0.0))


def continuous_guide():
    with pyro.plate("data", N):
        pyro.sample("z", dist.LogNormal(torch.zeros(K), 1.0).to_event(1))


@pytest.mark.parametrize(("model", "guide", "message"), UNCORRECTABLE)
def test_programs_to_which_it_does_not_apply(model, guide, message):
    with pyro.validation_enabled(False), pytest.raises(NotImplementedError) as error:
        UnbiasedCount_ELBO(max_plate_nesting=1).differentiable_loss(globals()[model], globals()[guide])
    assert message in str(error.value)


@pytest.mark.parametrize(("name", "value"), [("neighbours", 0), ("neighbours", 1.5), ("share", 0.0), ("share", 1.1)])
def test_what_is_refused(name, value):
    with pytest.raises(InputError, match=f"{name}: got {value}"):
        UnbiasedCount_ELBO(**{name: value})
