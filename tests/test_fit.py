"""The command line from end to end, on real digits and on small arrays."""

import csv
import json
import math
import re
import shlex
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

import numpy as np
import pyro
import pytest
import torch
from safetensors.torch import load_file

from pyrocount import amortized
from pyrocount import fit as fit_module
from pyrocount.config import Config
from pyrocount.data import load_dataset
from pyrocount.evaluate_amortized import evaluate
from pyrocount.fit import fit, load, main
from pyrocount.inference import SPARSE_CODERS
from pyrocount.models import MODELS

SMALL = "--epochs 3 --latent-dim 5 --encoder lin --decoder lin --batch-size 16"
FIGURES = [
    "nelbo", "nll", "paper_loss", "mse", "r2", "kl", "mean_rate", "zero_fraction", "lifetime_sparsity", "active_latents"
]  # fmt: skip


def summary(run):
    return json.loads((run / "summary.json").read_text())


def test_digits(command, tmp_path):
    code, out, _ = command("--model negbio --epochs 15", draw=True)
    run = tmp_path / "runs" / "negbio-digits-0"
    assert code == 0
    assert out.splitlines()[-1] == str(run)
    figures = summary(run)
    assert list(figures) == FIGURES
    assert figures["r2"] > 0.55
    assert figures["nelbo"] == pytest.approx(figures["paper_loss"] + 32 * math.log(math.pi), abs=1e-3)
    assert figures["paper_loss"] == pytest.approx(64 * figures["mse"] + figures["kl"], rel=1e-5)

    table = {line.split()[0]: line.split()[1:] for line in out.splitlines()[-1 - len(FIGURES) : -1]}
    assert list(table) == FIGURES
    assert float(table["nelbo"][0]) == pytest.approx(figures["nelbo"], rel=1e-3)
    assert float(table["nelbo"][1]) > figures["nelbo"] + 20
    assert float(table["mse"][0]) < float(table["mse"][2]) < float(table["mse"][1])
    assert {name for name, row in table.items() if len(row) == 3} == {"mse", "r2"}
    assert {len(row) for row in table.values()} == {2, 3}

    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == list(range(1, 16))
    assert float(rows[-1]["temperature"]) == pytest.approx(0.1)
    assert float(rows[-1]["kl_weight"]) == 1
    assert json.loads((run / "config.json").read_text()) == asdict(
        replace(Config(), epochs=15, out=str(tmp_path / "runs")).resolved()
    )
    pictures = {path.name for path in (run / "figures").iterdir()}
    assert pictures == {"reconstructions.png", "samples.png", "dictionary.png", "training.png", "counts.png"}
    assert not list(run.rglob("*.part"))

    vae, test = load(run), torch.from_numpy(load_dataset().test)
    assert evaluate(vae, test).figures == pytest.approx(figures)


COMBINATIONS = [
    (model, kl, estimator)
    for model, family in MODELS.items()
    for kl in ("shared", "exact", "mc")
    for estimator in family.estimators
    if not (kl == "mc" and (estimator == "exact" or model in SPARSE_CODERS))
    and not (estimator == "score" and kl == "exact")
]


@pytest.mark.parametrize(("model", "kl", "estimator"), COMBINATIONS)
def test_every_combination_trains(command, tmp_path, model, kl, estimator):
    line = f"--model {model} --kl {kl} --estimator {estimator} --decoder lin --epochs 4 --name run"
    # The score function is too noisy for large steps.
    noisy = estimator == "score"
    line += f" --lr {0.002 if noisy else 0.02}"
    code, out, _ = command(line + " --batch-size 64 --anneal 0 --inference-steps 30")
    assert code == 0
    initially = float(re.search(r"nelbo +\S+ +(\S+)", out)[1])
    assert summary(tmp_path / "runs" / "run")["nelbo"] < (0.98 if noisy else 0.9) * initially


