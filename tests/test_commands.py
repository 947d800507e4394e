"""Every command line of README, guide, tutorials and contributors' page runs: on small data, for an epoch.

The blocks are run by bash, loops and variables and all, with a ``python`` that notes what it is asked for; then the
commands themselves run here.
"""

import importlib
import json
import os
import re
import subprocess
import tomllib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from pyrocount import sweep
from pyrocount.backends import Backend
from pyrocount.data import dataset
from pyrocount.models import MODELS
from pyrocount.sweeps import grid, tasks_of
from pyrocount.sweeps.search import ranges

ROOT = Path(__file__).parents[1]
DOCUMENTS = [*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "tutorials").glob("*.ipynb"))]
PROGRAMS = ("python", "python3", "pip", "sphinx-build", ".venv/bin/python", ".venv/bin/pip")
NOTE = """#!/bin/bash
{ printf '%s\\x1f' "$(basename "$0")" "$@"; echo; } >> "$COMMANDS"
"""
SHAPES = {"patches": (1, 16, 16), "cifar10-16": (3, 16, 16), "celeba-64": (3, 64, 64)}


def prose(path):
    """Returns the text of a document outside of code that is run."""
    if path.suffix == ".md":
        return path.read_text()
    cells = json.loads(path.read_text())["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def scripts(text):
    """Blocks of shell commands, and commands within sentences and tables."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    rest = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    spans = [span for span in re.findall(r"`([^`\n]+)`", rest) if span.startswith(("python ", "pip "))]
    options = [
        f"python -m pyrocount.fit {span}"
        for row in re.findall(r"^\|.*\|$", rest, re.MULTILINE)
        for span in re.findall(r"`(--(?:model|estimator|kl) [^`]+)`", row)
    ]
    return blocks + spans + options


@pytest.fixture
def noted(tmp_path):
    """The commands that a script gives, each a list of words."""
    for program in PROGRAMS:
        file = tmp_path / "bin" / program
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(NOTE)
        file.chmod(0o755)
    (tmp_path / ".venv").symlink_to(tmp_path / "bin" / ".venv")

    def run(script):
        commands = tmp_path / "commands"
        commands.write_text("")
        path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
        subprocess.run(
            ["bash", "-euc", script], cwd=tmp_path, env={"PATH": path, "COMMANDS": str(commands)}, check=True
        )
        return [line.split("\x1f")[:-1] for line in commands.read_text().splitlines()]

    return run


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Small data in the place of large ones, no figures, and the files that documents speak of."""
    original = dataset._load
    rng = np.random.default_rng(0)

    def load(data, *arguments):
        if data == "digits":
            raw = original(data, *arguments)
            return dataset._Raw(raw.values[:80], labels=raw.labels[:80], limits=raw.limits)
        if data in dataset.NAMED:
            # The same each time, as a run refuses data that have changed.
            images = np.random.default_rng(1).random((80, *SHAPES.get(data, (1, 28, 28)))).astype(np.float32)
            return dataset._Raw(images[:60], test=images[60:], labels=np.arange(80) % 10, limits=(0.0, 1.0))
        return original(data, *arguments)

    monkeypatch.setattr(dataset, "_load", load)
    monkeypatch.setattr(Backend, "draw", lambda *arguments: {})
    monkeypatch.chdir(tmp_path)
    counts = {"x": rng.poisson(2.0, (60, 6)).astype(np.float32), "exposure": np.ones(60, np.float32)}
    for name in ("counts.npz", "recording.npz"):
        np.savez(tmp_path / name, **counts)


def call(module, arguments):
    """Runs a command of ours, which must end well."""
    assert importlib.import_module(module).main(arguments) == 0, f"{module} {' '.join(arguments)}"


def fit(arguments):
    values = dict(pairwise(arguments))
    if "--resume" in arguments:
        name = values["--name"]
        if not Path("runs", name).exists():
            call("pyrocount.fit", ["--epochs", "1", "--name", name])
        return call("pyrocount.fit", arguments)
    less = ["--epochs", "1"]
    if MODELS[values.get("--model", "negbio")].inference == "iterative":
        less += ["--train-steps", "2", "--test-steps", "3", "--latent-dim", "6"]
    for file in (values.get("--data", ""), values.get("--data-dir", "")):
        if file in ("FILE", "FILE.npy", "FILE.npz"):
            np.save("FILE.npy", np.random.default_rng(0).random((60, 6)).astype(np.float32))
    return call("pyrocount.fit", [*arguments, *less])


def made(run):
    """Makes a finished run where a document speaks of one, of the model that its name says."""
    path = Path(run)
    if path.exists():
        return
    known = re.fullmatch(r"(.+?)-(digits|patches|recording|counts)-\d+", path.name)
    model, data = known.groups() if known else ("poisson", "digits")
    data = f"{data}.npz" if data in ("recording", "counts") else data
    options = ["--model", model, "--data", data, "--out", str(path.parent)]
    if data.endswith("npz"):
        options += ["--likelihood", "poisson"]
    if model == "poisson":
        options += ["--decoder", "lin"]
    if path.name == "RUNS":
        for seed in ("0", "1"):
            fit([*options, "--out", "RUNS", "--seed", seed])
    else:
        fit([*options, "--name", path.name])


def on_a_run(module, arguments):
    made(arguments[0])
    if module == "pyrocount.evaluate":
        # A suite that is quick on few data; all of them run in their own tests.
        arguments = [*arguments, "--suite", "reconstruction" if "negbio" in arguments else "sparsity"]
    elif module in ("pyrocount.refine", "pyrocount.out_of_distribution", "pyrocount.amortization"):
        arguments = [*arguments, "--steps", "3"]
    call(module, arguments)


def install(words):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert words[0] == "install"
    for word in words[1:]:
        assert re.fullmatch(r"\.(\[[\w,]+\])?|\./zoo", word), word
        assert word == "./zoo" or set(re.findall(r"\w+", word)) <= set(extras), word


def perform(words):
    program, *arguments = words
    if program == "pip":
        return install(arguments)
    if program == "sphinx-build":
        return None  # in test_docs
    module = arguments[1] if arguments[0] == "-m" else None
    if module in ("venv", "pytest"):
        return None  # what runs this
    if module is not None and not arguments[2:]:
        return importlib.import_module(module).main  # a mention of the command
    if arguments[2:] == ["--recipe", "help"]:
        return None  # in test_recipes
    if module == "pyrocount.fit":
        return fit(arguments[2:])
    if module == "pyrocount.sweep":
        # In test_sweep.
        given = sweep._parser().parse_args(arguments[2:])
        assert ranges(given.grid) if given.search else tasks_of(grid(given.grid), given.seeds, {}, "runs")
        return None
    if module is not None:
        return on_a_run(module, arguments[2:])
    # In test_tutorials and test_benchmarks.
    assert arguments[0] == "tutorials/run.py" or arguments[0].startswith("tests/benchmarks/"), arguments
    assert (ROOT / arguments[0]).is_file()
    return None


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_the_commands_of(path, noted, small):
    done = set()
    for script in scripts(prose(path)):
        commands = noted(script)
        assert commands, f"no command in {script}"
        for words in commands:
            # Seeds make other numbers, not other commands.
            key = re.sub(r"--seed \d+", "", " ".join(words))
            if key not in done:
                done.add(key)
                perform(words)
    if path.name in ("README.md", "guide.md"):
        assert len(done) > 20


def test_a_command_that_has_rotted_is_told(noted, small):
    (words,) = noted("python -m pyrocount.fit --no-such-option 1")
    with pytest.raises(AssertionError, match="no-such-option"):
        perform(words)
    with pytest.raises(ModuleNotFoundError):
        perform(["python", "-m", "pyrocount.nothing", "RUN"])
    with pytest.raises(AssertionError):
        perform(["pip", "install", ".[nothing]"])
