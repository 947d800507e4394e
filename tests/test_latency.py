"""Latency of iterative inference by contrast."""

import numpy as np
import pytest
import torch

from pyrocount.backends import as_backend
from pyrocount.data import load_dataset
from pyrocount.data.dataset import from_array
from pyrocount.metrics.latency import first_spikes, rise_step, slopes
from pyrocount.models import make_vae
from pyrocount.suites import SUITES

from contexts import context_of

latency = SUITES["latency"]
RNG = np.random.default_rng(0)


def test_the_first_spikes_are_those_of_a_loop():
    counts = RNG.poisson(0.2, (15, 4, 3))
    found = first_spikes(counts)
    for row in range(4):
        for latent in range(3):
            fired = [step for step in range(15) if counts[step, row, latent]]
            assert found[row, latent] == (fired[0] + 1 if fired else 15)


@pytest.mark.parametrize("part", [0.2, 0.5, 0.9])
def test_an_exponential_rises_when_it_should(part):
    response = 1 - np.exp(-np.arange(1, 2001) / 40)
    # The line between two steps is below the curve by less than its curvature.
    assert rise_step(3 * response, part) == pytest.approx(-40 * np.log(1 - part), abs=0.01)
    assert np.isnan(rise_step(-response))
    assert rise_step(np.ones(10)) == 0.5


def test_slopes_are_those_of_least_squares():
    contrasts, latencies = np.array([0.1, 0.2, 0.5, 1.0]), RNG.normal(size=(4, 6))
    np.testing.assert_allclose(slopes(contrasts, latencies), np.polyfit(np.log2(contrasts), latencies, 1)[0])


def iterative(kind="iterative-poisson", shape=(1, 8, 8), size=15.0, **options):
    """An untrained model whose latents are strongly driven."""
    pytest.importorskip("jax")
    from pyrocount.backends.iterative_model import make_iterative, with_parameters

    torch.manual_seed(0)
    made = make_iterative(kind, shape, latent_dim=12, initial_rate=0.05, step_size=0.05, **options)
    (name,) = [name for name in made.parameters if name.startswith("decoder") and name.endswith("weight")]
    return as_backend(with_parameters(made, {name: size * made.parameters[name]}))


def test_a_driven_model_responds_earlier_to_more_contrast():
    digits = load_dataset("digits", seed=0)
    result = latency(context_of(iterative(), digits))
    assert not result.remarks
    metrics = result.metrics
    assert metrics["first_spike_slope"].high < 0
    assert metrics["first_spike_1"].high < metrics["first_spike_without_contrast"].low
    assert metrics["half_response_slope"].low <= metrics["half_response_slope"].mean
    (table,) = result.tables
    evoked = [row[1] for row in table.rows]
    assert evoked == sorted(evoked)
    assert set(result.figures) == {"latency"}


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: as_backend(make_vae("poisson", (1, 8, 8), latent_dim=3).eval()), "a model that infers without steps"),
        (lambda: iterative("iterative-gaussian"), "latents that are not counts"),
        (lambda: iterative(size=0.0), "observations with responsive latents"),
        (lambda: iterative(likelihood="poisson"), "counts, expected real values, whose contrast can be changed"),
    ],
)
def test_what_has_no_latency_is_a_remark(make, problem):
    x = RNG.poisson(1.0, (12, 1, 8, 8)).astype(np.float32)
    (remark,) = latency(context_of(make(), from_array(x, scaling="none"))).remarks
    assert problem in remark
