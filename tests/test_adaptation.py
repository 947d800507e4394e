"""What training data set before training: standardised inputs of the encoder, a decoder that starts at their mean."""

import numpy as np
import pytest
import torch

from pyrocount.backends.iterative_model import make_iterative
from pyrocount.models import LIKELIHOODS, make_decoder, make_vae
from pyrocount.models.networks import LayerOptions
from pyrocount.models.standardization import Standardization

RNG = np.random.default_rng(1)
N = 2500


def made(likelihood, shape):
    """Returns training data of a likelihood, more than are converted at a time, with a constant first feature."""
    level = RNG.uniform(0.1, 0.9, shape)
    match likelihood:
        case "gaussian":
            x = 5 * level + RNG.normal(size=(N, *shape)) * level
        case "bernoulli":
            x = RNG.random((N, *shape)) < level
        case _:
            x = RNG.poisson(40 * level, (N, *shape))
    x = torch.from_numpy(x.astype(np.float32))
    x.flatten(1)[:, 0] = 1.0
    return x


@pytest.mark.parametrize("shape", [(6,), (2, 5, 4)])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_inputs_are_standardised(likelihood, shape):
    x = made(likelihood, shape)
    vae = make_vae("poisson", shape, latent_dim=3, likelihood=likelihood)
    vae.adapt(x)
    inputs = vae.inputs(x)
    axes = (0, 2, 3) if len(shape) == 3 else (0,)
    mean, deviation = inputs.mean(axes), inputs.std(axes, correction=0)
    torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-4, rtol=0)
    wanted = torch.ones_like(deviation)
    if len(shape) == 1:
        wanted[0] = 0
    torch.testing.assert_close(deviation, wanted, atol=1e-4, rtol=0)


def test_missing_values_are_left_out_and_become_the_mean():
    x = torch.randn(N, 3) * 2 + 100
    gaps = x.clone()
    gaps[::3, 1] = torch.nan
    standardization = Standardization((3,))
    standardization.fit(gaps.split(700))
    assert standardization.mean[1] == pytest.approx(float(gaps[:, 1].nanmean()), rel=1e-6)
    given = standardization(gaps)
    assert (given[::3, 1] == 0).all()
    assert given[1::3, 1].std() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    ("model", "decoder", "output"),
    [("poisson", "lin", "identity"), ("negbio", "mlp", "identity"), ("gaussian", "conv", "identity")],
)
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_a_decoder_starts_at_the_mean_of_the_data(model, decoder, output, likelihood):
    shape = (1, 5, 6) if decoder == "conv" else (6,)
    x = made(likelihood, shape)
    vae = make_vae(model, shape, latent_dim=3, decoder=decoder, likelihood=likelihood, output=output)
    vae.adapt(x)
    vae.eval()
    z = vae.latent.prior().expand((4000, 3)).sample()
    prediction = vae.decode(z)
    wanted = x.mean(0)
    if likelihood == "bernoulli":
        wanted = wanted.clamp(0.5 / N, 1 - 0.5 / N)
    error = 5 * prediction.std(0) * (1 / 4000 + 1 / 1000) ** 0.5 + 1e-4
    start = vae.likelihood(prediction.mean(0)).mean
    low, high = (vae.likelihood(prediction.mean(0) + sign * error).mean for sign in (-1, 1))
    assert ((low <= wanted) & (wanted <= high)).all(), (start, wanted)


@pytest.mark.parametrize("output", ["sigmoid", "tanh"])
def test_a_decoder_of_a_bounded_output_starts_there_too(output):
    x = torch.rand(N, 4) * torch.tensor([0.4, 0.8, 1.2, 1.6]) - (0.5 if output == "tanh" else 0.0)
    x = x.clamp(0, 1) if output == "sigmoid" else x
    vae = make_vae("poisson", (4,), latent_dim=3, output=output)
    vae.adapt(x)
    z = vae.eval().latent.prior().expand((1000, 3)).sample()
    layers, function = vae.decoder
    torch.testing.assert_close(function(layers(z).mean(0)), x.mean(0), atol=0.01, rtol=0)


def test_rates_are_per_unit_of_exposure():
    exposure = torch.rand(N) + 0.5
    x = torch.poisson(exposure[:, None] * torch.tensor([0.5, 3.0, 60.0]))
    vae = make_vae("poisson", (3,), latent_dim=2, decoder="lin", likelihood="poisson")
    vae.adapt(x, exposure)
    mean = vae.observed(vae.latent.prior().mean[None], exposure[:1]).mean[0] / exposure[0]
    # The mean rate has a standard error of sqrt(rate / sum of exposure).
    torch.testing.assert_close(mean.detach(), torch.tensor([0.5, 3.0, 60.0]), rtol=0.1, atol=0)


def test_adapting_changes_no_random_number():
    vae = make_vae("poisson", (6,), latent_dim=3)
    torch.manual_seed(3)
    wanted = torch.rand(2)
    torch.manual_seed(3)
    vae.adapt(made("gaussian", (6,)))
    assert torch.equal(torch.rand(2), wanted)
    assert vae.training


def test_what_has_no_bias_or_no_encoder_stays_as_it_is():
    without = make_vae("poisson", (6,), latent_dim=3)
    without.decoder = make_decoder("lin", 3, (6,), LayerOptions(bias=False))
    for vae in (make_vae("lca", (6,), latent_dim=3, infer=lambda x, weight: x[:, :3]), without):
        before = {name: value.clone() for name, value in vae.named_parameters()}
        vae.adapt(made("gaussian", vae.shape))
        assert all(torch.equal(value, before[name]) for name, value in vae.named_parameters())


@pytest.mark.parametrize("decoder", ["lin", "mlp", "conv"])
@pytest.mark.parametrize("likelihood", ["gaussian", "poisson"])
def test_iterative_models_start_at_the_mean_of_the_data(decoder, likelihood):
    shape = (1, 5, 6) if decoder == "conv" else (6,)
    x = made(likelihood, shape)
    fresh = make_iterative("iterative-poisson", shape, latent_dim=3, decoder=decoder, likelihood=likelihood)
    adapted = fresh.adapt(x)
    rest = adapted.model.prior(adapted.parameters).mean[None]
    mean = np.asarray(adapted.model.observation_distribution(adapted.parameters, rest).mean)[0]
    np.testing.assert_allclose(mean, x.mean(0), rtol=1e-3)
    changed = {name for name, value in fresh.parameters.items() if (value != adapted.parameters[name]).any()}
    assert len(changed) == 1
    assert changed.pop().endswith("bias")


def test_hidden_inputs():
    vae = make_vae("poisson", (50,), latent_dim=3, input_dropout=0.3)
    x = torch.randn(400, 50)
    hidden = vae.inputs(x) == 0
    # The standard error of a fraction of 20000.
    assert abs(float(hidden.float().mean()) - 0.3) < 5 * (0.3 * 0.7 / 20_000) ** 0.5
    assert torch.equal(vae.eval().inputs(x), x)
