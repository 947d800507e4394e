import pyro
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO, TraceMeanField_ELBO
from torch.distributions import kl_divergence

from pyrocount import ArrivalTimes, Discrete, RelaxedNegativeBinomial, RelaxedPoisson, SteinChen
from pyrocount.distributions import kl as kl_module
from pyrocount.models import (
    MODELS,
    CountLatent,
    NegativeBinomialLatent,
    PoissonLatent,
    make_vae,
)

SHAPE, K = (1, 8, 8), 6


def vae_of(model="negbio", shape=SHAPE, relaxation=ArrivalTimes(0.1), **options):
    vae = make_vae(model, shape, latent_dim=K, **options)
    if isinstance(vae.latent, CountLatent):
        vae.latent.relaxation = relaxation
    return vae


everything = pytest.mark.parametrize(("model", "shared"), [("poisson", True), ("negbio", True), ("negbio", False)])


@everything
def test_modes_choose_relaxed_or_exact_counts(model, shared):
    vae = vae_of(model, shared_dispersion=shared)
    x = torch.randn(50, *SHAPE)

    def counts():
        return pyro.poutine.trace(vae.guide).get_trace(x).nodes["z"]["value"]

    relaxed = vae.train() and counts()
    assert (relaxed != relaxed.round()).any()
    assert relaxed.requires_grad
    exact = vae.eval() and counts()
    assert (exact == exact.round()).all()
    assert not exact.requires_grad
    assert isinstance(vae.encode(x).base_dist.relaxation, Discrete)
    assert vae.train().encode(x).base_dist.relaxation == ArrivalTimes(0.1)


@everything
def test_posterior_is_a_residual_on_the_prior_and_code_undoes_it(model, shared):
    vae = vae_of(model, shared_dispersion=shared)
    x = torch.randn(5, *SHAPE)
    posterior, prior = vae.encode(x).base_dist, vae.latent.prior()
    features = vae.encoder(x)
    if model == "poisson":
        assert isinstance(posterior, RelaxedPoisson)
        torch.testing.assert_close(posterior.log_rate - prior.log_rate, features)
    else:
        assert isinstance(posterior, RelaxedNegativeBinomial)
        torch.testing.assert_close(posterior.logits - prior.logits, features[:, :K])
        residual = posterior.total_count.log() - prior.total_count.log()
        torch.testing.assert_close(residual, torch.zeros(5, K) if shared else features[:, K:])
    torch.testing.assert_close(vae.code(x), posterior.mean.log() - prior.mean.log(), rtol=1e-4, atol=1e-5)


def test_extreme_features_stay_finite():
    for latent in (PoissonLatent(K), NegativeBinomialLatent(K), NegativeBinomialLatent(K, shared_dispersion=False)):
        for extreme in (-1e6, 1e6):
            posterior = latent.posterior(torch.full((2, latent.features), extreme))
            assert posterior.rsample().isfinite().all()
            assert posterior.mean.isfinite().all()


@everything
@pytest.mark.parametrize("relaxation", [ArrivalTimes(0.1), SteinChen()], ids=repr)
@pytest.mark.parametrize("elbo", [Trace_ELBO, TraceMeanField_ELBO])
def test_every_parameter_gets_a_gradient(model, shared, relaxation, elbo, device):
    vae = vae_of(model, relaxation=relaxation, shared_dispersion=shared).to(device)
    loss = elbo()(vae.model, vae.guide)(torch.randn(20, *SHAPE, device=device))
    loss.backward()
    for name, parameter in vae.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all()
        assert parameter.grad.abs().sum() > 0, name


@everything
def test_kl_weight_scales_the_kl_alone(model, shared):
    vae = vae_of(model, shared_dispersion=shared)
    x = torch.randn(20, *SHAPE)
    # Without a dependence on the counts, the likelihood is the same at every weight.
    torch.nn.init.zeros_(vae.decoder[0][0].weight)
    elbo = (TraceMeanField_ELBO if shared else Trace_ELBO)()(vae.model, vae.guide)

    def loss(weight):
        pyro.set_rng_seed(3)
        vae.kl_weight = weight
        return elbo(x).item()

    if shared:
        kl = kl_divergence(vae.encode(x).base_dist, vae.latent.prior().expand((20, K))).sum().item()
        assert loss(1.0) - loss(1e-6) == pytest.approx(kl, rel=1e-2, abs=1e-3)
    assert loss(2.0) - loss(1.0) == pytest.approx(loss(3.0) - loss(2.0), rel=1e-2, abs=1e-3)


