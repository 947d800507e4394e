"""All families of latents, and the estimators of their gradients."""

import math

import pyro
import pytest
import torch
from pyro.infer import Trace_ELBO
from torch.distributions import OneHotCategorical, kl_divergence

from pyrocount.backends.amortized_training import make_elbo
from pyrocount.config import Config
from pyrocount.distributions import RelaxedCategorical
from pyrocount.errors import InputError
from pyrocount.inference import fista
from pyrocount.models import MODELS, CollapsedVAE, GaussianLatent, make_vae
from pyrocount.models.latents.counts import initial_log_rates

from cases import within

K, D, N = 3, 5, 4
FAMILIES = [name for name, spec in MODELS.items() if spec.inference == "encoder"]
X = torch.randn(N, D, generator=torch.Generator().manual_seed(1))

gaussians = [("gaussian", activation) for activation in ("identity", "relu", "exp")]
with_moments = pytest.mark.parametrize(
    ("model", "activation"), [*gaussians, *((name, "identity") for name in FAMILIES if name != "gaussian")]
)


def activated(activation):
    """Options of Gaussian latents, the only ones with an activation."""
    return {} if activation == "identity" else {"activation": activation}


def linear(model, estimator=None, **options):
    """A VAE whose posteriors are some way from the prior."""
    torch.manual_seed(7)
    vae = make_vae(
        model, (D,), latent_dim=K, estimator=estimator, encoder="lin", decoder="lin", shared_dispersion=False, **options
    )
    torch.nn.init.normal_(vae.encoder[1].weight, std=0.3)
    torch.nn.init.zeros_(vae.encoder[1].bias)
    torch.nn.init.normal_(vae.decoder[0].weight, std=0.7)
    return vae


@with_moments
def test_moments_are_those_of_exact_samples(model, activation):
    vae = linear(model, **activated(activation)).eval()
    posterior = vae.posterior(X)
    z = vae.latent.activity(posterior.sample((200_000,)))
    mean, _ = vae.latent.moments(posterior)
    assert within(z, mean)
    weight = vae.decoder[0].weight.detach()
    deviations = (z - z.mean(0)) @ weight.T
    assert within(deviations.square().sum(-1), vae.latent.scatter(posterior, weight))


@pytest.mark.parametrize("model", FAMILIES)
def test_contributions_add_up_to_the_divergence(model):
    vae = linear(model).eval()
    posterior, prior = vae.encode(X), vae.latent.prior()
    z = posterior.sample((100_000,))
    ratio = posterior.log_prob(z) - prior.to_event(1 - len(prior.event_shape)).log_prob(z)
    contributions = vae.latent.divergence(vae.posterior(X))
    assert contributions.shape == (N, K)
    assert within(ratio, contributions.sum(1))


@with_moments
def test_the_collapsed_program_is_the_expectation_of_the_elbo(model, activation):
    vae = linear(model, **activated(activation), scale=0.6).eval()
    vae.kl_weight = 0.7
    collapsed = CollapsedVAE(vae)
    exact = Trace_ELBO()(collapsed.model, collapsed.guide)(X)
    sampled = Trace_ELBO(num_particles=2500, vectorize_particles=True, max_plate_nesting=1)(vae.model, vae.guide)
    with torch.no_grad():
        assert within(torch.stack([sampled(X) for _ in range(40)]), exact.detach())


def gradient(loss, parameters):
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, parameters)])


UNBIASED = [
    ("poisson", "arrival", 0.01), ("poisson", "stein", 1.0), ("poisson", "score", 1.0),
    ("negbio", "stein", 1.0), ("negbio", "score", 1.0), ("gaussian", "pathwise", 1.0), ("gaussian", "score", 1.0),
    ("laplace", "pathwise", 1.0), ("laplace", "score", 1.0), ("categorical", "score", 1.0),
]  # fmt: skip


