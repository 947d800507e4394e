"""The command line from end to end, on real digits and on small arrays."""

import csv
import json
import math
import os
import re
import shlex
import signal
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pyro
import pytest
import torch
from safetensors.torch import load_file

from pyrocount.backends import Backend
from pyrocount.config import Config
from pyrocount.data import load_dataset
from pyrocount.fit import fit, main
from pyrocount.inference import SPARSE_CODERS
from pyrocount.models import MODELS
from pyrocount.run import load

SMALL = "--epochs 3 --latent-dim 5 --encoder lin --decoder lin --batch-size 16"
METRICS = [
    "nelbo", "nll", "paper_loss", "mse", "r2", "kl", "mean_rate", "zero_fraction", "lifetime_sparsity", "active_latents"
]  # fmt: skip


def summary(run):
    return json.loads((run / "summary.json").read_text())


def test_digits(command, tmp_path):
    code, out, _ = command("--model negbio --epochs 15", draw=True)
    run = tmp_path / "runs" / "negbio-digits-0"
    assert code == 0
    assert out.splitlines()[-1] == str(run)
    metrics = summary(run)
    assert list(metrics) == METRICS
    assert metrics["r2"] > 0.55
    assert metrics["nelbo"] == pytest.approx(metrics["paper_loss"] + 32 * math.log(math.pi), abs=1e-3)
    assert metrics["paper_loss"] == pytest.approx(64 * metrics["mse"] + metrics["kl"], rel=1e-5)

    table = {line.split()[0]: line.split()[1:] for line in out.splitlines()[-1 - len(METRICS) : -1]}
    assert list(table) == METRICS
    assert float(table["nelbo"][0]) == pytest.approx(metrics["nelbo"], rel=1e-3)
    # The decoder starts at the mean of the training set, which the last column is of.
    assert float(table["nelbo"][1]) == pytest.approx(float(table["nelbo"][2]), rel=1e-2)
    assert float(table["nelbo"][2]) > metrics["nelbo"] + 5
    assert float(table["mse"][0]) < 0.8 * float(table["mse"][2])
    assert {name for name, row in table.items() if len(row) == 3} == {"nelbo", "mse", "r2"}
    assert {len(row) for row in table.values()} == {2, 3}
    assert "mean image" in out

    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == list(range(1, 16))
    assert float(rows[-1]["temperature"]) == pytest.approx(0.1)
    assert float(rows[-1]["kl_weight"]) == 1
    assert json.loads((run / "config.json").read_text()) == Config(epochs=15, out=str(tmp_path / "runs")).options
    figures = {path.name for path in (run / "figures").iterdir()}
    assert figures == {"reconstructions.png", "samples.png", "dictionary.png", "training.png", "counts.png"}
    assert not list(run.rglob("*.part"))

    assert load(run).backend.evaluate(load_dataset().test).metrics == pytest.approx(metrics)


COMBINATIONS = [
    (model, kl, estimator)
    for model, spec in MODELS.items()
    if spec.inference != "iterative"
    for kl in ("shared", "exact", "mc")
    for estimator in spec.estimators
    if not (kl == "mc" and (estimator == "exact" or model in SPARSE_CODERS))
    and not (estimator == "score" and kl == "exact")
]


@pytest.mark.parametrize(("model", "kl", "estimator"), COMBINATIONS)
def test_every_combination_trains(command, tmp_path, model, kl, estimator):
    # The score function is too noisy for large steps.
    noisy = estimator == "score"
    epochs = 4 if noisy or model == "categorical" else 2
    line = f"--model {model} --kl {kl} --estimator {estimator} --decoder lin --epochs {epochs} --name run"
    line += f" --lr {0.002 if noisy else 0.01}"
    steps = " --inference-steps 30" if model in SPARSE_CODERS else ""
    code, out, _ = command(line + " --batch-size 64 --anneal 0" + steps)
    assert code == 0
    # At the start the decoder is at the mean of the data.
    initially = float(re.search(r"nelbo +\S+ +(\S+)", out)[1])
    assert summary(tmp_path / "runs" / "run")["nelbo"] < (1 if noisy else 0.97) * initially


def test_counts_above_the_cap_are_told(command, array):
    line = f"--data {array} {SMALL} --estimator gumbel --epochs 40 --lr 0.05 --scale 0.1"
    told = [text for text in command(f"{line} --max-count 1")[2] if text.startswith("warning: --max-count")]
    assert len(told) == 1
    assert re.match(r"warning: --max-count 1: \d+\.\d\d% of the posterior counts", told[0])
    code, _, err = command(f"{line} --max-count 150")
    assert code == 0
    assert not any(text.startswith("warning: --max-count") for text in err)


