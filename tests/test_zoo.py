"""The zoo: fitted models that come with the project, each with a card."""

import importlib.util
import json
import re
import sys
import tomllib
from pathlib import Path

import pytest

import pyrocount
from pyrocount.errors import InputError
from pyrocount.recipes import recipe, recipes

ROOT = Path(__file__).parents[1]
MODELS = ROOT / "zoo" / "pyrocount_zoo"
NAMES = sorted(folder.name for folder in MODELS.iterdir() if (folder / "config.json").is_file())
MNIST = ROOT.parent / "shared" / "data" / "mnist"


@pytest.fixture(autouse=True)
def zoo(monkeypatch):
    """Puts the models where an installed package would be; that nothing is compiled leaves the folder as it is."""
    monkeypatch.syspath_prepend(str(MODELS.parent))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)


def printed(name):
    """Returns the metrics of a card, as text."""
    lines = re.findall(r"^\| (\w+) \| ([-\d.e+]+) \|$", (MODELS / name / "README.md").read_text(), re.MULTILINE)
    return dict(lines)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_has_the_metrics_of_its_card(name):
    run = pyrocount.load(f"zoo/{name}")
    place = {}
    if run.config.options["data"] == "mnist":
        pytest.importorskip("torchvision")
        if not MNIST.is_dir():
            pytest.skip("needs MNIST")
        place = {"data_dir": str(MNIST)}
    known = printed(name)
    assert known.keys() == run.metrics.keys()
    found = run.backend.evaluate_held_out(run.config, run.data(**place)).metrics
    # Four digits are printed. Processors round differently, so that a few of very many counts may differ.
    assert found == pytest.approx({metric: float(text) for metric, text in known.items()}, rel=1e-3, abs=1e-3)
    assert known == {metric: f"{value:.4g}" for metric, value in run.metrics.items()}


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_that_of_its_recipe_and_is_small(name):
    options = json.loads((MODELS / name / "config.json").read_text())
    assert recipe(f"zoo-{name}").options.items() <= options.items()
    # No folder of the machine that made it.
    assert {"data_dir", "out", "name"}.isdisjoint(options)
    assert (MODELS / name / "model.safetensors").stat().st_size < 1_000_000
    assert f"--recipe zoo-{name}`" in (MODELS / name / "README.md").read_text()


def test_the_zoo_is_whole():
    assert [f"zoo-{name}" for name in NAMES] == [each.name for each in recipes() if each.name.startswith("zoo-")]
    assert len(NAMES) >= 12
    files = [file for file in MODELS.rglob("*") if file.is_file() and "__pycache__" not in file.parts]
    assert sum(file.stat().st_size for file in files) < 6_000_000
    listed = (MODELS.parent / "README.md").read_text()
    assert all(f"`{name}`" in listed for name in NAMES)
    shipped = tomllib.loads((MODELS.parent / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    patterns = shipped["pyrocount_zoo"]
    assert {file for pattern in patterns for file in MODELS.glob(pattern)} == {f for f in files if f.suffix != ".py"}


def test_models_that_are_not_there(monkeypatch, tmp_path):
    with pytest.raises(InputError, match=r"path: got zoo/nothing, expected zoo/ and one of digits-categorical, "):
        pyrocount.load("zoo/nothing")
    # A folder of this name is the user's.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "zoo" / "nothing").mkdir(parents=True)
    with pytest.raises(InputError, match=r"path: got zoo/nothing, whose model.safetensors cannot be read"):
        pyrocount.load("zoo/nothing")


def test_without_the_package(monkeypatch):
    monkeypatch.setattr("pyrocount.recipes.zoo._places", list)
    with pytest.raises(InputError, match="path: got zoo/digits-poisson, expected the package pyrocount_zoo"):
        pyrocount.load("zoo/digits-poisson")


def test_an_installed_package_comes_before_a_checkout(monkeypatch, tmp_path):
    (tmp_path / "pyrocount_zoo").mkdir()
    (tmp_path / "pyrocount_zoo" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    with pytest.raises(InputError, match="expected the package pyrocount_zoo"):
        pyrocount.load("zoo/digits-poisson")
