import errno
import json

import pytest
import torch

from pyrocount.errors import InputError
from pyrocount.run import Folder, Run


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