def test_a_users_tables_and_images(command, tmp_path, array):
    images = tmp_path / "images.npz"
    np.savez(images, np.random.default_rng(0).integers(0, 255, (20, 3, 9, 6), np.uint8))
    single = tmp_path / "single.npy"
    np.save(single, np.load(array)[:, :1])
    network = "--encoder conv --decoder conv --model poisson --seed 3"
    for line, run, shape in [
        (f"--data {array} {SMALL}", "negbio-table-0", [6]),
        (f"--data {single} {SMALL}", "negbio-single-0", [1]),
        (f"--data {images} {SMALL} {network}", "poisson-images-3", [3, 9, 6]),
    ]:
        code, _, err = command(line, draw=True)
        assert code == 0
        assert f"{shape[0]} {'channels' if len(shape) == 3 else 'features'}" in err[0]
        metrics = json.loads((tmp_path / "runs" / run / "summary.json").read_text(), parse_constant=pytest.fail)
        assert list(metrics) == METRICS
        assert metrics["nelbo"] == pytest.approx(metrics["paper_loss"] + math.prod(shape) / 2 * math.log(math.pi))
        # A single value has no variance around its own mean to explain.
        assert (metrics["r2"] is None) == (shape == [1])


def test_a_taken_default_name_gets_a_number(command, tmp_path, array):
    for _ in range(3):
        assert command(f"--data {array} {SMALL}")[0] == 0
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {
        "negbio-table-0", "negbio-table-0-2", "negbio-table-0-3"
    }  # fmt: skip


def test_the_same_seed_gives_the_same_weights(command, tmp_path, array):
    weights = []
    for number, seed in enumerate([1, 1, 2]):
        command(f"--data {array} {SMALL} --seed {seed} --name run{number}")
        weights.append(load_file(tmp_path / "runs" / f"run{number}" / "model.safetensors"))
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not torch.equal(weights[0]["latent.logits"], weights[2]["latent.logits"])


def test_fit_leaves_the_settings_of_pyro_alone(tmp_path, array):
    before = pyro.settings.get()
    validation = torch.distributions.Distribution._validate_args
    small = {"data": str(array), "out": str(tmp_path / "runs"), "epochs": 2, "latent_dim": 5, "decoder": "lin"}
    assert fit(Config(**small, encoder="lin")).path == tmp_path / "runs" / "negbio-table-0"
    assert pyro.settings.get() == before
    assert torch.distributions.Distribution._validate_args == validation
    with pytest.raises(ValueError, match="encoder: got 'rnn', expected one of lin, mlp, conv"):
        Config(**small, encoder="rnn")


def test_bad_arrays_and_networks_end_in_one_line(command, tmp_path, array):
    values = np.load(array)
    values[3, 2] = np.nan
    np.save(tmp_path / "holes.npy", values)
    (tmp_path / "corrupt.npz").write_bytes(b"nonsense")
    for line, message in [
        (f"--data {tmp_path / 'holes.npy'}", "--data: got"),
        (f"--data {tmp_path / 'corrupt.npz'}", "which is not in NumPy's format"),
        (f"--data {array} --encoder conv", "--encoder: got 'conv' for data of shape (6,), expected images"),
    ]:
        code, _, err = command(line)
        assert (code, len(err)) == (2, 1)
        assert message in err[0]
    assert not (tmp_path / "runs").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_where_there_is_none_ends_in_one_line(command):
    code, _, err = command("--device cuda")
    assert (code, err) == (
        2, ["pyrocount.fit: error: --device: got cuda, but torch finds no CUDA device, expected cpu or auto"]
    )  # fmt: skip


