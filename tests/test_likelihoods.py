import pytest
import torch
from pyro.infer import Trace_ELBO
from scipy import stats

from pyrocount.models import (
    BernoulliLikelihood,
    GaussianLikelihood,
    NegativeBinomialLikelihood,
    PoissonLikelihood,
    make_vae,
)

from cases import within

PREDICTION = torch.tensor([[-1.0, 0.5], [2.0, 0.0]])
COUNTS = torch.tensor([[0.0, 3.0], [5.0, 1.0]])
EXPOSURE = torch.tensor([0.4, 2.5])


def test_default_scale_makes_the_loss_the_sum_of_squares():
    x, prediction = torch.randn(4, 5), torch.randn(4, 5)
    loss = -GaussianLikelihood()(prediction).log_prob(x)
    constant = 0.5 * torch.log(torch.tensor(torch.pi))
    torch.testing.assert_close(loss - constant, (x - prediction) ** 2)


@pytest.mark.parametrize("learned", [False, True])
def test_a_learned_scale_is_a_parameter_and_a_fixed_one_is_saved(learned):
    noise = GaussianLikelihood(0.3, learned)
    assert len(list(noise.parameters())) == learned
    assert "log_scale" in noise.state_dict()
    assert noise.scale.item() == pytest.approx(0.3)


def test_a_learned_scale_finds_that_of_the_data():
    torch.manual_seed(0)
    vae = make_vae("poisson", (3,), latent_dim=2, learn_scale=True, scale=1.0)
    x = 0.2 * torch.randn(300, 3)
    vae.adapt(x)
    optimizer = torch.optim.Adam(vae.parameters(), lr=0.01)
    elbo = Trace_ELBO()(vae.model, vae.guide)
    for _ in range(300):
        optimizer.zero_grad()
        (elbo(x) / 300).backward()
        optimizer.step()
    assert vae.likelihood.scale.item() == pytest.approx(0.2, rel=0.1)


def test_bernoulli_is_the_cross_entropy_of_pixels():
    x = torch.rand(2, 2)
    expected = -torch.nn.functional.binary_cross_entropy_with_logits(PREDICTION, x, reduction="none")
    noise = BernoulliLikelihood()
    torch.testing.assert_close(noise(PREDICTION).log_prob(x), expected)
    torch.testing.assert_close(noise(PREDICTION).mean, PREDICTION.sigmoid())
    assert noise.accepts(x)
    assert not noise.accepts(x + 1)
    assert not noise.accepts(x * float("nan"))


@pytest.mark.parametrize("exposure", [None, EXPOSURE])
def test_counts_have_their_laws_in_windows_of_any_length(exposure):
    length = 1.0 if exposure is None else exposure[:, None].numpy()
    mean = PREDICTION.exp().numpy() * length
    poisson = PoissonLikelihood((2,))(PREDICTION, exposure)
    expected = stats.poisson.logpmf(COUNTS.numpy(), mean)
    torch.testing.assert_close(poisson.log_prob(COUNTS), torch.tensor(expected, dtype=torch.float32))
    noise = NegativeBinomialLikelihood((2,))
    noise.log_total_count.data = torch.tensor([0.3, 1.5])
    r = noise.log_total_count.exp().detach().numpy()
    distribution = noise(PREDICTION, exposure)
    expected = stats.nbinom.logpmf(COUNTS.numpy(), r, r / (r + mean))
    torch.testing.assert_close(
        distribution.log_prob(COUNTS).detach(), torch.tensor(expected, dtype=torch.float32), rtol=1e-5, atol=1e-5
    )
    torch.testing.assert_close(distribution.mean.detach(), torch.tensor(mean, dtype=torch.float32))
    # Samples of the latents stand in front of the observations.
    assert noise(PREDICTION.expand(7, 2, 2), exposure).log_prob(COUNTS).shape == (7, 2, 2)
    images = PoissonLikelihood((3, 4, 4))
    assert images(torch.zeros(7, 2, 3, 4, 4), exposure).log_prob(torch.zeros(2, 3, 4, 4)).shape == (7, 2, 3, 4, 4)


def test_rates_are_exponential_and_then_linear():
    noise = PoissonLikelihood((3,))
    prediction = torch.tensor([2.999, 3.001, 30.0], requires_grad=True)
    rate = noise(prediction).mean
    (slope,) = torch.autograd.grad(rate.sum(), prediction)
    e = torch.tensor(3.0).exp().item()
    assert rate.tolist() == pytest.approx([e * 0.999, e * 1.001, e * 28], rel=1e-3)
    assert slope.tolist() == pytest.approx([e * 0.999, e, e], rel=1e-3)


def test_the_encoder_sees_roots_of_rates():
    noise = PoissonLikelihood((2,))
    for rate, exposure in ((COUNTS, None), (COUNTS / EXPOSURE[:, None], EXPOSURE)):
        torch.testing.assert_close(noise.inputs(COUNTS, exposure), (rate.sqrt() + (rate + 1).sqrt()) / 2)
    assert noise.accepts(COUNTS)
    assert not noise.accepts(COUNTS + 0.5)
    assert not noise.accepts(-COUNTS)


def test_an_exposure_reaches_model_and_guide():
    """Counts of twice the rate in windows of half the length have the same law of the rates."""
    torch.manual_seed(0)
    vae = make_vae("poisson", (2,), latent_dim=2, likelihood="negbio").eval()
    posterior = vae.posterior(2 * COUNTS, 2 * EXPOSURE)
    torch.testing.assert_close(posterior.log_rate, vae.posterior(COUNTS, EXPOSURE).log_rate)
    elbo = Trace_ELBO(num_particles=4000, vectorize_particles=True, max_plate_nesting=1)(vae.model, vae.guide)
    with torch.no_grad():
        losses = torch.stack([elbo(COUNTS, EXPOSURE) for _ in range(20)])
        q = vae.posterior(COUNTS, EXPOSURE)
        z = q.sample((80_000,))
        ratio = (vae.latent.prior().log_prob(z) - q.log_prob(z)).sum((1, 2))
        distribution = vae.likelihood(vae.decode(z), EXPOSURE)
        assert within(-ratio - distribution.log_prob(COUNTS).sum((1, 2)), losses.mean())