@pytest.mark.parametrize(("model", "estimator", "temperature"), UNBIASED)
def test_unbiased_estimators_average_to_the_exact_gradient(model, estimator, temperature):
    """Of the loss that a command line trains, with respect to all weights of the encoder."""
    relaxed = {"temperature": temperature} if estimator == "arrival" else {}
    vae = linear(model, estimator, **relaxed)
    weight = vae.encoder[1].weight
    collapsed = CollapsedVAE(vae)
    exact = gradient(Trace_ELBO()(collapsed.model, collapsed.guide)(X), weight)
    # Equal observations, one after the other, are as good as particles.
    copies = X.repeat(1500, 1)
    elbo = make_elbo(Config(model=model, estimator=estimator, decoder="lin"), vae)
    draws = torch.stack([gradient(elbo(copies) / 1500, weight) for _ in range(40)])
    assert within(draws, exact)
    assert draws.std(0).max() > 0


@pytest.mark.parametrize("samples", [1, 5])
@pytest.mark.parametrize(("model", "estimator"), [("poisson", "score"), ("categorical", "score"), ("poisson", "stein")])
def test_several_samples_leave_the_expected_loss(model, estimator, samples):
    vae = linear(model, estimator)
    config = Config(model=model, estimator=estimator, samples=samples, decoder="lin")
    elbo = make_elbo(config, vae)
    exact = CollapsedVAE(vae)
    expected = Trace_ELBO()(exact.model, exact.guide)(X).detach()
    losses = torch.stack([elbo(X.repeat(100, 1)).detach() / 100 for _ in range(40)])
    assert within(losses, expected)


def test_a_baseline_learns_the_loss_and_quiets_the_gradient():
    torch.manual_seed(0)
    vae = linear("poisson", "score")
    elbo = make_elbo(Config(model="poisson", estimator="score"), vae)

    def spread():
        draws = torch.stack([gradient(elbo(X.repeat(10, 1)), vae.encoder[1].weight) for _ in range(100)])
        return draws.std(0).norm()

    before = spread()
    optimizer = torch.optim.Adam(vae.baseline.parameters(), lr=3e-2)
    for _ in range(100):
        optimizer.zero_grad()
        elbo(X.repeat(10, 1)).backward()
        optimizer.step()
    assert spread() < 0.7 * before


@pytest.mark.parametrize(
    ("model", "estimator", "reason"),
    [
        ("gaussian", "arrival", "only counts have arrival times"),
        ("categorical", "stein", "the rule is one for counts"),
        ("poisson", "pathwise", "they are discrete"),
        ("laplace", "gumbel", "its noise chooses among discrete values"),
        ("laplace", "straight-through", "a gradient of their own"),
        ("poisson", "magic", "unknown"),
    ],
)
def test_estimators_are_refused_with_a_reason(model, estimator, reason):
    with pytest.raises(ValueError, match=rf"estimator: got '{estimator}' for {model} latents \(.*{reason}\)"):
        linear(model, estimator)


def test_exact_is_refused_where_nothing_is_closed():
    relu = GaussianLatent(K, activation="softplus")
    with pytest.raises(ValueError, match="estimator: got 'exact' for Gaussian latents with softplus"):
        relu.moments(relu.posterior(torch.zeros(2, 2 * K)))
    with pytest.raises(ValueError, match="estimator: got 'exact' for a decoder that is not linear"):
        CollapsedVAE(make_vae("poisson", (D,), latent_dim=K, estimator="exact"))
    with pytest.raises(ValueError, match="estimator: got 'exact' for noise that is not Gaussian"):
        CollapsedVAE(make_vae("poisson", (D,), latent_dim=K, decoder="lin", likelihood="bernoulli"))
    with pytest.raises(ValueError, match="activation: got 'tanh', expected one of identity, relu, softplus, exp"):
        GaussianLatent(K, activation="tanh")


@pytest.mark.parametrize("model", ["poisson", "negbio", "categorical"])
def test_temperatures_reach_the_samples(model):
    latent = linear(model, "gumbel").latent
    latent.set_temperature(0.7)
    posterior = latent.posterior(torch.zeros(2, latent.features))
    assert getattr(posterior, "relaxation", posterior).temperature == 0.7
    assert type(latent) is MODELS[model].latent
    without = linear(model, "score").latent
    without.set_temperature(0.5)
    assert not without.posterior(torch.zeros(2, without.features)).has_rsample