def test_a_folder_that_cannot_be_written_ends_in_one_line(tmp_path, array, capsys):
    (tmp_path / "file").touch()
    for out, name in product((tmp_path / "file", tmp_path / "file" / "below"), ([], ["--name", "mine"])):
        assert main(["--data", str(array), "--out", str(out), *name]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"--out: got {out}" in line


def test_nothing_is_overwritten(command, tmp_path, array):
    command(f"--data {array} {SMALL} --name mine")
    before = {path: path.read_bytes() for path in (tmp_path / "runs").rglob("*") if path.is_file()}
    code, _, (line,) = command(f"--data {array} {SMALL} --name mine")
    assert code == 2
    assert "--name: got mine, which" in line
    assert line.endswith("expected a new name, or --resume")
    assert before == {path: path.read_bytes() for path in (tmp_path / "runs").rglob("*") if path.is_file()}


def test_resuming_refuses_another_configuration_or_other_data(command, tmp_path, array):
    assert command(f"--data {array} {SMALL} --name mine")[0] == 0
    code, _, (line,) = command("--name mine --resume --latent-dim 6")
    assert (code, line) == (
        2,
        "pyrocount.fit: error: --latent-dim: got 6, expected 5, the value of the resumed run mine",
    )

    folder = tmp_path / "runs" / "mine"
    assert command(f"--data {array} {SMALL} --name other --lr 0.5")[0] == 0
    (folder / "checkpoint.pt").write_bytes((folder.parent / "other" / "checkpoint.pt").read_bytes())
    code, _, (line,) = command("--name mine --resume")
    assert code == 2
    assert "--name: got mine, whose checkpoint.pt has lr 0.5, expected a checkpoint of its own configuration" in line

    torch.save([1, 2], folder / "checkpoint.pt")
    code, _, (line,) = command("--name mine --resume")
    assert (code, "mine, whose checkpoint.pt is" in line) == (2, True)

    (folder / "checkpoint.pt").write_bytes(b"nonsense")
    code, _, (line,) = command("--name mine --resume")
    assert (code, "mine, whose checkpoint.pt is corrupt" in line) == (2, True)

    np.save(array, np.load(array) + np.arange(6))
    code, _, (line,) = command("--name other --resume")
    assert (code, "which has changed since the run began" in line) == (2, True)

    config = folder.parent / "other" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"epochs": "two"}))
    code, _, (line,) = command("--name other --resume")
    assert (code, "--epochs: got 'two', expected a whole number" in line) == (2, True)

    config.write_text("{")
    code, _, (line,) = command("--name other --resume")
    assert (code, "other, whose config.json cannot be read" in line) == (2, True)


def test_resuming_a_finished_run_changes_nothing(command, tmp_path, array):
    command(f"--data {array} {SMALL} --name mine")
    folder = tmp_path / "runs" / "mine"
    before = {name: (folder / name).read_bytes() for name in ("model.safetensors", "summary.json", "metrics.csv")}
    assert command("--name mine --resume")[0] == 0
    assert before == {name: (folder / name).read_bytes() for name in before}


def test_a_loss_that_is_not_finite_stops_with_its_step(command, tmp_path, array):
    code, _, err = command(f"--data {array} {SMALL} --epochs 20 --lr 1e20 --name wild")
    assert code == 1
    found = re.search(r"stopped: not finite at step (\d+) \(epoch (\d+)\): loss", err[-1])
    assert found
    assert "wild keeps the last good checkpoint; try a smaller --lr" in err[-1]
    assert not any("Warning" in line for line in err)
    checkpoint = torch.load(tmp_path / "runs" / "wild" / "checkpoint.pt", weights_only=True)["training"]
    assert len(checkpoint["history"]) == int(found[2]) - 1
    assert all(value.isfinite().all() for value in checkpoint["module"].values())


def test_ctrl_c_keeps_the_checkpoint_and_resuming_gives_the_uninterrupted_numbers(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Backend, "draw", lambda *arguments: {})
    arguments = shlex.split("--epochs 8 --latent-dim 8 --batch-size 64 --encoder lin --decoder lin --device cpu")
    steps, step = [], torch.optim.Adam.step

    def interrupted(*arguments, **options):
        steps.append(arguments)
        # In the second of the epochs, of 23 steps each.
        if len(steps) == 31:
            signal.raise_signal(signal.SIGINT)
        return step(*arguments, **options)

    # A shell lets the processes that it runs in the background ignore SIGINT.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(torch.optim.Adam, "step", interrupted)
            assert main([*arguments, "--name", "halted"]) == 130
    finally:
        signal.signal(signal.SIGINT, handler)
    halted, whole = (tmp_path / "runs" / name for name in ("halted", "whole"))
    assert (halted / "metrics.csv").read_text().count("\n") == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "interrupted; runs/halted keeps the last checkpoint" in last
    assert not (halted / "summary.json").exists()

    how = last.split("python -m pyrocount.fit ")[1]
    assert how == "--name=halted --resume"
    for line in (how.split(), [*arguments, "--name", "whole"]):
        assert main(line) == 0
    first, second = (load_file(run / "model.safetensors") for run in (halted, whole))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in second)
    assert summary(halted) == summary(whole)
    assert (halted / "metrics.csv").read_text().count("\n") == 9


def test_the_command_is_a_process_that_ends_with_its_code(tmp_path, array):
    """The other tests call the command within their process."""
    command = [sys.executable, "-m", "pyrocount.fit", "--data", str(array), "--epochs", "0"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "pyrocount.fit: error: --epochs: got 0, expected a positive whole number\n"
