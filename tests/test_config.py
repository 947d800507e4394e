"""Options: each has its effect, and those that are bad, do not go together or have no use are refused."""

import re
from dataclasses import fields

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from pyrocount.config import Config, all_options
from pyrocount.data.options import DataOptions, FileOptions
from pyrocount.errors import InputError
from pyrocount.fit import fit, main
from pyrocount.inference.options import TrainingOptions
from pyrocount.models import MODELS


@pytest.fixture
def outcome(tmp_path, monkeypatch):
    """Fits a small model and returns its weights and metrics."""
    monkeypatch.setattr("pyrocount.backends.Backend.draw", lambda *arguments: {})
    rng = np.random.default_rng(0)
    files = {
        "table": rng.random((40, 2)) @ rng.random((2, 6)) / 2,
        "other": rng.random((40, 6)),
        "spikes": rng.poisson(2.0, (20, 6)),
        "images": rng.random((20, 1, 6, 6)),
    }
    for name, values in files.items():
        np.save(tmp_path / f"{name}.npy", values)

    def train(data="table", **options):
        path = str(tmp_path / f"{data}.npy") if data in files else data
        small = {"latent_dim": 5, "epochs": 2, "batch_size": 8, "lr": 0.02, "out": str(tmp_path / "runs")}
        run = fit(Config(data=path, **small | options))
        return load_file(run.path / "model.safetensors"), run.metrics

    return train


def differ(one, other):
    """Returns whether two fits differ in their weights, or in their metrics."""
    (first, metrics), (second, others) = one, other
    same = first.keys() == second.keys() and all(
        first[name].shape == second[name].shape and torch.equal(first[name], second[name]) for name in first
    )
    return not same or metrics != others


# Base options, and one more option that must change the fit.
EFFECTS = [
    ({"estimator": "arrival"}, changed)
    for changed in (
        {"model": "poisson"},
        {"data": "other"},
        {"scaling": "unit"},
        {"test_fraction": 0.5},
        {"latent_dim": 6},
        {"initial_rate": 2.0},
        {"initial_spread": 2.0},
        {"encoder_init": 0.3},
        {"encoder": "lin"},
        {"decoder": "lin"},
        {"output": "tanh"},
        {"weight_norm": True},
        {"input_dropout": 0.5},
        {"likelihood": "bernoulli"},
        {"scale": 0.3},
        {"learn_scale": True},
        {"beta": 0.3},
        {"kl": "shared"},
        {"kl": "exact"},
        {"estimator": "stein"},
        {"samples": 3},
        {"temperature": 0.3},
        {"temperature_schedule": "exponential"},
        {"anneal": 0.2},
        {"temperature_anneal": 0.2},
        {"hard_after": 0.5},
        {"kl_samples": 3},
        {"indicator": "sigmoid"},
        {"epochs": 3},
        {"batch_size": 7},
        {"optimizer": "adamax"},
        {"optimizer": "adamw"},
        {"weight_decay": 2.0},
        {"lr": 0.3},
        {"warmup": 0.2},
        {"max_gradient_norm": 0.01},
        {"seed": 7},
    )
]
EFFECTS += [
    ({"estimator": "gumbel", "temperature": 0.5}, {"max_count": 2}),
    ({}, {"estimator": "unbiased"}),
    ({"encoder": "lin"}, {"bias": False}),
    ({"estimator": "unbiased"}, {"neighbours": 3}),
    ({"model": "gaussian"}, {"activation": "relu"}),
    ({"model": "lca"}, {"inference_steps": 3}),
    ({"data": "spikes", "likelihood": "poisson"}, {"exposure": 0.5}),
    ({"data": "images"}, {"flip": True}),
    ({"data": "images", "encoder": "conv"}, {"blocks": 2}),
]
PATCHES = {"data": "patches", "patches": 300, "test_patches": 50, "epochs": 1, "encoder": "lin", "decoder": "lin"}
EFFECTS += [
    (PATCHES, changed)
    for changed in (
        {"whiten": False},
        {"patches": 200},
        {"test_patches": 40},
        {"tiles": True},
        {"split": "image"},
        {"test_fraction": 0.5},
    )
]


@pytest.mark.parametrize(("base", "changed"), EFFECTS, ids=lambda options: "-".join(map(str, options.values())))
def test_an_option_has_its_effect(outcome, base, changed):
    usual = outcome(**base)
    assert differ(outcome(**base | changed), usual)


def test_the_same_options_have_the_same_effect(outcome):
    assert not differ(outcome(), outcome())


