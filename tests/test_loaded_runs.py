import json
import math

import pytest

import pyrocount
from pyrocount.errors import InputError
from pyrocount.inference.options import TrainingOptions
from pyrocount.run import Run


@pytest.fixture
def run(command, tmp_path):
    assert command("--model poisson --epochs 2 --latent-dim 5 --name run")[0] == 0
    return tmp_path / "runs" / "run"


def test_a_run_is_loaded_whole(run):
    fitted = pyrocount.load(run)
    assert fitted.path == run
    assert (fitted.config.model, fitted.config.options["encoder"]) == ("poisson", "mlp")
    assert fitted.config[TrainingOptions].epochs == 2
    assert [row["epoch"] for row in fitted.history] == [1, 2]
    assert fitted.metrics == json.loads((run / "summary.json").read_text())
    assert not fitted.model.training
    data = fitted.data()
    assert fitted.history[-1]["test_mse"] == pytest.approx(fitted.metrics["mse"], rel=0.05)
    assert data.shape == fitted.model.shape


def test_what_is_not_finite_comes_back_as_nan(run):
    (run / "summary.json").write_text('{"lifetime_sparsity": null}')
    assert math.isnan(pyrocount.load(str(run)).metrics["lifetime_sparsity"])


def test_what_is_no_finished_run(tmp_path, run):
    with pytest.raises(InputError, match=r"path: got .*nothing, whose model.safetensors cannot be read, expected"):
        pyrocount.load(tmp_path / "nothing")
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"from_the_future": 1}))
    with pytest.raises(InputError, match=r"name: got run, whose config.json is of another version"):
        pyrocount.load(run)
    (run / "config.json").write_text(json.dumps(config))
    (run / "summary.json").unlink()
    with pytest.raises(InputError, match=r"name: got run, whose summary.json cannot be read"):
        pyrocount.load(run)
    (run / "summary.json").write_text("{}")
    (run / "metrics.csv").unlink()
    with pytest.raises(InputError, match=r"name: got run, whose metrics.csv cannot be read"):
        pyrocount.load(run)


def test_options_that_did_not_exist_when_a_run_was_made_have_their_defaults(run, monkeypatch):
    new = ("weight_norm", "precision", "samples")
    before, (weights, units) = Run(run).config, Run(run).load_weights()
    of_model = {name: value for name, value in Run(run)._of_model().items() if name not in new}
    with monkeypatch.context() as patch:
        patch.setattr(Run, "_of_model", lambda self: of_model)
        Run(run).save_weights(weights, units)
    options = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({name: value for name, value in options.items() if name not in new}))
    assert pyrocount.load(run).config == before
    # An option that is lost is no such option.
    del options["latent_dim"]
    (run / "config.json").write_text(json.dumps(options))
    with pytest.raises(InputError, match=r"whose model.safetensors is of another configuration than its config.json"):
        pyrocount.load(run)
