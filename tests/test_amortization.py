import json

import numpy as np
import pytest
import torch

from pyrocount.amortization import compare_with_sparse_codes, main
from pyrocount.backends.amortization_gap import posterior_gap
from pyrocount.config import Config
from pyrocount.errors import InputError
from pyrocount.fit import fit
from pyrocount.inference import fista
from pyrocount.models import make_vae


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    return fit(Config(model="poisson", encoder="lin", decoder="lin", epochs=3, out=str(out))).path


def test_codes_beat_the_encoder_and_trade_error_for_sparsity():
    torch.manual_seed(0)
    dictionary = torch.nn.functional.normalize(torch.randn(16, 24), dim=0)
    x = torch.rand(50, 24).mul(torch.rand(50, 24) < 0.1) @ dictionary.T
    # An encoder that has not learned anything, with an offset that the codes must not have to explain.
    vae = make_vae("poisson", (16,), latent_dim=24, encoder="mlp", decoder="lin")
    with torch.no_grad():
        vae.decoder[0].weight.copy_(3 * dictionary)
        vae.decoder[0].bias.fill_(0.7)
    model, *codes = compare_with_sparse_codes(vae, x + 0.7, (0.01, 0.1, 1.0), method="fista", steps=2000)
    assert model.sparsity is None
    errors = [point.mse for point in codes]
    assert errors == sorted(errors)
    assert errors[0] < 0.1 * model.mse
    assert [point.zero_fraction for point in codes] == sorted(point.zero_fraction for point in codes)
    expected = (x - fista(x, dictionary, 0.1, 2000) @ dictionary.T).square().mean().item()
    assert codes[1].mse == pytest.approx(expected, rel=1e-3)


def test_the_command_prints_and_saves(run, capsys):
    assert main([str(run), "--steps", "50", "--sparsities", "0.1", "0.5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["sparsity", "model", "0.1", "0.5", str(run)]
    saved = json.loads((run / "amortization.json").read_text())
    assert saved["method"] == "lca"
    assert [point["sparsity"] for point in saved["points"]] == [None, 0.1, 0.5]
    assert (run / "figures" / "amortization.png").is_file()


def test_silence_is_saved_too(run):
    assert main([str(run), "--steps", "5", "--sparsities", "1000"]) == 0
    assert json.loads((run / "amortization.json").read_text())["points"][1]["lifetime_sparsity"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["RUN", "--method", "omp"], "argument --method: invalid choice: 'omp'"),
        (["RUN", "--sparsities", "0"], "sparsities: got 0.0, expected positive numbers"),
        (["RUN", "--steps", "0"], "steps: got 0, expected a positive whole number"),
        (["nowhere"], "path: got nowhere, whose model.safetensors cannot be read"),
        ([], "the following arguments are required: RUN"),
    ],
)
def test_bad_input_ends_in_one_line(run, capsys, arguments, message):
    assert main([str(run) if argument == "RUN" else argument for argument in arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_other_decoders_have_no_dictionary():
    with pytest.raises(ValueError, match="RUN: got a model whose decoder is not linear"):
        compare_with_sparse_codes(make_vae("poisson", (4,), latent_dim=2), torch.zeros(3, 4))
    counts = make_vae("poisson", (4,), latent_dim=2, decoder="lin", likelihood="poisson")
    with pytest.raises(ValueError, match="or whose noise is not Gaussian"):
        compare_with_sparse_codes(counts, torch.zeros(3, 4))


def test_refined_posteriors_reach_the_evidence():
    """With orthogonal columns and Gaussian noise the exact posterior factorises, so that the best ELBO is log p(x)."""
    torch.manual_seed(0)
    vae = make_vae("gaussian", (6,), latent_dim=3, encoder="mlp", decoder="lin", scale=0.6).eval()
    columns = torch.linalg.qr(torch.randn(6, 3))[0] * torch.tensor([2.0, 1.0, 0.3])
    with torch.no_grad():
        vae.decoder[0].weight.copy_(columns)
        vae.decoder[0].bias.zero_()
    x = torch.randn(20, 6) * 2
    own, refined = posterior_gap(vae, x, steps=600, lr=0.05, samples=2000)
    covariance = columns @ columns.T + 0.36 * torch.eye(6)
    evidence = torch.distributions.MultivariateNormal(torch.zeros(6), covariance).log_prob(x).numpy()
    # The noise of 2000 samples of a quadratic with three latents, and what Adam leaves.
    assert np.abs(refined + evidence).max() < 0.25
    assert (own - refined > 1).all()
    assert not vae.training


def test_refining_counts_gains_and_leaves_the_model_as_it_was():
    torch.manual_seed(0)
    vae = make_vae("negbio", (6,), latent_dim=3, likelihood="poisson", estimator="arrival")
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    relaxation, x = vae.latent.relaxation, torch.poisson(torch.full((30, 6), 3.0))
    exposure = torch.linspace(0.5, 2, 30)
    own, refined = posterior_gap(vae, x, exposure, steps=150, samples=200)
    assert own.shape == refined.shape == (30,)
    assert (own - refined).mean() > 0
    assert vae.training
    assert vae.latent.relaxation is relaxation
    assert all(torch.equal(value, before[name]) for name, value in vae.state_dict().items())
    assert all(parameter.grad is None for parameter in vae.parameters())


def test_what_carries_no_gradient_is_not_refined():
    vae = make_vae("gaussian", (6,), latent_dim=3, estimator="score")
    with pytest.raises(InputError, match="estimator: got samples without a gradient"):
        posterior_gap(vae, torch.zeros(2, 6), steps=2)
