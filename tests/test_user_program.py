"""A Pyro user's own model, as the README shows it."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO, TraceMeanField_ELBO
from torch import nn
from torch.distributions import constraints, kl_divergence

from pyrocount import ArrivalTimes, Discrete, RelaxedNegativeBinomial, RelaxedPoisson, SteinChen
from pyrocount.errors import InputError

K, D = 5, 7


class Program:
    def __init__(self, device, relaxation=ArrivalTimes(0.1)):
        self.device = device
        self.prior_logits = torch.full((K,), -1.0, device=device)
        self.encoder, self.decoder = nn.Linear(D, K).to(device), nn.Linear(K, D).to(device)
        self.relaxation = relaxation

    @property
    def r(self):
        return pyro.param("r", torch.full((K,), 2.0, device=self.device), constraint=constraints.positive)

    def model(self, x):
        pyro.module("decoder", self.decoder)
        r, prior_logits, decoder = self.r, self.prior_logits, self.decoder
        with pyro.plate("data", len(x)):
            prior = RelaxedNegativeBinomial(r, logits=prior_logits, relaxation=self.relaxation)
            z = pyro.sample("z", prior.to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), 0.1).to_event(1), obs=x)

    def posterior(self, x):
        logits = self.prior_logits + self.encoder(x)
        return RelaxedNegativeBinomial(self.r, logits=logits, relaxation=self.relaxation).to_event(1)

    def guide(self, x):
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("z", self.posterior(x))


@pytest.mark.parametrize("elbo", [Trace_ELBO, TraceMeanField_ELBO])
@pytest.mark.parametrize("vectorized", [False, True])
@pytest.mark.parametrize("relaxation", [ArrivalTimes(0.1), SteinChen()], ids=repr)
def test_training_improves_the_objective(elbo, vectorized, relaxation, device):
    x = (torch.rand(64, 2) @ torch.rand(2, D)).to(device)
    program = Program(device, relaxation)
    loss = elbo(num_particles=3, vectorize_particles=vectorized, max_plate_nesting=1)
    svi = SVI(program.model, program.guide, pyro.optim.Adam({"lr": 0.02}), loss)
    losses = [svi.step(x) for _ in range(80)]
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])
    assert pyro.param("r").device.type == device.type
    assert not torch.equal(pyro.param("r").cpu(), torch.full((K,), 2.0))


@pytest.mark.parametrize(("particles", "vectorized", "calls"), [(1, False, 1), (4, False, 4), (4, True, 1)])
def test_the_analytic_kl_is_used(particles, vectorized, calls, kl_calls, device):
    x = torch.rand(64, D, device=device)
    program = Program(device)
    elbo = TraceMeanField_ELBO(num_particles=particles, vectorize_particles=vectorized, max_plate_nesting=1)
    loss = elbo.loss(program.model, program.guide, x)
    assert kl_calls == [("RelaxedNegativeBinomial", "RelaxedNegativeBinomial")] * calls

    prior = RelaxedNegativeBinomial(program.r, logits=program.prior_logits).to_event(1)
    closed_form = kl_divergence(program.posterior(x), prior.expand((64,))).sum().item()
    # With a decoder that ignores z the expected log likelihood has no noise, and what remains of the loss is the KL.
    nn.init.zeros_(program.decoder.weight)
    likelihood = dist.Normal(program.decoder.bias, 0.1).log_prob(x).sum().item()
    assert elbo.loss(program.model, program.guide, x) == pytest.approx(closed_form - likelihood, rel=1e-5)
    assert closed_form > 1
    assert loss > 0


def test_the_analytic_kl_is_that_of_monte_carlo(device):
    x = torch.rand(16, D, device=device)
    program = Program(device)
    nn.init.zeros_(program.decoder.weight)
    analytic = TraceMeanField_ELBO().loss(program.model, program.guide, x)
    losses = torch.tensor([Trace_ELBO().loss(program.model, program.guide, x) for _ in range(400)])
    assert (losses.mean() - analytic).abs() < 5 * losses.std() / 20
    assert losses.std() > 0


@pytest.mark.parametrize("elbo", [Trace_ELBO, TraceMeanField_ELBO])
def test_masks_scales_and_subsampling(elbo, device):
    x = torch.rand(16, D, device=device)
    rate = torch.ones(K, device=device)
    weight = torch.rand(K, D, device=device)

    def model(mask, scale):
        with pyro.plate("data", 16, subsample_size=8, device=device) as index, pyro.poutine.scale(scale=scale):
            z = pyro.sample("z", RelaxedPoisson(rate).to_event(1).mask(mask[index]))
            pyro.sample("x", dist.Normal(z @ weight, 1.0).to_event(1).mask(mask[index]), obs=x[index])

    def guide(mask, scale):
        with pyro.plate("data", 16, subsample_size=8, device=device) as index, pyro.poutine.scale(scale=scale):
            pyro.sample("z", RelaxedPoisson(2 * rate).to_event(1).mask(mask[index]))

    def loss(mask, scale):
        pyro.set_rng_seed(1)
        return elbo().loss(model, guide, mask, scale)

    mask = torch.ones(16, dtype=torch.bool, device=device)
    assert loss(~mask, 1.0) == 0
    assert loss(mask, 0.5) == pytest.approx(loss(mask, 1.0) / 2, rel=1e-5)
    half = torch.arange(16, device=device) % 2 == 0
    assert loss(half, 1.0) + loss(~half, 1.0) == pytest.approx(loss(mask, 1.0), rel=1e-5)


def test_discrete_counts_train_by_the_score_function(device):
    target = torch.full((200,), 4.0, device=device)

    def model():
        with pyro.plate("data", 200):
            z = pyro.sample("z", RelaxedPoisson(torch.tensor(4.0, device=device), relaxation=Discrete()))
            pyro.sample("x", dist.Normal(z, 1.0), obs=target)

    def guide():
        log_rate = pyro.param("log_rate", torch.tensor(0.0, device=device))
        with pyro.plate("data", 200):
            pyro.sample("z", RelaxedPoisson(log_rate=log_rate, relaxation=Discrete()))

    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.05}), Trace_ELBO())
    for _ in range(100):
        svi.step()
    assert pyro.param("log_rate").item() > 0.7


@pytest.mark.parametrize("validate", [True, False])
def test_a_rate_that_explodes_is_named(validate):
    """Before a draw of counts that no dtype holds."""

    def program():
        return pyro.sample("spikes", RelaxedPoisson(torch.tensor([1.0, 3e9]), validate_args=validate).to_event(1))

    message = r"rate: got rates up to 3e\+09 at site 'spikes', expected rates of at most 2.15e\+09"
    with pytest.raises(InputError, match=message):
        program()
    with pytest.raises(InputError, match="rate: got NaN or infinite values for 1 of 1 rates at site 'n', expected"):
        pyro.sample("n", RelaxedPoisson(torch.tensor([math.inf]), relaxation=SteinChen(), validate_args=True))