def test_all_options_are_tried():
    """Options of iterative models are in test_iterative_fit.py, of files in test_recordings.py and test_missing.py, and
    the precision, which not every processor has, in test_precision.py. What changes no numbers is in others.
    """
    tried = {name for base, changed in EFFECTS for name in changed}
    iterative = {"train_steps", "test_steps", "step_size", "leak", "drive", "step_kl"}
    files = {"split", *(field.name for field in fields(FileOptions))}
    assert tried | iterative | files | {"precision"} == set(all_options()) - {
        "data_dir",
        "download",
        "device",
        "log",
        "name",
        "out",
        "resume",
    }


def test_a_folder_of_images_gives_the_patches(outcome, tmp_path):
    for name, size in (("one", 150), ("two", 160)):
        (tmp_path / name).mkdir()
        pixels = np.random.default_rng(size).integers(0, 255, (size, size), np.uint8)
        Image.fromarray(pixels).save(tmp_path / name / "image.png")
    assert differ(*(outcome(**PATCHES, data_dir=str(tmp_path / name)) for name in ("one", "two")))


@pytest.mark.parametrize("download", [False, True])
def test_a_set_of_torchvision_is_fetched_where_that_is_asked_for(tmp_path, monkeypatch, download):
    pytest.importorskip("torchvision")
    asked = []

    def fetch(*arguments, **options):
        asked.append((arguments, options))
        raise RuntimeError("Dataset not found")

    monkeypatch.setattr("torchvision.datasets.MNIST", fetch)
    given = {"download": True} if download else {}
    with pytest.raises(InputError):
        fit(Config(data="mnist", data_dir=str(tmp_path / "sets"), out=str(tmp_path), **given))
    assert str(tmp_path / "sets") in str(asked[0])
    assert str(download) in str(asked[0])


@pytest.mark.parametrize("model", MODELS)
def test_a_configuration_is_resolved_once(model):
    """A resolved configuration resolves to itself, and keeps only the options in use."""
    config = Config(model=model, epochs=3)
    assert Config(**config.options) == config
    assert config[TrainingOptions].epochs == config.options["epochs"] == 3
    assert config[DataOptions].scaling == "standard"
    assert ("inference_steps" in config.options) == (model in ("lca", "ista", "fista"))
    assert ("train_steps" in config.options) == (MODELS[model].inference == "iterative")
    assert "temperature" not in config.options or model == "categorical"
    assert None not in config.options.values()


