"""Training by several processes of ``torchrun`` on this machine."""

import csv
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import together
from together import EXACT

from pyrocount.fit import main
from pyrocount.process import group

TORCHRUN = (sys.executable, Path(__file__).with_name("local_torchrun.py"), "--master-addr", "127.0.0.1")
OPTIONS = "--model poisson --estimator exact --encoder lin --decoder lin --latent-dim 4 --device cpu --out runs".split()  # noqa: SIM905

# A process that ends at its thirtieth step, as if it had been killed.
DYING = """
import os, sys
import torch
from pyrocount.fit import main

steps = []
original = torch.optim.Adam.step

def step(self, *arguments):
    steps.append(1)
    if os.environ["RANK"] == "1" and len(steps) == 30:
        os._exit(9)
    return original(self, *arguments)

torch.optim.Adam.step = step
sys.exit(main(sys.argv[1:]))
"""

# The same of the thirtieth step of an iterative model.
DYING_ITERATIVE = """
import os, sys
from pyrocount.fit import main
from pyrocount.inference import jax_training

steps = []
original = jax_training.rows_over_processes

def read(*arguments):
    # Of each step two arrays are read.
    steps.append(1)
    if os.environ["RANK"] == "1" and len(steps) == 60:
        os._exit(9)
    return original(*arguments)

jax_training.rows_over_processes = read
sys.exit(main(sys.argv[1:]))
"""


def torchrun(processes, *arguments, folder):
    environment = os.environ | {"TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [*map(str, TORCHRUN), f"--master-port={port}", f"--nproc-per-node={processes}", *map(str, arguments)]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def objective(run, name="elbo"):
    with (run / "metrics.csv").open(newline="") as file:
        return [float(row[name]) for row in csv.DictReader(file)]


def test_every_family_and_estimator_by_two_processes(tmp_path):
    """Weights stay those of each other; without random numbers the loss is that of one process, to rounding."""
    done = torchrun(2, Path(together.__file__), tmp_path / "two.json", folder=Path(__file__).parent)
    assert done.returncode == 0, done.stderr[-2000:]
    together.main(tmp_path / "one.json")
    one, two = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, (elbo, apart) in two.items():
        assert apart == 0, name
        exact = name.startswith("-".join(EXACT))
        # Random numbers of two epochs on few observations; the objective is some -8.
        assert elbo == pytest.approx(one[name][0], **({"rel": 1e-6} if exact else {"abs": 3.0})), name


def test_a_run_goes_on_by_another_number_of_processes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = tmp_path / "runs"
    assert main([*OPTIONS, "--epochs=6", "--name=one"]) == 0
    script = tmp_path / "dying.py"
    script.write_text(DYING)
    died = torchrun(2, script, *OPTIONS, "--epochs=6", "--name=died", folder=tmp_path)
    assert died.returncode != 0
    assert not (runs / "died" / "summary.json").exists()
    ours = [line for line in died.stderr.splitlines() if line.startswith("pyrocount.fit: ")]
    assert len(ours) <= 1
    assert all("another process of the training ended" in line for line in ours)
    # Twelve steps an epoch: two epochs were kept.
    assert len(objective(runs / "died")) == 2
    shutil.copytree(runs / "died", runs / "again")
    assert main(["--out=runs", "--name=died", "--resume"]) == 0
    resumed = torchrun(2, "-m", "pyrocount.fit", "--out=runs", "--name=again", "--resume", folder=tmp_path)
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    for name in ("died", "again"):
        assert objective(runs / name) == pytest.approx(objective(runs / "one"), rel=1e-6)


ITERATIVE = ["--model=iterative-poisson", "--decoder=lin", "--latent-dim=4", "--train-steps=2", "--test-steps=4"]
ITERATIVE += ["--device=cpu", "--out=runs"]


def test_iterative_models_by_two_processes(tmp_path, monkeypatch):
    """JAX is joined by the same command; random numbers are those of one process, with which a run goes on."""
    monkeypatch.chdir(tmp_path)
    runs = tmp_path / "runs"
    assert main([*ITERATIVE, "--epochs=3", "--name=one"]) == 0
    script = tmp_path / "dying.py"
    script.write_text(DYING_ITERATIVE)
    died = torchrun(2, script, *ITERATIVE, "--epochs=3", "--name=died", folder=tmp_path)
    assert died.returncode != 0
    assert len(objective(runs / "died")) == 2
    assert main(["--out=runs", "--name=died", "--resume"]) == 0
    assert objective(runs / "died") == pytest.approx(objective(runs / "one"), rel=1e-5)
    # Both processes measured; rounding moves a few counts of some observations.
    one, two = (objective(runs / name, "test_nelbo") for name in ("one", "died"))
    assert two == pytest.approx(one, rel=0.01)


def test_values_of_one_process_are_gathered():
    assert group.gathered([3, 1]) == [3, 1]


def test_one_process_knows_of_no_others(monkeypatch):
    assert (group.rank(), group.size()) == (0, 1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert (group.rank(), group.size()) == (1, 2)


def test_the_program_runs_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(together, "STEPS", [])
    together.main(tmp_path / "found.json")
    assert len(json.loads((tmp_path / "found.json").read_text())) == 2
