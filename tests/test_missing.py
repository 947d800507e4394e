"""Missing counts: left out of the likelihood, of the metrics and of the checks, whatever stands in their place."""

import json

import numpy as np
import pytest
import torch
from pyro.infer import TraceMeanField_ELBO

from pyrocount import evaluate
from pyrocount.diagnostics import fano_factor, predictive_checks, rootogram
from pyrocount.metrics import mean_squared_error, r_squared_per_observation, squared_errors
from pyrocount.models import make_vae

RNG = np.random.default_rng(1)


@pytest.fixture
def gaps():
    x = RNG.poisson(3.0, (60, 8)).astype(np.float32)
    holes = RNG.random(x.shape) < 0.2
    holes[0] = [False] * 7 + [True]
    x[holes] = np.nan
    return x


@pytest.mark.parametrize("likelihood", ["poisson", "negbio"])
def test_the_loss_is_that_of_what_is_known(gaps, likelihood):
    """By a model whose decoder ignores the latents, so that the loss has no noise."""
    x = torch.from_numpy(gaps)
    options = {"latent_dim": 3, "encoder": "lin", "decoder": "lin", "likelihood": likelihood}
    vae = make_vae("gaussian", (8,), **options, missing=True)
    vae.adapt(x)
    vae.decoder[0].weight.data.zero_()
    rates = vae.observed(torch.zeros(1, 3))
    known = [rates.log_prob(x[row].nan_to_num(0.0))[0][~x[row].isnan()].sum() for row in range(len(x))]
    kl = vae.latent.divergence(vae.posterior(x)).sum()
    loss = TraceMeanField_ELBO()(vae.model, vae.guide)(x)
    assert loss.item() == pytest.approx((kl - sum(known)).item(), rel=1e-5)
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in vae.parameters() if p.grad is not None)


def test_metrics_are_those_of_what_is_known():
    x = np.array([[1.0, 3.0, np.nan], [2.0, 2.0, 5.0]])
    prediction = np.array([[2.0, 3.0, 100.0], [2.0, 2.0, 4.0]])
    np.testing.assert_allclose(squared_errors(x, prediction), [0.5, 1 / 3])
    np.testing.assert_allclose(r_squared_per_observation(x, prediction), [1 - 1 / 2, 1 - 1 / 6])
    assert mean_squared_error(x, prediction) == pytest.approx(2 / 5)
    assert fano_factor(np.array([[0.0, np.nan], [2.0, 4.0], [np.nan, 4.0]])) == pytest.approx(0.5)
    assert rootogram(np.array([0.0, np.nan, 2.0]), np.array([1.0]))[0].tolist() == [0.5, 0.0, 0.5]
    (mean, *_) = predictive_checks(x, np.where(np.isnan(x), np.nan, [x, x + 2]), counts=True)
    assert (mean.observed, mean.predicted) == pytest.approx((13 / 5, 13 / 5 + 1))


@pytest.mark.parametrize(
    "model", ["negbio --encoder lin --decoder lin", "iterative-poisson --train-steps 4 --test-steps 4 --leak 1"]
)
def test_a_run(command, tmp_path, gaps, model):
    np.savez(tmp_path / "gaps.npz", x=gaps)
    line = f"--model {model} --data {tmp_path / 'gaps.npz'} --likelihood poisson --latent-dim 2 --epochs 3 --name r"
    code, _, err = command(line)
    assert code == 2
    assert "expected finite values, or --missing mask" in err[-1]
    code, *_ = command(f"{line} --missing mask", draw="iterative" not in model)
    assert code == 0
    metrics = json.loads((tmp_path / "runs" / "r" / "summary.json").read_text())
    assert all(value is not None and np.isfinite(value) for value in metrics.values())
    # About 16 of the 20 % that are known of 12 observations with 8 channels: Poisson counts of 3 cost 1.9 nats each.
    known = int((~np.isnan(gaps)).sum()) / gaps.size
    assert metrics["nelbo"] == pytest.approx(8 * known * 1.9, rel=0.25)
    suites = "recording,co-smoothing,diagnostics"
    assert evaluate.main([str(tmp_path / "runs" / "r"), "--samples", "50", "--checked", "12", "--suite", suites]) == 0
    found = json.loads((tmp_path / "runs" / "r" / "evaluation.json").read_text())["suites"]
    assert "co_smoothing" in found["co-smoothing"]["metrics"]
    assert not found["diagnostics"]["remarks"]
