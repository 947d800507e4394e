"""The recipes of the contributors' guide, executed as they are printed, and used through the command line."""

import inspect
import json
import re
from importlib import import_module, util
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from pyrocount import config, distributions, evaluate
from pyrocount.data import dataset
from pyrocount.models import options
from pyrocount.numpyro import relaxations
from pyrocount.run import load

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "CONTRIBUTING.md").read_text()
# A file, a table, class or function in it, and the code, up to the next file.
PART = r"^# (\S+)\.py(?:, in (\w+))?\n(.*?)(?=^# \S+\.py|\Z)"
SMALL = "--epochs 1 --latent-dim 3 --batch-size 16 --lr .05 --decoder lin"
STEPS = "--train-steps 2 --test-steps 2"


@pytest.fixture
def add(monkeypatch):
    """Adds what a section of the guide prints to where it says; returns what the sections so far define, by name."""
    defined = {}

    def put(file, place, code):
        name = re.sub("^(?!pyrocount)", "pyrocount.", file.replace("/", ".").removesuffix(".__init__"))
        exists = (ROOT / f"{file}.py").is_file()
        module = import_module(name) if exists else util.module_from_spec(util.spec_from_loader(name, loader=None))
        before = {"__builtins__": __builtins__} | vars(module) | defined
        target, scope = before.get(place), dict(before)
        if isinstance(target, dict):
            for name, row in eval(f"{{{code}}}", scope).items():
                monkeypatch.setitem(target, name, row)
            return
        whole = inspect.getsource(target).replace(":\n", f":\n{code}\n", 1) if inspect.isfunction(target) else code
        exec(whole, scope)
        owner = target if inspect.isclass(target) else module
        new = {name: value for name, value in scope.items() if before.get(name) is not value}
        defined.update(new if owner is module else {})
        for name, value in new.items():
            monkeypatch.setattr(owner, name, value, raising=False)

    def section(title):
        for block in re.findall(r"```python\n(.*?)```", GUIDE.split(f"## {title}\n")[1].split("\n## ")[0], re.DOTALL):
            for part in re.findall(PART, block, re.DOTALL | re.MULTILINE):
                put(*part)
        return defined

    return section


@pytest.fixture
def fitted(command):
    def fit(line):
        code, out, err = command(f"{SMALL} {line}")
        assert code == 0, err
        return load(out.splitlines()[-1])

    return fit


def test_a_family_and_then_an_option_of_it(add, command, fitted, array, capsys):
    names, line = add("A new latent family"), f"--data {array} --model gamma"
    runs = {name: fitted(f"{line} --estimator {name}") for name in ("pathwise", "score", "exact")}
    assert len({run.metrics["nelbo"] for run in runs.values()}) == 3
    for estimator, run in runs.items():
        assert type(run.model.latent) is names["GammaLatent"]
        assert run.model.latent.posterior(torch.zeros(1, 6)).has_rsample == (estimator != "score")
    assert "unrecognized arguments: --concentration 3" in command(f"{line} --concentration 3")[2][0]
    add("A new option")
    one, three = (fitted(f"{line} --concentration {value}") for value in (1, 3))
    assert one.metrics == runs["pathwise"].metrics
    assert three.metrics["nelbo"] != one.metrics["nelbo"]
    assert three.model.latent.prior().concentration.tolist() == [3, 3, 3]
    refused = "pyrocount.fit: error: --concentration: got 3.0 with --model poisson, expected --model gamma"
    assert command("--model poisson --concentration 3") == (2, "", [refused])
    assert command(f"{line} --concentration 0")[2][0].endswith("got 0.0, expected a positive number")
    with pytest.raises(SystemExit):
        command("--help")
    shown = " ".join(capsys.readouterr().out.split())
    assert "--concentration X concentration of the gamma prior" in shown
    assert re.search(r"--model {[\w,-]*\bgamma\b", shown)