def test_a_shared_dispersion_has_the_closed_kl(kl_calls, monkeypatch):
    integrals = []

    def integral(mean, *arguments, **options):
        integrals.append(mean.shape)
        return torch.zeros_like(mean)

    monkeypatch.setattr(kl_module, "dispersion_divergence", integral)
    for vae in (vae_of("poisson"), vae_of("negbio")):
        TraceMeanField_ELBO()(vae.model, vae.guide)(torch.randn(4, *SHAPE))
    assert kl_calls == [("RelaxedPoisson", "RelaxedPoisson"), ("RelaxedNegativeBinomial", "RelaxedNegativeBinomial")]
    assert integrals == []
    vae = vae_of("negbio", shared_dispersion=False)
    TraceMeanField_ELBO()(vae.model, vae.guide)(torch.randn(4, *SHAPE))
    assert integrals == [(4, K)]


@everything
def test_svi_trains_every_parameter(model, shared):
    vaes = [vae_of(model, shared_dispersion=shared) for _ in range(2)]
    x = torch.randn(20, *SHAPE)
    for vae in vaes:
        before = {name: value.clone() for name, value in vae.state_dict().items()}
        svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 0.05}), Trace_ELBO())
        for _ in range(3):
            svi.step(x)
        trained = {name for name, value in vae.named_parameters() if not torch.equal(value, before[name])}
        assert trained == {name for name, _ in vae.named_parameters()}
    assert not torch.equal(vaes[0].decoder[0][0].weight, vaes[1].decoder[0][0].weight)


@pytest.mark.parametrize("network", ["lin", "mlp", "conv"])
def test_vectorised_particles_give_the_loss_of_a_loop(network):
    vae = vae_of(encoder=network, decoder=network)
    x = torch.randn(40, *SHAPE)
    losses = []
    for vectorised in (True, False):
        elbo = TraceMeanField_ELBO(num_particles=200, vectorize_particles=vectorised, max_plate_nesting=1)
        losses.append(torch.tensor(elbo.loss(vae.model, vae.guide, x)))
    assert vae.decode(torch.ones(3, 2, K)).shape == (3, 2, *SHAPE)
    single = TraceMeanField_ELBO()
    spread = torch.tensor([single.loss(vae.model, vae.guide, x) for _ in range(50)]).std() / 200**0.5
    assert (losses[0] - losses[1]).abs() < 5 * 2**0.5 * spread


def test_parameters_stay_within_their_limits():
    extreme = torch.full((2, 2 * K), 1e4)
    latent = vae_of("negbio", shared_dispersion=False).latent
    for features, sign in ((extreme, 1), (-extreme, -1)):
        posterior = latent.posterior(features)
        assert (posterior.logits == 5 * sign).all()
        torch.testing.assert_close(posterior.total_count.log(), torch.full((2, K), 5.0 * sign))
    assert (PoissonLatent(K).posterior(extreme[:, :K]).log_rate == 5).all()


def test_registry_builds_what_it_names():
    for name, spec in MODELS.items():
        if spec.inference == "encoder":
            assert type(vae_of(name).latent) is spec.latent
            assert spec.has_counts == issubclass(spec.latent, CountLatent)
    assert MODELS["negbio"].latent is NegativeBinomialLatent


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: vae_of("weibull"), "model: got 'weibull', expected one of poisson, negbio, gaussian"),
        (lambda: vae_of(likelihood="cauchy"), "likelihood: got 'cauchy', expected one of gaussian, bernoulli, poisson"),
        (lambda: vae_of(encoder="rnn"), "encoder: got 'rnn', expected one of lin, mlp, conv"),
        (lambda: vae_of(decoder="rnn"), "decoder: got 'rnn'"),
        (
            lambda: vae_of(shape=(20,), encoder="conv"),
            r"encoder: got 'conv' for data of shape \(20,\), expected images",
        ),
        (lambda: vae_of(shape=(1, 3, 8), decoder="conv"), "decoder: got 'conv' for data of shape"),
        (lambda: vae_of(scale=0.0), "scale: got 0.0, expected a positive number"),
        (lambda: PoissonLatent(0), "latent_dim: got 0, expected a positive"),
        (lambda: vae_of().encode(torch.zeros(3, 8, 8)), r"x: got shape \(3, 8, 8\), expected \(N, 1, 8, 8\)"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
