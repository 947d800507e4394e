"""The commands with iterative models, from end to end on small arrays."""

import json
import re
import shlex
import shutil
import sys
from dataclasses import replace

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from pyrocount import fit_iterative, out_of_distribution, refine
from pyrocount.config import Config
from pyrocount.evaluate_iterative import Curves, evaluate_iterative
from pyrocount.fit import fit, load, load_data, main
from pyrocount.fit_iterative import IterativeFitting
from pyrocount.run import RunFolder

# As many steps in training as in testing, so that one loop is compiled for both.
SMALL = "--latent-dim 5 --batch-size 16 --train-steps 4 --test-steps 4"
PICTURES = ["counts", "curves", "dictionary", "reconstructions", "samples", "spikes", "training", "trajectories"]


def summary(run):
    return json.loads((run / "summary.json").read_text())


def test_digits(command, tmp_path):
    code, out, _ = command(f"--model iterative-poisson --epochs 8 {SMALL} --latent-dim 20 --test-steps 30", draw=True)
    run = tmp_path / "runs" / "iterative-poisson-digits-0"
    assert code == 0
    assert out.splitlines()[-1] == str(run)
    figures = summary(run)
    assert figures["r2"] > 0.5
    assert figures["diverged"] == 0
    assert figures["paper_loss"] == pytest.approx(64 * figures["mse"] + figures["kl"], rel=1e-5)
    assert sorted(path.stem for path in (run / "figures").iterdir()) == PICTURES
    header = (run / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"elbo", "kl_weight", "temperature", "test_r2", "mean_rate"} <= set(header)

    iterative = load(run)
    assert iterative.model.shape == (1, 8, 8)
    data = json.loads((run / "config.json").read_text())
    assert data["model"] == "iterative-poisson"
    config = Config(**data).resolved()
    from pyrocount.fit import load_data

    test = load_data(config).test_units()
    again, _ = evaluate_iterative(iterative, test, steps=30, seed=0)
    assert again.figures == pytest.approx(figures, rel=1e-4)


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
        assert weights["likelihood.log_scale"] != np.float32(np.log(Config.scale))
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
    checks = []
    evaluate = IterativeFitting.evaluate

    def stop(self, quick=False):
        checks.append(quick)
        if len(checks) == 4:
            raise KeyboardInterrupt
        return evaluate(self, quick)

    with monkeypatch.context() as patch:
        patch.setattr(IterativeFitting, "evaluate", stop)
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


def test_every_option_of_inference_changes_what_is_trained(tmp_path, array, monkeypatch):
    seen = {}

    def stop(loss, start, optimizer, data, **options):
        now = {"kl_weight": 1.0, "temperature": 0.5}
        seen["loss"] = str(jax.make_jaxpr(loss)(start, jax.random.key(0), now, data[0]))
        seen["start"] = {name: np.asarray(value).tolist() for name, value in start.items()}
        raise KeyboardInterrupt

    def measured(iterative, x, *, beta, steps, seed):
        seen["steps"] = steps
        curve = np.ones(steps)
        from pyrocount.evaluation import Evaluation

        evaluation = Evaluation({"mean_rate": 0.0}, np.ones((1, 1, 5)), x, np.ones(5), {})
        return evaluation, Curves(curve, curve, curve, curve)

    monkeypatch.setattr(fit_iterative, "train", stop)
    monkeypatch.setattr(fit_iterative, "evaluate_iterative", measured)

    def outcome(**changes):
        base = {"model": "iterative-poisson", "data": str(array), "latent_dim": 5, "out": str(tmp_path / "runs")}
        with pytest.raises(KeyboardInterrupt):
            fit(Config(**base | changes))
        return re.sub("0x[0-9a-f]+", "", seen["loss"]), seen["start"], seen["steps"]

    usual = outcome()
    assert outcome() == usual
    assert usual[2] == 1000
    assert outcome(test_steps=7)[2] == 7
    for changes in (
        {"train_steps": 3},
        {"step_size": 0.1},
        {"drive": "exact"},
        {"leak": 0.5},
        {"step_kl": "posterior"},
        {"estimator": "arrival"},
        {"initial_rate": 2.0},
        {"decoder": "mlp"},
    ):
        assert outcome(**changes)[:2] != usual[:2], changes
    model = fit_iterative.build(Config(model="iterative-poisson", scale=0.3).resolved(), (6,))
    assert model.parameters["likelihood.log_scale"] == pytest.approx(np.log(0.3))
    kinds = {outcome(estimator=name)[0] for name in ("stein", "straight-through", "arrival", "arrival-hard", "gumbel")}
    assert len(kinds) == 5


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "--model iterative-poisson --encoder mlp",
            "--encoder: got 'mlp' for --model iterative-poisson",
        ),
        ("--model iterative-poisson --kl mc", "--kl: got 'mc' for --model iterative-poisson, expected exact"),
        ("--model iterative-poisson --samples 3", "--samples: got 3 for --model iterative-poisson"),
        ("--model iterative-poisson --weight-norm", "--weight-norm: got it for --model iterative-poisson"),
        ("--model iterative-gaussian --drive exact", "--drive: got 'exact' for --model iterative-gaussian"),
        ("--model iterative-negbio --step-kl posterior", "--step-kl: got 'posterior' for --model iterative-negbio"),
        ("--model iterative-poisson --step-kl posterior --leak 1", "--step-kl: got 'posterior' with --leak"),
        ("--model iterative-poisson --activation relu", "--activation: got 'relu' for iterative-poisson latents"),
        ("--model iterative-gaussian --estimator stein", "--estimator: got 'stein' for iterative-gaussian latents"),
        ("--model iterative-gaussian --initial-rate 2", "--initial-rate: got 2.0 for iterative-gaussian latents"),
        ("--model iterative-poisson --estimator exact", "--estimator: got 'exact' for iterative-poisson latents"),
        ("--model poisson --train-steps 3", "--train-steps: got 3 for --model poisson"),
        ("--model poisson --leak .5", "--leak: got 0.5 for --model poisson"),
        ("--model iterative-poisson --train-steps 0", "--train-steps: got 0, expected a positive whole number"),
        ("--model iterative-poisson --step-size -1", "--step-size: got -1.0, expected a positive number"),
        ("--model iterative-poisson --decoder conv --data TABLE", "decoder: got 'conv' for data of shape (6,)"),
    ],
)
def test_what_does_not_go_together(line, words, command, array):
    code, out, err = command(line.replace("TABLE", str(array)))
    assert (code, out) == (2, "")
    assert words in err[-1]


