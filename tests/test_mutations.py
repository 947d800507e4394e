"""Run folders whose files parse but do not fit: each command refuses them in one line, or does its work."""

import copy
import json
import math
import shlex
import shutil

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

import pyrocount
from pyrocount import amortization, compare, evaluate, fit, out_of_distribution, refine
from pyrocount.backends import Backend
from pyrocount.errors import InputError
from pyrocount.sklearn import CountVAE

MODELS = {
    "poisson": "--encoder lin --decoder lin",
    "iterative-poisson": "--train-steps 2 --test-steps 2",
}
# Values that an option, a metric or a part of a checkpoint may have been changed to.
ODD = [None, -1, 10**9, 0.5, math.inf, math.nan, True, "", "x", "conv", [], {}, [[1]], {"a": None}]
DEEP = 100_000 * "[" + 100_000 * "]"
TABLES = ["epoch,elbo\n1\n", "epoch,elbo\n1,2,3\n", "a,a\nx,1\n"]
TEXTS = ["", "{}", "[]", "null", "3", '"text"', '{"a": ', "\0\0", *TABLES, DEEP]
# Changes of weights.
KINDS = ["missing", "extra", "shape", "integers", "double", "nan", "changed", "no metadata", "other run"]
# Files that a command reads; the others read all but the checkpoint.
READ = {"resume": ["config.json", "checkpoint.pt"], "compare": ["config.json", "summary.json"]}
FITTED = ["config.json", "summary.json", "metrics.csv", "model.safetensors"]

COMMANDS = {
    "resume": lambda run: fit.main(["--resume", "--name", run.name, "--out", str(run.parent)]),
    "evaluate": lambda run: evaluate.main([str(run), "--suite", "sparsity"]),
    "compare": lambda run: compare.main([str(run), "--out", str(run.parent / "comparison")]),
    "refine": lambda run: refine.main([str(run), "--steps", "2"]),
    "out_of_distribution": lambda run: out_of_distribution.main([str(run), "--rotations", "30"]),
    "amortization": lambda run: amortization.main([str(run), "--sizes", "4", "--steps", "2"]),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs of small images, and another of the first model with more latents."""
    folder = tmp_path_factory.mktemp("intact")
    images = folder / "images.npy"
    rng = np.random.default_rng(0)
    np.save(images, (rng.random((60, 3)) @ rng.random((3, 36))).reshape(60, 1, 6, 6))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Backend, "draw", lambda *arguments: {})
        for name, latents in (("poisson", 4), ("iterative-poisson", 4), ("other", 5)):
            model = "poisson" if name == "other" else name
            line = f"--model {model} --data {images} --epochs 1 --latent-dim {latents} {MODELS[model]}"
            assert fit.main([*shlex.split(line), "--name", name, "--out", str(folder)]) == 0
        yield folder


def tensors(path):
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


def mutate_weights(data, run, runs):
    path = run / "model.safetensors"
    parts, about = tensors(path)
    name = data.draw(st.sampled_from(sorted(parts)))
    kind = data.draw(st.sampled_from(KINDS))
    if kind == "missing":
        del parts[name]
    elif kind == "extra":
        parts["more"] = torch.zeros(2)
    elif kind == "shape":
        parts[name] = torch.zeros(3, 1)
    elif kind == "integers":
        parts[name] = parts[name].round().int()
    elif kind == "double":
        parts[name] = parts[name].double()
    elif kind == "nan":
        parts[name] = parts[name] * math.nan
    elif kind == "changed":
        parts[name] = parts[name] + 1
    elif kind == "no metadata":
        about = None
    else:
        others = sorted({*MODELS, "other"} - {run.name})
        shutil.copy(runs / data.draw(st.sampled_from(others)) / "model.safetensors", path)
        return
    save_file(parts, path, about)


def mutate_checkpoint(data, run):
    path = run / "checkpoint.pt"
    content = torch.load(path, weights_only=True)
    place = content
    # Goes down to a part at any depth, and changes it.
    while True:
        key = data.draw(st.sampled_from(sorted(place, key=str) if isinstance(place, dict) else range(len(place))))
        below = place[key]
        if isinstance(below, dict | list) and below and data.draw(st.booleans()):
            place = below
            continue
        if isinstance(place, dict) and data.draw(st.booleans()):
            del place[key]
        else:
            place[key] = copy.deepcopy(data.draw(st.sampled_from([*ODD, torch.zeros(2)])))
        break
    torch.save(content, path)


def mutate_json(data, path):
    content = json.loads(path.read_text())
    name = data.draw(st.sampled_from(sorted(content)))
    if data.draw(st.booleans()):
        del content[name]
    else:
        content[name] = data.draw(st.sampled_from(ODD))
    path.write_text(json.dumps(content))


def mutate_bytes(data, path):
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(content)


def mutate(data, run, runs, files):
    """Changes one of the files of a run; returns its name."""
    name = data.draw(st.sampled_from(files))
    path = run / name
    how = data.draw(st.sampled_from(["gone", "bytes", "text", "parts", "parts", "parts"]))
    if how == "gone":
        path.unlink()
    elif how == "bytes":
        mutate_bytes(data, path)
    elif how == "text" or name == "metrics.csv":
        path.write_text(data.draw(st.sampled_from(TEXTS)))
    elif name == "model.safetensors":
        mutate_weights(data, run, runs)
    elif name == "checkpoint.pt":
        mutate_checkpoint(data, run)
    else:
        mutate_json(data, path)
    return name


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("command", COMMANDS)
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_a_mutated_run_is_refused_in_one_line_or_is_as_good(command, model, data, runs, tmp_path_factory, capsys):
    run = tmp_path_factory.mktemp("mutated") / model
    shutil.copytree(runs / model, run)
    changed = mutate(data, run, runs, READ.get(command, FITTED))
    capsys.readouterr()
    code = COMMANDS[command](run)
    lines = [line for line in capsys.readouterr().err.splitlines() if "error" in line.lower()]
    assert code in (0, 2)
    assert len(lines) == (code == 2), lines
    if code == 2:
        assert lines[0].startswith(f"pyrocount.{'fit' if command == 'resume' else command}: error: ")
    if changed in ("model.safetensors", "checkpoint.pt"):
        assert code == 2


@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_no_mutated_weights_are_loaded(model, data, runs, tmp_path_factory):
    run = tmp_path_factory.mktemp("mutated") / model
    shutil.copytree(runs / model, run)
    if data.draw(st.booleans()):
        mutate_bytes(data, run / "model.safetensors")
    else:
        mutate_weights(data, run, runs)
    for read in (pyrocount.load, CountVAE.load):
        with pytest.raises(InputError, match=r"model\.safetensors"):
            read(run)
