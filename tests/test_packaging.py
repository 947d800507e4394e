import importlib.metadata
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

import pyrocount

ROOT = Path(__file__).parents[1]


def _installed():
    """Returns the installed distribution, not what a build has left in this checkout."""
    return next(iter(importlib.metadata.distributions(name="pyrocount", path=[sysconfig.get_path("purelib")])), None)


needs_installation = pytest.mark.skipif(_installed() is None, reason="needs pyrocount installed")


def run(code, cwd):
    """Runs code in a folder with the installed package, not this checkout."""
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_package_list_is_that_of_the_disk():
    rooms = {"models": "pyrocount.models", "inference": "pyrocount.inference", "pyrocount": "pyrocount"}
    on_disk = {
        ".".join((rooms[room], *file.parent.relative_to(ROOT / room).parts))
        for room in rooms
        for file in (ROOT / room).rglob("__init__.py")
    }
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert sorted(setuptools["packages"]) == sorted(on_disk)
    assert setuptools["package-dir"] == {"pyrocount.models": "models", "pyrocount.inference": "inference"}


@needs_installation
def test_only_pyrocount_lands_in_site_packages():
    tops = {file.parts[0] for file in _installed().files if file.parts[0] != ".."}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"pyrocount"}
    installed = {str(file) for file in _installed().files}
    assert {"pyrocount/models/vae.py", "pyrocount/inference/svi.py", "pyrocount/py.typed"} <= installed


@needs_installation
def test_the_installed_package_works_beside_a_users_models(tmp_path):
    for room in ("models", "inference"):
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").write_text("raise ImportError('the wrong one')")
    code = "import pyrocount.models, pyrocount.inference, pyrocount.fit; print(pyrocount.models.__file__)"
    (where,) = run(code, tmp_path)
    assert Path(where).parts[-3:] == ("pyrocount", "models", "__init__.py")
    assert ROOT not in Path(where).parents or "site-packages" in where


def test_a_checkout_finds_its_own_rooms():
    code = (
        "from importlib.util import find_spec; "
        "print(find_spec('pyrocount.models').origin, find_spec('pyrocount.inference').origin)"
    )
    assert run(code, ROOT) == [str(ROOT / room / "__init__.py") for room in ("models", "inference")]


def test_import_is_light_and_changes_no_setting():
    code = (
        "import sys, torch, pyro; before = pyro.settings.get(), torch.get_default_dtype(); import pyrocount; "
        "assert before == (pyro.settings.get(), torch.get_default_dtype()); "
        "print(*[name for name in ('jax', 'numpyro', 'matplotlib', 'sklearn', 'tyro') if name in sys.modules])"
    )
    assert run(code, ROOT) == []


def test_the_twin_needs_no_torch():
    code = "import sys, pyrocount.numpyro; print(*[name for name in ('torch', 'pyro') if name in sys.modules])"
    assert run(code, ROOT) == []


def test_public_names_come_on_first_use_and_jax_only_for_iterative_models():
    modules = "fit, evaluate, compare, refine, out_of_distribution, amortization, sklearn, backends, suites"
    code = (
        "import sys, pyrocount; assert 'torch' not in sys.modules; "
        "assert set(pyrocount.__all__) <= set(dir(pyrocount)); from pyrocount import *; print(SteinChen()); "
        f"from pyrocount import {modules}; print(*[m for m in ('jax', 'numpyro') if m in sys.modules])"
    )
    assert run(code, ROOT) == ["SteinChen()"]
    with pytest.raises(AttributeError, match="no attribute 'SteinChan'"):
        pyrocount.SteinChan  # noqa: B018
