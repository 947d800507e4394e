"""What TensorBoard and MLflow are told of a run."""

import sys

import pytest

from pyrocount.fit import main

OPTIONS = "--model=poisson --latent-dim=3 --epochs=2 --encoder=lin --decoder=lin --name=run".split()  # noqa: SIM905
FIGURES = {"counts", "dictionary", "reconstructions", "samples", "training"}


def test_tensorboard(tmp_path, monkeypatch):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    monkeypatch.chdir(tmp_path)
    assert main([*OPTIONS, "--log=tensorboard"]) == 0
    events = accumulator.EventAccumulator(str(tmp_path / "runs" / "run" / "tensorboard")).Reload()
    tags = events.Tags()
    assert set(tags["images"]) == FIGURES
    assert [event.step for event in events.Scalars("training/elbo")] == [1, 2]
    assert "test/nelbo" in tags["scalars"]


def test_mlflow(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    assert main([*OPTIONS, "--log=mlflow"]) == 0
    client = mlflow.MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("pyrocount").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["latent_dim"] == "3"
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "elbo")] == [1, 2]
    assert len(client.list_artifacts(run.info.run_id, "figures")) == len(FIGURES)


@pytest.mark.parametrize(("tool", "module"), [("tensorboard", "torch.utils.tensorboard"), ("mlflow", "mlflow")])
def test_a_tool_that_is_not_installed_is_said_before_anything_is_trained(tmp_path, monkeypatch, capsys, tool, module):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, module, None)
    assert main([*OPTIONS, f"--log={tool}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("pyrocount.fit: error: --log: got ")
    assert 'pip install "pyrocount[tracking]"' in line
    assert not (tmp_path / "runs" / "run" / "checkpoint.pt").exists()
