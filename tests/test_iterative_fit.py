"""The commands with iterative models, from end to end on small arrays."""

import json
import re
from dataclasses import replace

import jax
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from pyrocount.backends import build
from pyrocount.config import Config
from pyrocount.inference import jax_training
from pyrocount.inference import unrolled as unrolled_module
from pyrocount.models.options import LikelihoodOptions
from pyrocount.run import Run, load, load_data

# As many steps in training as in testing, so that one loop is compiled for both.
SMALL = "--latent-dim 5 --batch-size 16 --train-steps 4 --test-steps 4"
FIGURES = ["counts", "curves", "dictionary", "reconstructions", "samples", "spikes", "training", "trajectories"]


def summary(run):
    return json.loads((run / "summary.json").read_text())


def test_digits(command, tmp_path):
    code, out, _ = command(f"--model iterative-poisson --epochs 8 {SMALL} --latent-dim 20 --test-steps 30", draw=True)
    run = tmp_path / "runs" / "iterative-poisson-digits-0"
    assert code == 0
    assert out.splitlines()[-1] == str(run)
    metrics = summary(run)
    assert metrics["r2"] > 0.5
    assert metrics["diverged"] == 0
    assert metrics["paper_loss"] == pytest.approx(64 * metrics["mse"] + metrics["kl"], rel=1e-5)
    assert sorted(path.stem for path in (run / "figures").iterdir()) == FIGURES
    header = (run / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"elbo", "kl_weight", "temperature", "test_r2", "mean_rate"} <= set(header)

    loaded = load(run)
    assert loaded.model.model.shape == (1, 8, 8)
    assert loaded.config.model == "iterative-poisson"
    again = loaded.backend.evaluate(loaded.data().test_units(), seed=0)
    assert again.metrics == pytest.approx(metrics, rel=1e-4)


@pytest.mark.parametrize("model", ["iterative-gaussian", "predictive-coding"])
def test_continuous_models(model, array, command, tmp_path):
    options = "--activation relu" if model == "iterative-gaussian" else ""
    code, _, err = command(f"--model {model} --data {array} --epochs 2 --name it {SMALL} {options}", draw=True)
    assert code == 0, err
    assert np.isfinite(summary(tmp_path / "runs" / "it")["nelbo"])


@pytest.mark.parametrize(
    "options",
    [
        "--decoder mlp --likelihood bernoulli",
        "--decoder conv --estimator arrival --flip",
        "--learn-scale --drive exact",
    ],
)
def test_decoders_and_likelihoods(options, command, tmp_path):
    images = tmp_path / "images.npy"
    np.save(images, np.random.default_rng(0).random((24, 1, 6, 6)))
    code, _, err = command(f"--model iterative-poisson --data {images} --epochs 1 --name it {SMALL} {options}")
    assert code == 0, err
    weights = load_file(tmp_path / "runs" / "it" / "model.safetensors")
    if "learn" in options:
        assert weights["likelihood.log_scale"] != np.float32(np.log(LikelihoodOptions.scale))
    assert ("step.bias" in weights) == ("exact" not in options)


def test_spike_counts_with_windows(command, tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "counts.npz", x=rng.poisson(2.0, (30, 7)), exposure=rng.uniform(0.5, 2, 30))
    options = f"--data {tmp_path / 'counts.npz'} --likelihood negbio --epochs 2 --name it {SMALL} --step-size .1"
    assert command(f"--model iterative-negbio {options}")[0] == 0
    assert "paper_loss" not in summary(tmp_path / "runs" / "it")
    assert load_file(tmp_path / "runs" / "it" / "model.safetensors")["likelihood.log_total_count"].shape == (7,)


