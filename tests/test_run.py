import errno
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pyrocount import evaluate, out_of_distribution, refine
from pyrocount.config import Config
from pyrocount.errors import InputError
from pyrocount.folder import Folder
from pyrocount.run import Run, load

ROOT = Path(__file__).parents[1]


@pytest.fixture
def run(tmp_path):
    return Run(Folder.create(tmp_path / "runs", "mine", "default").path)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(run, monkeypatch):
    run.write_json("summary.json", {"a": 1})
    before = {path.name: path.read_bytes() for path in run.path.iterdir()}
    write_bytes = type(run.path).write_bytes

    def full(path, content):
        write_bytes(path, content[:3])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(type(run.path), "write_bytes", full)
    with pytest.raises(InputError, match=r"out: got .*runs \(No space left on device\), expected a folder"):
        run.write_json("summary.json", {"a": 2})
    assert before == {path.name: path.read_bytes() for path in run.path.iterdir()}


def test_a_full_disk_keeps_the_last_checkpoint(run, monkeypatch):
    checkpoint = {"config": {}, "data": 1, "initial": {}, "training": {"weight": torch.ones(3)}}
    run.save_checkpoint(checkpoint)

    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(type(run.path), "write_bytes", full)
    with pytest.raises(InputError, match="No space left"):
        run.save_checkpoint(checkpoint | {"data": 2})
    assert run.load_checkpoint()["data"] == 1


def test_numbers_that_are_not_finite_become_null(run):
    run.write_json("summary.json", {"r2": float("nan"), "mse": 1.5})
    assert json.loads((run.path / "summary.json").read_text()) == {"r2": None, "mse": 1.5}


def test_metrics_are_appended_and_rewritten(run):
    for epoch in (1, 2, 3):
        run.append_history({"epoch": epoch, "elbo": -epoch})
    assert (run.path / "metrics.csv").read_text().split() == ["epoch,elbo", "1,-1", "2,-2", "3,-3"]
    run.write_history([{"epoch": 1, "elbo": -7}])
    assert (run.path / "metrics.csv").read_text().split() == ["epoch,elbo", "1,-7"]


def test_names_that_are_taken_or_too_long(tmp_path, run):
    with pytest.raises(InputError, match=r"name: got mine, which .* already holds"):
        Folder.create(tmp_path / "runs", "mine", "default")
    with pytest.raises(InputError, match="name: got a name of 300 characters, expected a shorter name"):
        Folder.create(tmp_path / "runs", 300 * "a", "default")
    with pytest.raises(InputError, match="out: got '', expected a folder"):
        Folder.create("", None, "default")
    names = [Folder.create(tmp_path / "runs", None, "default").path.name for _ in range(3)]
    assert names == ["default", "default-2", "default-3"]


def test_a_run_that_is_not_finished_has_no_weights(run):
    with pytest.raises(InputError, match=r"mine, whose model\.safetensors cannot be read, expected a finished run"):
        run.load_weights()


def test_a_folder_is_held_by_one_at_a_time(run):
    with run.held():
        wanted = rf"name: got mine, which process {os.getpid()} on .* is writing, expected a run that no process"
        with pytest.raises(InputError, match=wanted), Run(run.path).held():
            pass
    with run.held(), Run(run.path.parent).held():
        pass


@pytest.mark.skipif(os.name == "nt", reason="waits by polling there")
def test_a_process_that_is_killed_gives_a_folder_up(run):
    program = "import os, sys\nfrom pyrocount.folder import Folder\nwith Folder(sys.argv[1]).held(): os._exit(9)\n"
    command = [sys.executable, "-c", program, str(run.path)]
    assert subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}).returncode == 9
    with run.held():
        assert (run.path / ".holder").read_text() == f"process {os.getpid()} on {platform.node()}"


def test_the_second_of_two_is_told(command, tmp_path, array):
    line = f"--model poisson --data {array} --epochs 1 --latent-dim 3 --name mine"
    assert command(line)[0] == 0
    folder = tmp_path / "runs" / "mine"
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.suffix}
    with Run(folder).held():
        code, _, errors = command("--name mine --resume")
    assert code == 2
    assert len(errors) == 1
    assert f"which process {os.getpid()}" in errors[0]
    assert before == {path: path.read_bytes() for path in before}


def test_a_run_that_stopped_before_its_first_checkpoint_starts_again(command, tmp_path, array):
    line = f"--model poisson --data {array} --epochs 1 --latent-dim 3 --name mine"
    folder = tmp_path / "runs" / "mine"
    Run.start(Config(model="poisson", latent_dim=7, name="mine", out=str(tmp_path / "runs")), "digits")
    (folder / "checkpoint.pt.123.part").write_bytes(b"half")
    with Run(folder).held():
        code, _, errors = command(line)
        assert code == 2
        assert "is writing" in errors[-1]
    assert command(line)[0] == 0
    assert load(folder).config.options["latent_dim"] == 3
    # One with a checkpoint is gone on with, or left alone.
    assert command(line)[0] == 2
    (folder / "checkpoint.pt").unlink()
    assert command(line)[0] == 2


def test_data_that_have_changed_are_refused_by_every_command(command, tmp_path, array, capsys):
    assert command(f"--model poisson --data {array} --epochs 1 --latent-dim 3 --name mine")[0] == 0
    folder = str(tmp_path / "runs" / "mine")
    np.save(array, np.load(array) * 1.1)
    for module in (evaluate, refine, out_of_distribution):
        assert module.main([folder]) == 2
        problem = "data: got .*table.npy, which has changed since the run, expected the data that the run was fitted to"
        assert re.search(problem, capsys.readouterr().err)
    with pytest.raises(InputError, match="which has changed since the run"):
        load(folder).data()
