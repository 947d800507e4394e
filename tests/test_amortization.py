import json

import pytest
import torch

from pyrocount.amortization import amortization_gap, main
from pyrocount.config import Config
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
    model, *codes = amortization_gap(vae, x + 0.7, (0.01, 0.1, 1.0), method="fista", steps=2000)
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
        amortization_gap(make_vae("poisson", (4,), latent_dim=2), torch.zeros(3, 4))
    counts = make_vae("poisson", (4,), latent_dim=2, decoder="lin", likelihood="poisson")
    with pytest.raises(ValueError, match="or whose noise is not Gaussian"):
        amortization_gap(counts, torch.zeros(3, 4))
