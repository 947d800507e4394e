import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from scipy import stats

from pyrocount import Discrete, GumbelSoftmax, RelaxedNegativeBinomial, RelaxedPoisson
from pyrocount.inference import SampledKL_ELBO, ScoreFunction_ELBO, StrictMeanField_ELBO
from pyrocount.inference.elbo import log_mass

X = torch.randn(5, generator=torch.Generator().manual_seed(0))


def program(prior, posterior):
    def model():
        with pyro.plate("data", 5):
            z = pyro.sample("z", prior)
            pyro.sample("x", dist.Normal(z, 1.0), obs=X)

    def guide():
        with pyro.plate("data", 5), pyro.poutine.scale(scale=0.5):
            pyro.sample("z", posterior)

    return model, guide


@pytest.mark.parametrize("validation", [True, False])
@pytest.mark.parametrize("options", [{}, {"num_particles": 3}, {"num_particles": 3, "vectorize_particles": True}])
def test_it_is_pyros_where_the_divergence_is_known(options, validation):
    rate = torch.tensor(2.0, requires_grad=True)
    pair = program(RelaxedNegativeBinomial(1.0, logits=0.0), RelaxedPoisson(rate))
    results = []
    for elbo in (StrictMeanField_ELBO, TraceMeanField_ELBO):
        pyro.set_rng_seed(0)
        with pyro.validation_enabled(validation):
            loss = elbo(max_plate_nesting=1, **options).differentiable_loss(*pair)
        results.append((loss.item(), torch.autograd.grad(loss, rate)[0].item()))
    assert results[0] == pytest.approx(results[1])


@pytest.mark.parametrize(
    ("prior", "posterior", "message"),
    [
        (dist.Normal(0.0, 1.0), RelaxedPoisson(1.0), "site 'z': the KL divergence of RelaxedPoisson.* is not known"),
        (RelaxedPoisson(2.0), RelaxedPoisson(1.0, relaxation=Discrete()), "site 'z': samples of .* carry no gradient"),
    ],
)
def test_it_names_the_site_where_pyro_would_fall_back_in_silence(prior, posterior, message):
    pair = program(prior, posterior)
    with pytest.raises(NotImplementedError, match=message):
        StrictMeanField_ELBO().differentiable_loss(*pair)
    with pytest.raises(NotImplementedError, match=message):
        StrictMeanField_ELBO()(*pair)()


def test_samples_of_the_divergence_alone():
    """Their mean is the exact divergence, with the scale of the site, and carries its gradient; the data see one."""
    rate = torch.tensor(2.0, requires_grad=True)
    pair, samples = program(RelaxedPoisson(1.0), RelaxedPoisson(rate)), 20_000
    elbo = SampledKL_ELBO(samples)
    (model_trace, guide_trace) = next(elbo._get_traces(*pair, (), {}))
    assert model_trace.nodes["x"]["fn"].batch_shape == (5,)
    found = elbo.divergence("z", model_trace.nodes["z"], guide_trace.nodes["z"])
    assert found.shape == (5,)
    # log q - log p is z log 2 - 1, and its variance 2 log(2)^2.
    error = 0.5 * (2 * math.log(2) ** 2 / samples / 5) ** 0.5
    assert abs(found.mean().item() - 0.5 * (2 * math.log(2) - 1)) < 5 * error
    # The slope of rate log(rate) - rate + 1 is log(rate). The slope of a soft count spreads by some 3 at a width of .1.
    slope = torch.autograd.grad(found.mean(), rate)[0].item()
    assert abs(slope - 0.5 * math.log(2)) < 5 * 0.5 * 3 * math.log(2) / (5 * samples) ** 0.5