@pytest.mark.parametrize("model", ["poisson", "negbio"])
def test_relaxed_counts_can_become_exact(model):
    latent = linear(model, "arrival").latent
    posterior = latent.posterior(torch.full((50, latent.features), 1.0))
    soft = posterior.rsample()
    assert not torch.equal(soft, soft.round())
    latent.set_hard(True)
    posterior = latent.posterior(torch.full((50, latent.features), 1.0, requires_grad=True))
    exact = posterior.rsample()
    assert torch.equal(exact, exact.round())
    assert exact.requires_grad
    latent.set_hard(False)
    assert latent.relaxation == linear(model, "arrival").latent.relaxation
    other = linear(model, "stein").latent
    other.set_hard(True)
    assert other.relaxation == linear(model, "stein").latent.relaxation


@pytest.mark.parametrize(("rate", "spread", "low", "high"), [(math.exp(-5), 1.0, -6, -4), (math.exp(-4), 2.0, -6, -2)])
def test_first_log_rates_of_the_publications(rate, spread, low, high):
    draws = 10_000
    found = initial_log_rates(draws, rate, spread)
    assert low <= found.min() < found.max() <= high
    # The extremes of n uniform values are some ranges over n from the limits.
    assert max(found.min() - low, high - found.max()) < 20 * (high - low) / draws
    with pytest.raises(InputError, match=r"initial_rate: got 60, expected a positive number below 54\.6"):
        initial_log_rates(3, 60, 1.0)


@pytest.mark.parametrize("hard", [False, True])
def test_relaxed_categories(hard):
    logits = torch.tensor([0.5, -1.0, 0.2, 0.0], requires_grad=True)
    d = RelaxedCategorical(logits=logits, temperature=0.5, hard=hard, validate_args=True)
    z = d.rsample((20_000,))
    torch.testing.assert_close(z.sum(-1), torch.ones(20_000))
    assert bool((z == z.round()).all()) == hard
    assert within(torch.nn.functional.one_hot(z.detach().argmax(-1), 4), d.probs.detach())
    assert torch.autograd.grad((z * torch.arange(4.0)).sum(), logits)[0].abs().sum() > 0
    assert d.log_prob(z).shape == (20_000,)
    one_hot = torch.eye(4)
    torch.testing.assert_close(d.log_prob(one_hot), OneHotCategorical(logits=logits).log_prob(one_hot))
    assert d.sample().requires_grad is False
    wide = d.expand((3, 2))
    assert isinstance(wide, RelaxedCategorical)
    assert (wide.temperature, wide.hard, wide.rsample().shape) == (0.5, hard, (3, 2, 4))
    torch.testing.assert_close(kl_divergence(wide, d), torch.zeros(3, 2))
    if not hard:
        with pytest.raises(ValueError, match="within the support"):
            d.log_prob(torch.full((4,), 0.3))


def test_exact_categories_have_no_gradient():
    d = RelaxedCategorical(logits=torch.zeros(4))
    assert not d.has_rsample
    assert set(d.sample((100,)).flatten().tolist()) == {0.0, 1.0}
    with pytest.raises(NotImplementedError, match="carry no gradient"):
        d.rsample()
    with pytest.raises(ValueError, match="temperature: got 0"):
        RelaxedCategorical(logits=torch.zeros(4), temperature=0)


def test_score_functions_survive_the_plate():
    """Pyro expands distributions inside a plate; they must not get their gradient back."""
    for model in ("gaussian", "laplace"):
        vae = linear(model, "score")
        site = pyro.poutine.trace(vae.guide).get_trace(X).nodes["z"]
        assert not site["fn"].has_rsample
        assert not site["value"].requires_grad


def test_sparse_codes_need_an_inference_and_others_none():
    with pytest.raises(ValueError, match="infer: got None, expected a function for lca"):
        make_vae("lca", (D,), latent_dim=K)
    with pytest.raises(ValueError, match="expected None for poisson"):
        make_vae("poisson", (D,), latent_dim=K, infer=fista)