def test_a_resumed_run_ends_as_one_without_interruption(command, tmp_path, array, monkeypatch):
    line = f"--model iterative-poisson --data {array} --epochs 4 {SMALL}"
    assert command(f"{line} --name whole")[0] == 0
    epochs = []
    append = Run.append_history

    def stop(self, row):
        append(self, row)
        epochs.append(row["epoch"])
        if len(epochs) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Run, "append_history", stop)
        code, _, err = command(f"{line} --name parts")
    assert code == 130
    assert "--resume" in err[-1]
    code, _, err = command("--name parts --resume")
    assert code == 0, err
    whole, parts = (load_file(tmp_path / "runs" / name / "model.safetensors") for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    for name in whole:
        np.testing.assert_array_equal(whole[name], parts[name])
    assert summary(tmp_path / "runs" / "whole") == summary(tmp_path / "runs" / "parts")


def test_every_option_of_inference_changes_what_is_trained(array, monkeypatch):
    seen = {}

    def stop(loss, start, optimizer, data, **options):
        now = {"kl_weight": 1.0, "temperature": 0.5}
        seen["loss"] = str(jax.make_jaxpr(loss)(start, jax.random.key(0), now, data[0][:]))
        seen["start"] = {name: np.asarray(value).tolist() for name, value in start.items()}
        raise KeyboardInterrupt

    monkeypatch.setattr(jax_training, "train", stop)

    def outcome(**changes):
        base = {"model": "iterative-poisson", "data": str(array), "latent_dim": 5}
        config = Config(**base | changes)
        data = load_data(config)
        torch.manual_seed(0)
        backend = build(config, data.shape)
        with pytest.raises(KeyboardInterrupt):
            backend.train(config, data, monitor=dict, save=print)
        return re.sub("0x[0-9a-f]+", "", seen["loss"]), seen["start"], backend

    usual = outcome()
    assert outcome()[:2] == usual[:2]
    x, _ = load_data(Config(data=str(array))).held_out(3)
    assert len(outcome(test_steps=7)[2].evaluate(x).curves.r2) == 7
    assert len(outcome(test_steps=7, train_steps=3)[2].evaluate(x, quick=True).curves.r2) == 3
    for changes in (
        {"train_steps": 3},
        {"step_size": 0.1},
        {"drive": "exact"},
        {"leak": 0.5},
        {"step_kl": "posterior"},
        {"estimator": "arrival"},
        {"initial_rate": 2.0},
        {"initial_spread": 0.1},
        {"bias": False},
        {"decoder": "mlp"},
    ):
        assert outcome(**changes)[:2] != usual[:2], changes
    scaled = build(Config(model="iterative-poisson", scale=0.3), (6,)).model
    assert scaled.parameters["likelihood.log_scale"] == pytest.approx(np.log(0.3))
    kinds = {outcome(estimator=name)[0] for name in ("stein", "straight-through", "arrival", "arrival-hard", "gumbel")}
    assert len(kinds) == 5
    # Behind a linear decoder there is nothing to correct.
    assert outcome(estimator="unbiased", decoder="mlp")[:2] != outcome(decoder="mlp")[:2]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "--model iterative-poisson --encoder mlp",
            "--encoder: got 'mlp' with --model iterative-poisson",
        ),
        ("--model iterative-poisson --kl mc", "--kl: got 'mc' with --model iterative-poisson, expected exact"),
        ("--model iterative-poisson --samples 3", "--samples: got 3 with --model iterative-poisson"),
        ("--model iterative-poisson --weight-norm", "--weight-norm: got true with --model iterative-poisson"),
        ("--model iterative-gaussian --drive exact", "--drive: got 'exact' with --model iterative-gaussian"),
        ("--model iterative-negbio --step-kl posterior", "--step-kl: got 'posterior' with --model iterative-negbio"),
        ("--model iterative-poisson --step-kl posterior --leak 1", "--step-kl: got 'posterior' with --leak"),
        ("--model iterative-poisson --activation relu", "--activation: got 'relu' with --model iterative-poisson"),
        ("--model iterative-gaussian --estimator stein", "--estimator: got 'stein' for iterative-gaussian latents"),
        ("--model iterative-gaussian --initial-rate 2", "--initial-rate: got 2.0 with --model iterative-gaussian"),
        ("--model iterative-poisson --estimator exact", "--estimator: got 'exact' for iterative-poisson latents"),
        ("--model poisson --train-steps 3", "--train-steps: got 3 with --model poisson"),
        ("--model poisson --leak .5", "--leak: got 0.5 with --model poisson"),
        ("--model iterative-poisson --train-steps 0", "--train-steps: got 0, expected a positive whole number"),
        ("--model iterative-poisson --step-size -1", "--step-size: got -1.0, expected a positive number"),
        ("--model iterative-poisson --decoder conv --data TABLE", "decoder: got 'conv' for data of shape (6,)"),
    ],
)
def test_what_does_not_go_together(line, words, command, array):
    code, out, err = command(line.replace("TABLE", str(array)))
    assert (code, out) == (2, "")
    assert words in err[-1]


def test_without_jax(command, without_jax):
    code, _, err = command("--model iterative-poisson --epochs 1")
    assert code == 2
    assert "--model: got iterative-poisson, which needs jax" in err[-1]
    assert "pyrocount[numpyro]" in err[-1]


def test_training_keeps_to_the_tight_clamp(array, monkeypatch):
    config = Config(model="iterative-negbio", data=str(array), latent_dim=5)
    data = load_data(config)
    backend = build(config, data.shape)
    x = jax.numpy.asarray(data.test_units())
    assert backend.model.problem(x).dynamics.max_step is None
    assert replace(backend.model, max_step=0.3).problem(x).dynamics.max_step == 0.3
    seen = []

    def unrolled(key, problem, x, **options):
        seen.append(problem.dynamics.max_step)
        raise KeyboardInterrupt

    monkeypatch.setattr(unrolled_module, "unrolled_loss", unrolled)
    with pytest.raises(KeyboardInterrupt):
        backend.train(config, data, monitor=lambda: {"mean_rate": 0.0}, save=lambda state: None, progress=False)
    assert seen == [1.0]