def test_none_is_not_given():
    assert Config(model="gaussian", temperature=None, inference_steps=None) == Config(model="gaussian")
    with pytest.raises(InputError, match=r"enkoder: got 'mlp', expected one of the options model, data, "):
        Config(enkoder="mlp")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--model weibull", "argument --model: invalid choice: 'weibull' (choose from "),
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
        ("--data missing.npy", "missing.npy, which does not exist, expected a .npy, .npz,"),
        ("--data digitz", "--data: got 'digitz', expected one of digits, patches, mnist"),
        ("--data ''", "--data: got '', expected"),
        (
            "--model gaussian --estimator stein",
            "--estimator: got 'stein' for gaussian latents (the rule is one for counts)",
        ),
        ("--estimator exact", "--estimator: got 'exact' with --decoder mlp, expected --decoder lin, for which"),
        ("--estimator exact --decoder lin --likelihood bernoulli", "'exact' with --likelihood bernoulli, expected"),
        ("--estimator exact --decoder lin --kl mc", "--kl: got 'mc' with --estimator exact, expected shared or exact"),
        ("--estimator exact --decoder lin --samples 2", "--samples: got 2 with --estimator exact, expected"),
        ("--estimator exact --decoder lin --samples 1", "--samples: got 1 with --estimator exact, expected"),
        # Options that have no use are refused whatever their values, the default ones too.
        ("--temperature .1 --estimator stein", "--temperature: got 0.1 with --estimator stein, expected --estimator"),
        ("--temperature-schedule linear", "--temperature-schedule: got 'linear' with --estimator stein, expected"),
        ("--model negbio --inference-steps 5", "--inference-steps: got 5 with --model negbio, expected --model lca, i"),
        (
            "--inference-steps 200",
            "--inference-steps: got 200 with --model negbio, expected --model lca, ista or fista",
        ),
        (
            "--model categorical --estimator gumbel --max-count 9",
            "--max-count: got 9 with --estimator gumbel, expected",
        ),
        ("--model categorical --initial-rate .22", "--initial-rate: got 0.22 with --model categorical, expected"),
        ("--model poisson --activation identity", "--activation: got 'identity' with --model poisson, expected"),
        (
            "--likelihood poisson --scale .5",
            "--scale: got 0.5 with --likelihood poisson, expected --likelihood gaussian",
        ),
        ("--blocks 0", "--blocks: got 0 with --decoder mlp, expected --decoder conv or --encoder conv"),
        ("--data-dir somewhere", "--data-dir: got"),
        ("--download", "--download: got true with --data digits, expected --data mnist"),
        (
            "--data mnist --test-fraction .2",
            "--test-fraction: got 0.2 with --data mnist, expected --data digits, patches or a file",
        ),
        ("--estimator score --kl exact", "--kl: got 'exact' with --estimator score, expected mc or shared"),
        (
            "--temperature .5",
            "--temperature: got 0.5 with --estimator stein, expected --estimator arrival, arrival-hard or gumbel",
        ),
        (
            "--estimator gumbel --indicator sigmoid",
            "--indicator: got 'sigmoid' with --estimator gumbel, expected --estimator arrival or arrival-hard",
        ),
        (
            "--estimator arrival --max-count 9",
            "--max-count: got 9 with --estimator arrival, expected --estimator gumbel",
        ),
        (
            "--activation relu",
            "--activation: got 'relu' with --model negbio, expected --model gaussian or iterative-gaussian",
        ),
        ("--exposure 2", "--exposure: got 2.0 with --likelihood gaussian, expected --likelihood poisson or negbio"),
        ("--likelihood poisson --scaling unit", "--scaling: got 'unit' with --likelihood poisson, expected none"),
        ("--likelihood bernoulli --output tanh", "--output: got 'tanh' with --likelihood bernoulli, expected identity"),
        (
            "--likelihood poisson --learn-scale",
            "--learn-scale: got true with --likelihood poisson, expected --likelihood gaussian",
        ),
        (
            "--model lca --encoder mlp",
            "--encoder: got 'mlp' with --model lca, expected --model poisson, negbio, gaussian, laplace or categorical",
        ),
        (
            "--model lca --decoder conv",
            "--decoder: got 'conv' with --model lca, expected lin, as the dictionary is linear",
        ),
        ("--model lca --learn-scale", "--learn-scale: got true with --model lca, expected --model poisson"),
        ("--model poisson --estimator magic", "argument --estimator: invalid choice: 'magic'"),
        ("--model lca --weight-norm", "--weight-norm: got true with --model lca, expected --model poisson"),
        ("--model lca --kl mc", "--kl: got 'mc' with --model lca, expected shared or exact"),
        (
            "--model laplace --initial-rate 2",
            "--initial-rate: got 2.0 with --model laplace, expected --model poisson, negbio, iterative-poisson or iter",
        ),
        ("--initial-rate 200", "--initial-rate: got 200.0, expected a positive number below 90"),
        ("--blocks 2", "--blocks: got 2 with --decoder mlp, expected --decoder conv or --encoder conv"),
        ("--no-whiten", "--whiten: got false with --data digits, expected --data patches"),
        ("--patches 50", "--patches: got 50 with --data digits, expected --data patches"),
        ("--test-patches 50", "--test-patches: got 50 with --data digits, expected --data patches"),
        ("--tiles", "--tiles: got true with --data digits, expected --data patches"),
        ("--data patches --patches 0", "--patches: got 0, expected a positive whole number"),
        ("--split image", "--split: got 'image' with --data digits, expected --data patches or a file"),
        ("--data x.npy --split part", "--split: got 'part' with --data"),
        ("--data patches --split random", "--split: got 'random' with --data patches, expected image or part"),
        ("--data ~nobody0/x.npy", "--data: got ~nobody0/x.npy, expected a home folder that exists"),
        ("--anneal 2", "--anneal: got 2.0, expected a number from 0 to 1"),
        ("--blocks -1", "--blocks: got -1, expected a whole number from 0"),
        ("--exposure 0 --likelihood poisson", "--exposure: got 0.0, expected a positive number"),
        ("--latent-dim 100000000000", "--latent-dim: got 100000000000, expected a model that fits into the memory"),
        ("--name ../up", "--name: got '../up', expected a plain folder name"),
        ("--resume", "--name: got no name, expected the name of the run to resume"),
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


def test_help_explains_every_option_with_its_default(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    words = " ".join(capsys.readouterr().out.split())
    for name, option in all_options().items():
        flag = "--" + name.replace("_", "-")
        default = re.escape(str(option.default))
        assert re.search(rf"{flag}[ ,][^()]*(\([^()]*\)[^()]*)*\(default: {default}\)", words), flag
