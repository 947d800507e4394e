"""Stimulation and silencing of latents, against what a linear decoder gives by hand."""

import numpy as np
import pytest
import torch

from pyrocount.backends import as_backend, derived_seed
from pyrocount.data.dataset import from_array
from pyrocount.metrics.sensitivity import carriers, rank_correlation, root_mean_square
from pyrocount.models import make_vae
from pyrocount.suites.sensitivity import sensitivity

from contexts import context_of

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 1.0])
def test_carriers_are_the_smallest_set(part):
    effects = RNG.normal(size=9)
    positive = np.maximum(effects, 0)
    # By brute force over all sets of latents.
    sets = [np.array(list(np.binary_repr(number, 9)), int) for number in range(2**9)]
    enough = [members.sum() for members in sets if members @ positive >= part * positive.sum() - 1e-12]
    assert carriers(effects, part) == min(enough)


def test_no_effect_has_no_carrier():
    assert carriers(-np.ones(3)) == carriers(np.zeros(0)) == 0
    assert np.isnan(rank_correlation(np.ones(3), np.arange(3.0)))


def test_the_size_of_a_change():
    changes = RNG.normal(size=(5, 2, 3, 4))
    expected = [np.sqrt(np.mean([value**2 for value in change.ravel()])) for change in changes]
    np.testing.assert_allclose(root_mean_square(changes), expected)


@pytest.mark.parametrize("model", ["poisson", "gaussian"])
def test_a_linear_decoder_gives_the_effects_by_hand(model):
    x = RNG.normal(size=(40, 6)).astype(np.float32)
    backend = as_backend(make_vae(model, (6,), latent_dim=3, encoder="lin", decoder="lin").eval())
    result = sensitivity(context_of(backend, from_array(x, scaling="none"), checked=30))
    context = context_of(backend, from_array(x, scaling="none"))
    chosen = context.test(30)[0]
    z = backend.draws(chosen, samples=1, seed=derived_seed(0, 8)).z[0].astype(float)
    columns = backend.dictionary().astype(float)
    unit = np.ones(3) if model == "poisson" else backend.prior_latents(2000, seed=0).std(0)
    change = unit * np.sqrt(np.square(columns).mean(1))
    metrics = result.metrics
    assert metrics["stimulation_change"].mean == pytest.approx(change.mean(), rel=1e-4)
    residual = chosen - backend.decoded(z.astype(np.float32), chosen)[0]
    # Noise of variance 1/2: the NLL is the sum of squares.
    rise = np.stack(
        [np.square(residual + z[:, [k]] * columns[k]).sum(1) - np.square(residual).sum(1) for k in range(3)], 1
    )
    assert metrics["silencing_nll"].mean == pytest.approx(rise.mean(), rel=1e-3, abs=1e-5)
    assert metrics["silencing_mse"].mean == pytest.approx(rise.mean() / 6, rel=1e-3, abs=1e-5)
    assert metrics["silencing_carriers"] == carriers(rise.mean(0))
    order = np.argsort(-rise.mean(0))
    assert [row[0] for row in result.tables[0].rows] == [str(latent) for latent in order]
    assert set(result.figures) == {"sensitivity", "perturbations"}


@pytest.mark.parametrize("kind", ["poisson", "iterative-poisson"])
def test_decoded_data_are_those_of_draws(kind):
    if kind == "poisson":
        model = make_vae(kind, (5,), latent_dim=3, likelihood="poisson").eval()
    else:
        pytest.importorskip("jax")
        from pyrocount.backends.iterative_model import make_iterative

        torch.manual_seed(0)
        model = make_iterative(kind, (5,), latent_dim=3, likelihood="poisson")
    backend = as_backend(model, steps=5)
    x = RNG.poisson(2.0, (7, 5)).astype(np.float32)
    x[2, 3] = np.nan
    exposure = RNG.uniform(0.5, 2, 7).astype(np.float32)
    drawn = backend.draws(x, exposure, samples=1)
    means, nll = backend.decoded(drawn.z[0], x, exposure)
    np.testing.assert_allclose(-nll, drawn.log_likelihood[0], rtol=1e-5)
    assert means.shape == x.shape
    twice = backend.decoded(drawn.z[0], x, 2 * exposure)[0]
    np.testing.assert_allclose(twice, 2 * means, rtol=1e-5)
