"""Yardsticks of recorded counts: rates alone, dispersion, bits per spike; signs of a collapse."""

import json
import math

import numpy as np
import pytest
import torch
from scipy import stats

from pyrocount.backends import as_backend
from pyrocount.config import Config
from pyrocount.data import from_array
from pyrocount.diagnostics import constant_latents, information
from pyrocount.metrics.spikes import bits_per_spike, dispersions, mean_rates, negative_binomial_nll, poisson_nll
from pyrocount.models import make_vae

RNG = np.random.default_rng(1)


def test_losses_are_those_of_scipy():
    x, exposure = RNG.poisson(3.0, (50, 4)).astype(float), RNG.uniform(0.5, 2, 50)
    rate, size = np.array([0.5, 2.0, 3.0, 9.0]), np.array([0.3, 2.0, 50.0, 1e5])
    mean = rate * exposure[:, None]
    np.testing.assert_allclose(poisson_nll(x, rate, exposure), -stats.poisson.logpmf(x, mean), rtol=1e-12)
    wanted = -stats.nbinom.logpmf(x, size, size / (size + mean))
    np.testing.assert_allclose(negative_binomial_nll(x, rate, size, exposure), wanted, rtol=1e-8)
    x[3, 2] = np.nan
    for nll in (poisson_nll(x, rate, exposure), negative_binomial_nll(x, rate, size, exposure)):
        assert nll[3, 2] == 0
        assert np.isfinite(nll).all()


def test_mean_rates_leave_out_what_is_missing():
    x = np.array([[2.0, np.nan], [4.0, 6.0]])
    np.testing.assert_allclose(mean_rates(x, np.array([1.0, 2.0])), [2.0, 3.0])


def test_dispersions_are_the_likeliest():
    size = np.array([0.5, 3.0, 20.0])
    x = stats.nbinom.rvs(size, size / (size + 5.0), size=(2000, 3), random_state=0).astype(float)
    found = dispersions(x, mean_rates(x))
    # The information about log(size), by the curvature of the loss there.
    for place, value in enumerate(found):
        losses = [
            negative_binomial_nll(x[:, place], x[:, place].mean(), value * math.exp(h)).sum() for h in (-0.1, 0, 0.1)
        ]
        curvature = (losses[0] - 2 * losses[1] + losses[2]) / 0.01
        assert losses[1] == min(losses)
        assert abs(math.log(value / size[place])) < 5 / math.sqrt(curvature)
    assert dispersions(np.full((100, 1), 3.0), np.array([3.0]))[0] > 1e4


def test_bits_per_spike():
    """Two bins of one channel with 1 and 3 spikes; the mean rate is 2, the model knows the rates."""
    x, rates = np.array([[1.0], [3.0]]), np.array([[1.0], [3.0]])
    gain = (1 * math.log(1 / 2) + 3 * math.log(3 / 2)) / (4 * math.log(2))
    found = bits_per_spike(poisson_nll(x, rates).sum(), poisson_nll(x, mean_rates(x)).sum(), x.sum())
    assert found == pytest.approx(gain)
    assert math.isnan(bits_per_spike(0.0, 0.0, 0.0))


def test_signs_of_a_collapse():
    n = 300
    kinds = {
        "bias of many channels": (148 + 0.5 * RNG.normal(size=n), np.full(n, 148.0)),
        "Gaussian bias": (-1.5 + 0.27 * RNG.normal(size=n), np.full(n, 0.024)),
        "selective": (RNG.gamma(0.5, 1.6, n), RNG.gamma(0.5, 1.6, n)),
        "busy and selective": (30 * RNG.gamma(4, 0.25, n), np.full(n, 30.0)),
        "like a prior of a high rate": (20 + 0.5 * RNG.normal(size=n), np.full(n, 20.0)),
        "skewed around a prior of a high rate": (96 * np.exp(0.2 * RNG.normal(size=n)), np.full(n, 96.0)),
        "silent": (np.full(n, 0.2), np.full(n, 0.2)),
    }
    mean, variance = (np.stack([kind[place] for kind in kinds.values()], 1) for place in (0, 1))
    kl, prior = np.array([736, 2.5, 0.5, 0.8, 0.01, 2.0, 0.0]), np.array([3, 0, 0.8, 30, 20, 94, 0.2])
    assert [list(kinds)[latent] for latent in constant_latents(mean, variance, kl, prior)] == list(kinds)[:2]
    assert information(mean, variance)[-1] < 1e-12
    assert (information(mean, variance)[[2, 3]] > 0.3).all()