@pytest.mark.parametrize("rate", [0.5, 4.0, 400.0])
def test_the_divergence_of_capped_counts(rate):
    """Of Poisson counts it is that of truncated ones, which stays finite, and not below 0, however large the rate."""
    cap, samples = 5, 20_000
    # At a low temperature samples are nearly whole.
    gumbel = GumbelSoftmax(0.01, max_count=cap)
    q, p = (RelaxedPoisson(torch.full((3,), each), relaxation=gumbel, validate_args=False) for each in (rate, 1.0))
    one, other = (torch.tensor(stats.poisson.logpmf(range(cap + 1), each)).log_softmax(0) for each in (rate, 1.0))
    ratio, weight = one - other, one.exp()
    exact = (weight * ratio).sum().item()
    spread = (weight * (ratio - exact).square()).sum().sqrt().item()
    with pyro.plate("data", 5):
        sites = [{"fn": d.to_event(1).expand([5]), "scale": 1.0, "mask": None} for d in (p, q)]
    found = SampledKL_ELBO(samples, cap).divergence("z", *sites)
    assert found.shape == (5,)
    # Three latents of five observations; relaxed counts are off by up to a hundredth of a count here and there.
    assert abs(found.mean().item() / 3 - exact) < 5 * spread / (15 * samples) ** 0.5 + 0.01


def test_log_masses_of_counts():
    d = RelaxedNegativeBinomial(
        torch.tensor([2.0, 0.5]), logits=0.3, relaxation=GumbelSoftmax(1.0, 4), validate_args=False
    )
    probs = torch.tensor(0.3).sigmoid().item()
    known = [stats.nbinom.logcdf(4, r, 1 - probs) for r in (2.0, 0.5)]
    assert log_mass(d, 4).tolist() == pytest.approx(known, rel=1e-4)
    assert log_mass(d.to_event(1), 4).item() == pytest.approx(sum(known), rel=1e-4)


def test_samples_of_the_divergence_need_a_gradient():
    pair = program(RelaxedPoisson(2.0), RelaxedPoisson(1.0, relaxation=Discrete()))
    with pytest.raises(NotImplementedError, match=r"site 'z': samples of .* carry no gradient"):
        SampledKL_ELBO(3).differentiable_loss(*pair)


def test_a_site_of_the_guide_alone_is_refused():
    model, _ = program(RelaxedPoisson(2.0), RelaxedPoisson(1.0))

    def guide():
        pyro.sample("extra", dist.Normal(0.0, 1.0), infer={"is_auxiliary": True})
        with pyro.plate("data", 5):
            pyro.sample("z", RelaxedPoisson(1.0))

    with pytest.raises(NotImplementedError, match="site 'extra': the guide has this site and the model does not"):
        StrictMeanField_ELBO()(model, guide)()


def test_latents_need_no_log_probability(monkeypatch):
    def costly(self, value):
        raise AssertionError("computed in vain")

    monkeypatch.setattr(RelaxedPoisson, "log_prob", costly)
    pair = program(RelaxedPoisson(1.0), RelaxedPoisson(torch.tensor(2.0, requires_grad=True)))
    with pyro.validation_enabled(False):
        assert StrictMeanField_ELBO().differentiable_loss(*pair).requires_grad


@pytest.mark.parametrize(
    "make", [lambda u: RelaxedPoisson(log_rate=u), lambda u: RelaxedNegativeBinomial(2.0, logits=u)]
)
def test_pyros_score_function_sees_the_gradient_of_our_log_probabilities(make):
    """``TraceGraph_ELBO`` follows samples in a subclass of tensors."""
    draws = 100_000
    u = torch.full((draws,), 0.3, requires_grad=True)

    def model():
        with pyro.plate("draws", draws):
            z = pyro.sample("z", make(torch.zeros(draws)).counts)
            pyro.sample("x", dist.Normal(z, 1.0), obs=torch.full((draws,), 2.0))

    def guide():
        with pyro.plate("draws", draws):
            pyro.sample("z", make(u).counts)

    # Draws of a plate are independent, and each has a gradient in a parameter of its own.
    ours, pyros = (
        torch.autograd.grad(elbo.differentiable_loss(model, guide), u)[0]
        for elbo in (ScoreFunction_ELBO(), Trace_ELBO())
    )
    error = (ours.var() + pyros.var()).sqrt() / draws**0.5
    assert ours.std() > 0
    assert (ours.mean() - pyros.mean()).abs() < 5 * error
