"""Inputs that excite latents most, against the optimum of a linear encoder."""

import numpy as np
import pytest
import torch
from scipy.optimize import brentq

from pyrocount.backends import as_backend, exciting_inputs
from pyrocount.data.dataset import from_array
from pyrocount.errors import InputError
from pyrocount.metrics.sensitivity import cosines
from pyrocount.models import make_vae
from pyrocount.suites.exciting_inputs import exciting_inputs_suite

from contexts import context_of

RNG = np.random.default_rng(0)
START = np.array([0.2, -0.1, 0.0, 0.3, 0.1], np.float32)


def linear(model):
    """A model whose posterior means, or their logarithms, are linear in the input, and their slopes (K, D)."""
    vae = make_vae(model, (5,), latent_dim=3, encoder="lin", decoder="lin").eval()
    x = torch.tensor(START)[None].requires_grad_()
    slopes = [torch.autograd.grad(vae.encode(x).mean[0, latent], x)[0][0] for latent in range(3)]
    return vae, torch.stack(slopes).numpy()


@pytest.mark.parametrize("model", ["gaussian", "poisson"])
def test_far_from_the_limits_the_optimum_is_along_the_slope(model):
    vae, slopes = linear(model)
    found, reached = exciting_inputs(vae, [2, 0], START, radius=1.5, limits=(-100.0, 100.0))
    directions = slopes[[2, 0]] / np.linalg.norm(slopes[[2, 0]], axis=1, keepdims=True)
    np.testing.assert_allclose(found, START + 1.5 * directions, atol=1e-4)
    with torch.no_grad():
        mean = vae.encode(torch.tensor(found)).mean.numpy()
    np.testing.assert_allclose(reached, mean[[0, 1], [2, 0]], rtol=1e-5)


def test_within_limits_the_optimum_has_values_on_them():
    """The optimum of a linear function in a box and a ball is a multiple of the slope, clamped."""
    vae, slopes = linear("gaussian")
    low, high, radius = -0.4, 0.6, 0.9
    found, _ = exciting_inputs(vae, range(3), START, radius=radius, limits=(low, high), steps=300)
    for slope, x in zip(slopes, found, strict=True):
        assert x.min() >= low - 1e-6
        assert x.max() <= high + 1e-6
        assert np.linalg.norm(x - START) <= radius + 1e-5

        def clamped(size, slope=slope):
            return np.clip(START + size * slope, low, high) - START

        largest = 1e6
        ends_in_the_corner = np.linalg.norm(clamped(largest)) <= radius
        size = largest if ends_in_the_corner else brentq(lambda s: np.linalg.norm(clamped(s)) - radius, 0, largest)
        assert slope @ (x - START) >= 0.98 * slope @ clamped(size)


def test_the_cosine_is_that_of_the_angle():
    first, second = RNG.normal(size=(2, 4, 2, 3))
    by_hand = [(a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()) for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(cosines(first, second), by_hand)


def test_counts_are_excited_within_their_range():
    counts = RNG.poisson(RNG.gamma(0.5, 2.0, 6), (80, 6)).astype(np.float32)
    vae = make_vae("poisson", (6,), latent_dim=3, likelihood="poisson").eval()
    backend = as_backend(vae)
    data = from_array(counts, scaling="none", exposure=np.full(80, 2.0, np.float32))
    backend.adapt(data)
    result = exciting_inputs_suite(context_of(backend, data))
    assert not result.remarks
    metrics = result.metrics
    # The gradient goes further than the best of the data of this size on average.
    assert metrics["exciting_deviations"].mean > 0
    assert -1 <= metrics["exciting_with_decoder"].mean <= 1
    assert set(result.figures) == {"exciting_inputs"}
    assert len(result.tables[0].rows) == 3


@pytest.mark.parametrize("kind", ["lca", "iterative-poisson"])
def test_without_an_encoder_there_are_observations_and_a_remark(kind):
    x = RNG.normal(size=(30, 1, 4, 4)).astype(np.float32)
    if kind == "lca":
        model = make_vae(kind, (1, 4, 4), latent_dim=3, infer=lambda x, weight: x[:, :3].abs()).eval()
        with pytest.raises(InputError, match="RUN: got a model of sparse coding"):
            exciting_inputs(model, [0], x[0], radius=1.0, limits=(-1.0, 1.0))
    else:
        pytest.importorskip("jax")
        from pyrocount.backends.iterative_model import make_iterative

        model = make_iterative(kind, (1, 4, 4), latent_dim=3)
    result = exciting_inputs_suite(context_of(as_backend(model, steps=5), from_array(x, scaling="none")))
    (remark,) = result.remarks
    assert remark.startswith("gradient ascent: RUN: got a model of")
    assert set(result.metrics) == {"best_held_out_deviations", "best_held_out_with_decoder"}
    assert set(result.figures) == {"exciting_inputs"}
