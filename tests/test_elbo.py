import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import TraceMeanField_ELBO

from pyrocount import Discrete, RelaxedNegativeBinomial, RelaxedPoisson
from pyrocount.inference import StrictMeanField_ELBO

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


@pytest.mark.parametrize("options", [{}, {"num_particles": 3}, {"num_particles": 3, "vectorize_particles": True}])
def test_it_is_pyros_where_the_divergence_is_known(options):
    rate = torch.tensor(2.0, requires_grad=True)
    pair = program(RelaxedNegativeBinomial(1.0, logits=0.0), RelaxedPoisson(rate))
    results = []
    for elbo in (StrictMeanField_ELBO, TraceMeanField_ELBO):
        pyro.set_rng_seed(0)
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


def test_a_site_of_the_guide_alone_is_refused():
    model, _ = program(RelaxedPoisson(2.0), RelaxedPoisson(1.0))

    def guide():
        pyro.sample("extra", dist.Normal(0.0, 1.0), infer={"is_auxiliary": True})
        with pyro.plate("data", 5):
            pyro.sample("z", RelaxedPoisson(1.0))

    with pytest.raises(NotImplementedError, match="site 'extra': the guide has it and the model does not"):
        StrictMeanField_ELBO()(model, guide)()