def test_counts_above_the_cap_are_told(command, array):
    line = f"--data {array} {SMALL} --estimator gumbel --epochs 40 --lr 0.05 --scale 0.1"
    told = [text for text in command(f"{line} --max-count 1")[2] if text.startswith("warning")]
    assert len(told) == 1
    assert re.match(r"warning: --max-count 1: \d+\.\d\d% of the posterior counts", told[0])
    code, _, err = command(f"{line} --max-count 150")
    assert code == 0
    assert not any(text.startswith("warning") for text in err)


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
        figures = json.loads((tmp_path / "runs" / run / "summary.json").read_text(), parse_constant=pytest.fail)
        assert list(figures) == FIGURES
        assert figures["nelbo"] == pytest.approx(figures["paper_loss"] + math.prod(shape) / 2 * math.log(math.pi))
        # A single value has no variance around its own mean to explain.
        assert (figures["r2"] is None) == (shape == [1])


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
    small = Config(data=str(array), out=str(tmp_path / "runs"), epochs=2, latent_dim=5, encoder="lin", decoder="lin")
    assert fit(small).path == tmp_path / "runs" / "negbio-table-0"
    assert pyro.settings.get() == before
    assert torch.distributions.Distribution._validate_args == validation
    with pytest.raises(ValueError, match="encoder: got 'rnn', expected one of lin, mlp, conv"):
        fit(replace(small, encoder="rnn"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--model gamma", "argument --model: invalid choice: 'gamma' (choose from "),
        ("--modle negbio", "unrecognized arguments: --modle negbio; --help lists the options"),
        ("negbio", "unrecognized arguments: negbio"),
        ("--latent-dim", "argument --latent-dim: expected one argument"),
        ("--latent-dim many", "argument --latent-dim: got 'many', expected a whole number"),
        ("--lr fast", "argument --lr: got 'fast', expected a number"),
        ("--latent-dim 0", "--latent-dim: got 0, expected a positive whole number"),
        ("--epochs -1", "--epochs: got -1, expected a positive whole number"),
        ("--batch-size 0", "--batch-size: got 0, expected a positive whole number"),
        ("--lr 0", "--lr: got 0.0, expected a positive number"),
        ("--beta nan", "--beta: got nan, expected a positive number"),
        ("--temperature 0", "--temperature: got 0.0, expected a positive number"),
        ("--scale inf", "--scale: got inf, expected a positive number"),
        ("--test-fraction 1", "--test-fraction: got 1.0, expected a number between 0 and 1"),
        ("--seed -1", "--seed: got -1, expected a whole number from 0"),
        ("--data missing.npy", "missing.npy, which does not exist, expected a .npy or .npz file"),
        ("--data digitz", "--data: got 'digitz', expected one of digits, patches, mnist"),
        ("--data ''", "--data: got '', expected"),
        (
            "--model gaussian --estimator stein",
            "--estimator: got 'stein' for gaussian latents (the rule is one for counts)",
        ),
        ("--estimator exact", "--estimator: got 'exact' with --decoder mlp, expected --decoder lin, for which"),
        ("--estimator exact --decoder lin --likelihood bernoulli", "'exact' with --likelihood bernoulli, expected"),
        ("--estimator exact --decoder lin --kl mc", "--kl: got 'mc' with --estimator exact, expected shared or exact"),
        ("--estimator exact --decoder lin --samples 2", "--samples: got 2 with --estimator exact, expected 1"),
        ("--estimator score --kl exact", "--kl: got 'exact' with --estimator score, expected mc or shared"),
        (
            "--temperature .5",
            "--temperature: got 0.5 with --estimator stein, expected it with one of arrival, arrival-h",
        ),
        (
            "--estimator gumbel --indicator sigmoid",
            "--indicator: got sigmoid with --estimator gumbel, expected it with",
        ),
        (
            "--estimator arrival --max-count 9",
            "--max-count: got 9 with --estimator arrival, expected it with one of gum",
        ),
        ("--activation relu", "--activation: got 'relu' for negbio latents, expected --model gaussian"),
        ("--exposure 2", "--exposure: got 2.0 for gaussian data, expected --likelihood poisson or negbio"),
        ("--likelihood poisson --scaling unit", "--scaling: got 'unit' for poisson data, expected none"),
        ("--likelihood bernoulli --output tanh", "--output: got 'tanh' for bernoulli data, expected identity"),
        (
            "--likelihood poisson --learn-scale",
            "--learn-scale: got it for poisson data, expected --likelihood gaussian",
        ),
        ("--model lca --encoder mlp", "--encoder: got 'mlp' for --model lca, expected none"),
        ("--model lca --decoder conv", "--decoder: got 'conv' for --model lca, expected lin: the dictionary is linear"),
        ("--model lca --learn-scale", "--learn-scale: got it for --model lca, expected a fixed scale"),
        ("--model poisson --estimator magic", "argument --estimator: invalid choice: 'magic'"),
        ("--model lca --weight-norm", "--weight-norm: got it for --model lca, expected none"),
        ("--model lca --kl mc", "--kl: got 'mc' for --model lca, expected none"),
        (
            "--model laplace --initial-rate 2",
            "--initial-rate: got 2.0 for laplace latents, expected a model with counts",
        ),
        ("--initial-rate 200", "--initial-rate: got 200.0, expected a positive number below 90"),
        ("--blocks 2", "--blocks: got 2 without a convolutional network, expected --encoder conv or --decoder conv"),
        ("--no-whiten", "--whiten: got false for --data digits, expected --data patches"),
        ("--data ~nobody0/x.npy", "--data: got ~nobody0/x.npy, expected a home folder that exists"),
        ("--anneal 2", "--anneal: got 2.0, expected a number from 0 to 1"),
        ("--blocks -1", "--blocks: got -1, expected a whole number from 0"),
        ("--exposure 0 --likelihood poisson", "--exposure: got 0.0, expected a positive number"),
        ("--latent-dim 100000000000", "--latent-dim: got 100000000000, expected a model that fits into the memory"),
        ("--name ../up", "--name: got '../up', expected a plain folder name"),
        ("--resume", "--name: got nothing, expected the name of the run to resume"),
        ("--resume --name none", "--name: got none, of which"),
    ],
)
def test_bad_options_end_in_one_line(command, tmp_path, line, message):
    code, out, err = command(line)
    assert code == 2
    assert out == ""
    assert len(err) == 1
    assert err[0].startswith("pyrocount.fit: error: ")
    assert message in err[0]
    assert not (tmp_path / "runs").exists()


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


def test_every_option_reaches_what_it_names(tmp_path, array, monkeypatch):
    """Each field but where to compute and what to call it, changed alone, changes what is built, loaded or trained."""
    seen = {}

    def spy(name, module):
        original = getattr(module, name)

        def call(*arguments, **options):
            seen[name] = repr((arguments[0] if name in ("load_dataset", "make_vae") else None, options))
            return original(*arguments, **options)

        monkeypatch.setattr(module, name, call)

    def stop(elbo, module, optimizer, data, *, anneal, learning_rate, prepare, **options):
        plain = {name: options[name] for name in ("epochs", "batch_size", "max_gradient_norm")}
        annealed = [
            (dict(anneal(p)), repr(getattr(module.latent, "relaxation", None)), module.kl_weight) for p in (0.3, 1.0)
        ]
        rule = type(optimizer), optimizer.defaults["lr"], learning_rate(0.05)
        torch.manual_seed(0)
        seen["train"] = repr((type(elbo.elbo), elbo.elbo.num_particles, rule, plain, annealed, prepare(data[0][:3])))
        assert elbo.model.__self__ is elbo.guide.__self__ is module
        raise KeyboardInterrupt

    spy("load_dataset", fit_module)
    spy("make_vae", amortized)
    monkeypatch.setattr(amortized, "train", stop)
    other = tmp_path / "other.npy"
    np.save(other, np.load(array) * 2)
    spikes, images = tmp_path / "spikes.npy", tmp_path / "pictures.npy"
    np.save(spikes, np.random.default_rng(0).poisson(2.0, (20, 6)))
    np.save(images, np.random.default_rng(0).random((20, 1, 6, 6)))

    def outcome(**changes):
        base = {} if changes.get("model") in ("gaussian", "lca") else {"estimator": "arrival"}
        seen.clear()
        with pytest.raises(KeyboardInterrupt):
            fit(replace(Config(data=str(array), out=str(tmp_path / "runs"), latent_dim=5), **base | changes))
        return dict(seen)

    usual = outcome()
    assert outcome() == usual
    changes = {
        "model": ("poisson", "make_vae"),
        "data": (str(other), "load_dataset"),
        "scaling": ("unit", "load_dataset"),
        "data_dir": ("elsewhere", "load_dataset"),
        "download": (True, "load_dataset"),
        "test_fraction": (0.5, "load_dataset"),
        "latent_dim": (6, "make_vae"),
        "initial_rate": (2.0, "make_vae"),
        "encoder": ("lin", "make_vae"),
        "decoder": ("lin", "make_vae"),
        "output": ("tanh", "make_vae"),
        "weight_norm": (True, "make_vae"),
        "likelihood": ("bernoulli", "make_vae"),
        "scale": (0.3, "make_vae"),
        "learn_scale": (True, "make_vae"),
        "beta": (0.3, "train"),
        "kl": ("shared", "train"),
        "estimator": ("stein", "train"),
        "samples": (3, "train"),
        "temperature": (0.3, "train"),
        "temperature_schedule": ("exponential", "train"),
        "anneal": (0.2, "train"),
        "indicator": ("sigmoid", "train"),
        "epochs": (7, "train"),
        "batch_size": (7, "train"),
        "optimizer": ("adamax", "train"),
        "lr": (0.3, "train"),
        "warmup": (0.2, "train"),
        "max_gradient_norm": (7.0, "train"),
        "seed": (7, "make_vae"),
    }
    elsewhere = {"max_count", "activation", "exposure", "flip", "inference_steps", "blocks", "whiten"}
    elsewhere |= {"train_steps", "test_steps", "step_size", "drive", "leak", "step_kl"}  # test_fit_iterative.py
    assert changes.keys() | elsewhere == Config().identity().keys() | {"data_dir", "download"}
    for name, (value, where) in changes.items():
        changed = outcome(**{name: value})
        assert name == "seed" or changed[where] != usual[where], name
    relu = outcome(model="gaussian", activation="relu")["make_vae"]
    assert "'activation': 'relu'" in relu
    counts = {"data": str(spikes), "likelihood": "poisson"}
    assert outcome(**counts, exposure=0.5)["load_dataset"] != outcome(**counts)["load_dataset"]
    pictures = {"data": str(images)}
    assert outcome(**pictures, flip=True)["train"] != outcome(**pictures)["train"]
    deep = outcome(**pictures, encoder="conv", blocks=2)["make_vae"]
    assert "'blocks': 2" in deep
    patches = [outcome(data="patches", whiten=white)["load_dataset"] for white in (True, False)]
    assert patches[0] != patches[1]
    steps = outcome(model="lca", inference_steps=7)["make_vae"]
    assert "sparsity=0.5" in steps
    assert "steps=7" in steps
    assert "GumbelSoftmax(temperature=0.1, max_count=7)" in outcome(estimator="gumbel", max_count=7)["train"]
    assert outcome(seed=7)["load_dataset"] != usual["load_dataset"]
    assert "'shared_dispersion': True" in outcome(kl="shared")["make_vae"]
    assert "'shared_dispersion': False" in usual["make_vae"]


def test_help_explains_every_option_with_its_default(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    words = " ".join(capsys.readouterr().out.split())
    for name, value in vars(Config()).items():
        option = "--" + name.replace("_", "-")
        assert re.search(rf"{option}[ ,][^()]*(\([^()]*\)[^()]*)*\(default: {re.escape(str(value))}\)", words), option


@pytest.fixture
def start(tmp_path):
    with ExitStack() as processes:

        def start_process(arguments, setup=""):
            root = str(Path(__file__).parents[1])
            # A shell lets the processes that it runs in the background ignore SIGINT, and they their children.
            code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
            code += f"import sys; sys.path.insert(0, {root!r}); from pyrocount import amortized, fit, fitting; "
            code += f"amortized.AmortizedFitting.draw = lambda *_: None; {setup}sys.exit(fit.main(sys.argv[1:]))"
            process = processes.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", code, *arguments],
                    cwd=tmp_path,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            processes.callback(process.kill)
            return process

        yield start_process


# In the second epoch on a step takes longer than anybody waits.
SLOW = """import time; step = fitting.anneal
fitting.anneal = lambda *arguments: (arguments[2] > 0.2 and time.sleep(600)) or step(*arguments)
"""


def test_ctrl_c_keeps_the_checkpoint_and_resuming_gives_the_uninterrupted_numbers(tmp_path, start):
    arguments = shlex.split("--epochs 8 --latent-dim 8 --batch-size 64 --encoder lin --decoder lin --device cpu")
    process = start([*arguments, "--name", "halted"], SLOW)
    metrics = tmp_path / "runs" / "halted" / "metrics.csv"
    deadline = time.monotonic() + 120
    while not (metrics.is_file() and metrics.read_text().count("\n") > 1):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    last = err.splitlines()[-1]
    assert "Traceback" not in err
    assert "interrupted; runs/halted keeps the last checkpoint" in last
    assert not (tmp_path / "runs" / "halted" / "summary.json").exists()

    how = last.split("python -m pyrocount.fit ")[1]
    assert how == "--name=halted --resume"
    for line in (how.split(), [*arguments, "--name", "whole"]):
        process = start(line)
        process.communicate(timeout=120)
        assert process.returncode == 0
    halted, whole = (load_file(tmp_path / "runs" / name / "model.safetensors") for name in ("halted", "whole"))
    assert halted.keys() == whole.keys()
    assert all(torch.equal(halted[name], whole[name]) for name in whole)
    assert summary(tmp_path / "runs" / "halted") == summary(tmp_path / "runs" / "whole")
    assert metrics.read_text().count("\n") == 9
