"""The layers' check of pyproject.toml is broken by a breach of each kind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# A line that is added to a module, and the contract that it breaks.
BREACHES = {
    "Nothing looks up": ("pyrocount/metrics/counts.py", "def up():\n    from pyrocount.backends import build\n"),
    "Nothing imports a command": ("pyrocount/refine.py", "from pyrocount.fit import fit\n"),
    "No circle of imports": ("models/likelihoods.py", "def round():\n    from . import collapsed\n"),
    "The torch side knows no JAX": ("pyrocount/distributions/special.py", "def heavy():\n    import jax\n"),
    "The JAX side knows no torch": ("pyrocount/numpyro/special.py", "import torch\n"),
}


@pytest.fixture
def copy(tmp_path):
    """The package as it is installed, in one folder, and a function that checks it."""
    pytest.importorskip("importlinter")
    for room in ("pyrocount", "models", "inference"):
        inside = "" if room == "pyrocount" else f"{room}/"
        for file in (ROOT / room).rglob("*.py"):
            target = tmp_path / "pyrocount" / inside / file.relative_to(ROOT / room)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(file.read_text())

    def check():
        command = [Path(sys.executable).with_name("lint-imports"), "--no-cache", ROOT / "pyproject.toml"]
        return subprocess.run(
            command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
        )

    return tmp_path, check


def test_the_layers_hold_and_a_breach_of_each_kind_is_told(copy):
    folder, check = copy
    held = check()
    assert held.returncode == 0, held.stdout
    assert f"Contracts: {len(BREACHES)} kept, 0 broken." in held.stdout
    for room, breach in BREACHES.values():
        file = folder / (room if room.startswith("pyrocount") else f"pyrocount/{room}")
        file.write_text(file.read_text() + "\n\n" + breach)
    broken = check()
    assert broken.returncode == 1
    told = " ".join(broken.stdout.split())
    assert f"Contracts: 0 kept, {len(BREACHES)} broken." in told
    for contract in BREACHES:
        assert f"{contract}" in told
