import pytest
import torch
from torch.distributions import kl_divergence

from pyrocount.backends import as_backend
from pyrocount.backends.amortized_evaluation import dictionary
from pyrocount.backends.amortized_evaluation import evaluate as evaluate_batches
from pyrocount.models import make_vae

X = torch.randn(30, 1, 6, 5, generator=torch.Generator().manual_seed(0))


def evaluate(vae, x, batch_size=500, **options):
    return evaluate_batches(vae, ((part, None) for part in x.split(batch_size)), **options)


@pytest.fixture(params=["poisson", "negbio"])
def vae(request):
    torch.manual_seed(0)
    options = {"decoder": "lin", "shared_dispersion": False}
    return make_vae(request.param, X.shape[1:], latent_dim=4, **options)


@pytest.mark.parametrize("work", [lambda vae: evaluate(vae, X), lambda vae: as_backend(vae).prior_draws(3), dictionary])
def test_the_mode_and_the_random_state_stay_as_they_were(vae, work, monkeypatch):
    def everywhere(seed):
        raise AssertionError("seeds the generators of all devices")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", everywhere)
    for training in (True, False):
        vae.train(training)
        state = torch.get_rng_state()
        work(vae)
        assert torch.equal(torch.get_rng_state(), state)
        assert vae.training == vae.latent.training == training


def test_figures_are_of_exact_counts_and_seeded(vae):
    first, again, other = (evaluate(vae, X, samples=3, seed=seed) for seed in (0, 0, 1))
    assert first.metrics == again.metrics != other.metrics
    assert first.counts.shape == (3, 30, 4)
    assert (first.counts == first.counts.round()).all()
    assert first.reconstructions.shape == X.shape
    torch.testing.assert_close(torch.tensor(first.reconstructions), vae.decode(torch.tensor(first.counts[0])).detach())


def test_figures_agree_with_their_definitions(vae):
    result = evaluate(vae, X, beta=0.5, samples=400, batch_size=7)
    metrics = result.metrics
    vae.eval()
    posterior = vae.encode(X).base_dist
    kl = kl_divergence(posterior, vae.latent.prior().expand((30, 4)))
    assert metrics["kl"] == pytest.approx(kl.sum(1).mean().item(), rel=1e-5)
    assert result.latent_kl == pytest.approx(kl.mean(0).tolist(), rel=1e-4)
    assert metrics["paper_loss"] == pytest.approx(30 * metrics["mse"] + 0.5 * metrics["kl"])
    # Of a linear decoder the squared error has a closed form: the error of the mean and the variance of the counts.
    weight = vae.decoder[0].weight
    errors = (X - vae.decode(posterior.mean)).flatten(1).square().sum(1) + posterior.variance @ weight.square().sum(0)
    assert metrics["mse"] == pytest.approx(errors.mean().item() / 30, rel=0.02)
    assert metrics["mean_rate"] == pytest.approx(posterior.mean.mean().item(), rel=0.05)


def test_the_dictionary_of_a_linear_decoder_is_its_weights(vae):
    torch.testing.assert_close(torch.tensor(dictionary(vae)).flatten(1), vae.decoder[0].weight.detach().T)


def test_the_active_classes_of_a_nonlinear_decoder_are_those_that_are_chosen():
    torch.manual_seed(0)
    vae = make_vae("categorical", X.shape[1:], latent_dim=8, encoder="lin", decoder="mlp")
    with torch.no_grad():
        vae.encoder[-1].weight.zero_()
        vae.encoder[-1].bias.copy_(torch.tensor([10.0, -10, 10, -10, -10, 10, -10, -10]))
    assert evaluate(vae, X).metrics["active_latents"] == 3