def test_a_likelihood_in_both_backends(add, command, fitted, array, tmp_path):
    names = add("A new likelihood")
    assert command(f"--data {array} --likelihood geometric")[2][0].endswith("whole numbers for --likelihood geometric")
    counts = np.random.default_rng(0).geometric(0.4, (40, 6)) - 1
    np.save(tmp_path / "counts.npy", counts)
    line = f"--data {tmp_path / 'counts.npy'} --likelihood geometric --exposure 2"
    noise = fitted(f"{line} --model poisson").model.likelihood
    iterative = fitted(f"{line} --model iterative-poisson {STEPS}").model
    assert type(noise) is names["GeometricLikelihood"]
    # With the same predictions, both have the same means and log likelihoods.
    z, windows = np.ones((40, 3), np.float32), np.full(40, 2.0, np.float32)
    twin = iterative.model.observation_distribution(iterative.parameters, jnp.asarray(z), jnp.asarray(windows))
    prediction = torch.from_numpy(np.array(iterative.model.decode(iterative.parameters, jnp.asarray(z))))
    observed = noise(prediction, torch.from_numpy(windows))
    np.testing.assert_allclose(observed.mean, 2 * prediction.exp(), rtol=1e-4)
    np.testing.assert_allclose(twin.log_prob(counts), observed.log_prob(torch.from_numpy(counts)), rtol=1e-4)


def test_a_relaxation_and_its_estimator_in_both_backends(add, command, fitted, array, monkeypatch):
    add("A new relaxation")
    # What the imports of __init__.py would give, and the tables that are made of the one with the row.
    monkeypatch.setattr(
        distributions.relaxations, "Proportional", distributions.relaxations.hard.Proportional, raising=False
    )
    monkeypatch.setattr(relaxations, "Proportional", relaxations.hard.Proportional, raising=False)
    monkeypatch.setitem(options.COUNTS, "proportional", options.SAMPLED_COUNTS["proportional"])
    monkeypatch.setattr(config, "ESTIMATORS", (*config.ESTIMATORS, "proportional"))
    for model, more in (("poisson", ""), ("iterative-poisson", STEPS)):
        line = f"--data {array} --model {model} {more} --estimator"
        ours, other = (fitted(f"{line} {name}").metrics for name in ("proportional", "stein"))
        assert ours["nelbo"] != other["nelbo"]
    assert "got 'proportional' for gaussian latents" in command("--model gaussian --estimator proportional")[2][0]


def test_a_data_set(add, command, fitted, monkeypatch):
    monkeypatch.setattr(dataset, "NAMED", ("wine", *dataset.NAMED))
    add("A new data set")
    data = fitted("--data wine").data()
    assert (data.name, data.shape, len(data.train), {*data.train_labels}) == ("wine", (13,), 142, {0, 1, 2})
    assert "expected one of wine, digits" in command("--data beer")[2][0]


def test_a_suite(add, fitted, array):
    run = fitted(f"--data {array} --model poisson")
    assert evaluate.main([str(run.path), "--suite", "correlation"]) == 2
    add("A new suite, check or figure")
    assert evaluate.main([str(run.path), "--suite", "correlation"]) == 0
    expected = np.abs(np.corrcoef(run.backend.code(run.data().test_units()).T) - np.eye(3)).max()
    metrics = json.loads((run.path / "evaluation.json").read_text())["suites"]["correlation"]["metrics"]
    assert metrics["largest_correlation"] == pytest.approx(expected, abs=1e-5)
    assert "largest correlation" in (run.path / "report.html").read_text()


def test_the_files_that_the_guide_names_exist():
    named = set(re.findall(r"`([\w/]+\.py)`", GUIDE)) - {"__init__.py"}
    known = [name for name in named if (ROOT / name).is_file() or (ROOT / "tests" / name).is_file()]
    assert len(known) > 30
    assert {Path(name).name for name in named.difference(known)} == {"NAME.py"}