@pytest.fixture
def without_jax(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("pyrocount.") and "iterative" in name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "jax", None)


def test_without_jax(command, without_jax):
    code, _, err = command("--model iterative-poisson --epochs 1")
    assert code == 2
    assert "--model: got an iterative one, which needs jax" in err[-1]
    assert "pyrocount[numpyro]" in err[-1]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two fitted models of small images, an amortised and an iterative one."""
    folder = tmp_path_factory.mktemp("fitted")
    images = folder / "images.npy"
    rng = np.random.default_rng(0)
    np.save(images, (rng.random((60, 3)) @ rng.random((3, 36))).reshape(60, 1, 6, 6))
    for model in ("poisson", "iterative-poisson"):
        steps = "--train-steps 8 --test-steps 8" if model.startswith("iter") else "--encoder lin --decoder lin"
        line = f"--model {model} --data {images} --epochs 200 --lr .02 --latent-dim 8 {steps}"
        assert main([*shlex.split(line), "--name", model, "--out", str(folder)]) == 0
    return folder


@pytest.mark.parametrize("model", ["poisson", "iterative-poisson"])
def test_out_of_distribution(model, runs, tmp_path, capsys):
    other = tmp_path / "noise.npy"
    np.save(other, np.random.default_rng(1).random((30, 1, 6, 6)))
    capsys.readouterr()
    line = [str(runs / model), "--rotations", "30", "--shifts", "2", "--other", str(other)]
    assert out_of_distribution.main(line) == 0
    rows = capsys.readouterr().out.splitlines()
    found = json.loads((runs / model / "out_of_distribution.json").read_text())
    assert list(found) == ["held out", "rotated by 30", "shifted by 2", "noise"]
    assert rows[1].startswith("held out")
    assert found["held out"]["mse"] == pytest.approx(summary(runs / model)["mse"], rel=0.3)
    assert found["held out"]["r2"] > found["noise"]["r2"]
    assert found["held out"]["mse"] < found["shifted by 2"]["mse"]
    assert (runs / model / "figures" / "out_of_distribution.png").is_file()


def test_out_of_distribution_of_what_does_not_fit(runs, tmp_path, capsys):
    other = tmp_path / "wide.npy"
    np.save(other, np.random.default_rng(1).random((30, 1, 6, 8)))
    assert out_of_distribution.main([str(runs / "poisson"), "--other", str(other)]) == 2
    assert "other: got" in capsys.readouterr().err
    assert out_of_distribution.main([str(tmp_path)]) == 2


def test_hybrid_inference_makes_up_for_a_bad_encoder(runs, tmp_path, capsys):
    """One that gives every input the same posterior; how much a good one gains is less than the noise of few inputs."""
    run = RunFolder(shutil.copytree(runs / "poisson", tmp_path / "poisson"))
    weights, metadata = run.load_weights()
    run.save_weights({name: 0 * w if name.startswith("encoder") else w for name, w in weights.items()}, metadata)
    assert refine.main([str(run.path), "--steps", "100", "--step-size", "0.03"]) == 0
    found = run.read_json("refinement.json")
    assert list(found) == ["encoder", "from the encoder", "from the prior"]
    assert found["from the encoder"]["mse"] < 0.8 * found["encoder"]["mse"]
    assert found["from the encoder"]["nelbo"] < found["encoder"]["nelbo"] - 2
    assert (run.path / "figures" / "refinement.png").is_file()
    assert "from the prior" in capsys.readouterr().out


def test_refinement_without_jax(runs, without_jax, capsys):
    assert refine.main([str(runs / "poisson")]) == 2
    assert "refine: got iterative inference, which needs jax" in capsys.readouterr().err


def test_refinement_of_what_cannot_be_refined(runs, capsys):
    assert refine.main([str(runs / "iterative-poisson")]) == 2
    assert "RUN: got" in capsys.readouterr().err
    assert refine.main([str(runs / "poisson"), "--step-size", "0"]) == 2
    assert "step_size: got 0.0, expected a positive number" in capsys.readouterr().err


def test_training_keeps_to_the_tight_clamp(array, monkeypatch):
    config = Config(model="iterative-negbio", data=str(array), latent_dim=5).resolved()
    data = load_data(config)
    fitting = IterativeFitting(config, data)
    x = jax.numpy.asarray(data.test_units())
    assert fitting.iterative.problem(x).dynamics.largest_step is None
    assert replace(fitting.iterative, largest_step=0.3).problem(x).dynamics.largest_step == 0.3
    seen = []

    def unrolled(key, problem, x, **options):
        seen.append(problem.dynamics.largest_step)
        raise KeyboardInterrupt

    monkeypatch.setattr(fit_iterative, "unrolled_loss", unrolled)
    with pytest.raises(KeyboardInterrupt):
        fitting.train(lambda: {"mean_rate": 0.0}, lambda state: None, None, progress=False)
    assert seen == [1.0]
