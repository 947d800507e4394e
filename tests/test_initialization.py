"""Automatic guides start at usable places, also where samples and medians of counts are 0."""

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as jax_distributions
import numpyro.infer.autoguide as jax_guides
import numpyro.infer.initialization as jax_starts
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO, autoguide
from pyro.infer.autoguide import initialization

import pyrocount
import pyrocount.numpyro

LAWS = ["RelaxedPoisson", "RelaxedNegativeBinomial"]
STARTS = ["init_to_feasible", "init_to_sample", "init_to_median", "init_to_mean", "init_to_uniform"]


def parameters(law, full):
    """Returns parameters of counts that are nearly always 0."""
    return [full((3,), 0.02)] if law == "RelaxedPoisson" else [full((3,), 2.0), full((3,), 0.01)]


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("law", LAWS)
def test_guides_of_pyro_start(law, start):
    counts = getattr(pyrocount, law)(*parameters(law, torch.full), relaxation=pyrocount.ArrivalTimes(0.1))

    def model():
        z = pyro.sample("z", counts.to_event(1))
        pyro.sample("x", dist.Normal(z.sum(), 1.0), obs=torch.tensor(1.0))

    guide = autoguide.AutoNormal(model, init_loc_fn=getattr(initialization, start))
    svi = SVI(model, guide, pyro.optim.SGD({"lr": 1e-3}), Trace_ELBO())
    svi.step()
    before = guide.locs.z.detach().clone()
    loss = svi.step()
    assert torch.isfinite(torch.tensor(loss))
    assert torch.isfinite(guide.locs.z).all()
    assert (guide.locs.z != before).all()


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("law", LAWS)
def test_guides_of_numpyro_start(law, start):
    counts = getattr(pyrocount.numpyro, law)(*parameters(law, jnp.full))

    def model():
        z = numpyro.sample("z", counts.to_event(1))
        numpyro.sample("x", jax_distributions.Normal(z.sum(), 1.0), obs=1.0)

    guide = jax_guides.AutoNormal(model, init_loc_fn=getattr(jax_starts, start))
    svi = numpyro.infer.SVI(model, guide, numpyro.optim.SGD(1e-3), numpyro.infer.Trace_ELBO())
    state = svi.init(jax.random.key(0))
    before = svi.get_params(state)["z_auto_loc"]
    state, loss = svi.update(state)
    after = svi.get_params(state)["z_auto_loc"]
    assert jnp.isfinite(loss)
    assert jnp.isfinite(after).all()
    assert (after != before).all()


def test_whole_counts_have_no_automatic_guide():
    hard = pyrocount.ArrivalTimes(0.1, hard=True)

    def model():
        pyro.sample("z", pyrocount.RelaxedPoisson(torch.ones(3), relaxation=hard).to_event(1))

    with pytest.raises(ValueError, match="discrete sample site 'z'"):
        SVI(model, autoguide.AutoNormal(model), pyro.optim.SGD({"lr": 1e-3}), Trace_ELBO()).step()

    hard_in_jax = pyrocount.numpyro.ArrivalTimes(0.1, hard=True)

    def model_in_jax():
        numpyro.sample("z", pyrocount.numpyro.RelaxedPoisson(jnp.ones(3), relaxation=hard_in_jax).to_event(1))

    svi = numpyro.infer.SVI(
        model_in_jax, jax_guides.AutoNormal(model_in_jax), numpyro.optim.SGD(1e-3), numpyro.infer.Trace_ELBO()
    )
    with pytest.raises(NotImplementedError, match="got whole counts"):
        svi.init(jax.random.key(0))