@pytest.fixture
def recording(tmp_path):
    """200 trials of 30 channels of high rates, which two directions and a gain modulate."""
    angle, pref = RNG.uniform(0, 2 * np.pi, (200, 1)), RNG.uniform(0, 2 * np.pi, 30)
    rates = np.exp(RNG.normal(2.5, 0.7, 30) + 0.5 * np.cos(angle - pref))
    np.savez(tmp_path / "recording.npz", x=RNG.poisson(rates * RNG.gamma(20, 1 / 20, (200, 30))).astype(np.float32))
    return tmp_path / "recording.npz"


@pytest.mark.parametrize("likelihood", ["poisson", "negbio"])
@pytest.mark.parametrize("model", ["poisson", "negbio", "gaussian"])
def test_every_family_beats_the_mean_rates(command, tmp_path, recording, model, likelihood):
    line = f"--data {recording} --model {model} --likelihood {likelihood} --latent-dim 6 --epochs 30 --lr 0.01 --name r"
    code, out, err = command(f"{line} --batch-size 20")
    assert code == 0
    assert not [text for text in err if text.startswith("warning")]
    run = tmp_path / "runs" / "r"
    metrics = json.loads((run / "summary.json").read_text())
    header = out.splitlines()[0]
    assert "mean rate" in header
    assert "mean rate, NB" in header
    nelbo, _, rates, overdispersed = map(
        float, next(row for row in out.splitlines() if row.startswith("nelbo")).split()[1:]
    )
    assert metrics["nelbo"] < min(rates, overdispersed if likelihood == "negbio" else rates)
    spikes = np.load(recording)["x"].sum(1, dtype=float)
    # The held-out fifth has the mean number of spikes, up to its standard error.
    gain, error = (rates - nelbo) / (spikes.mean() * math.log(2)), float(5 * spikes.std() / spikes.mean() / 40**0.5)
    assert metrics["bits_per_spike"] == pytest.approx(gain, rel=error + 2e-2)
    assert "test_bits_per_spike" in (run / "metrics.csv").read_text().splitlines()[0]


def test_collapsed_fits_are_named(command, recording):
    line = f"--data {recording} --model poisson --likelihood poisson --latent-dim 6"
    # So large a weight of the KL draws every posterior to the prior.
    _, _, err = command(f"{line} --encoder lin --decoder lin --epochs 60 --lr 0.02 --beta 1000 --anneal 0")
    assert [text for text in err if text.startswith("warning: the posterior ignores the data")]
    _, _, err = command(f"{line} --epochs 3 --lr 0.5 --max-gradient-norm 1e6 --beta 1e-3")
    assert [text for text in err if text.startswith("warning: the fit is worse than the mean rates alone, by ")]


def test_a_latent_that_is_a_bias_is_named(recording):
    """One latent is always near 30, far from its prior, and raises all rates; the other tells observations apart."""
    x = np.load(recording)["x"]
    data = from_array(x, scaling="none")
    vae = make_vae("poisson", x.shape[1:], latent_dim=2, encoder="lin", decoder="lin", likelihood="poisson")
    with torch.no_grad():
        vae.latent.log_rate.zero_()
        vae.encoder[1].weight.copy_(torch.stack([torch.zeros(30), torch.full((30,), 0.4)]))
        vae.encoder[1].bias.copy_(
            torch.tensor([math.log(30.0), -0.4 * (np.sqrt(x) + np.sqrt(x + 1)).sum(1).mean() / 2])
        )
        vae.decoder[0].weight.fill_(0.09)
    backend = as_backend(vae)
    config = Config(model="poisson", likelihood="poisson", encoder="lin", decoder="lin", latent_dim=2)
    remarks = backend.remarks(config, data, backend.evaluate_held_out(config, data))
    (found,) = [remark for remark in remarks if "constant" in remark]
    assert found.startswith("warning: latents that carry a constant, as a bias would: 0; ")
