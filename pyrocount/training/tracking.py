"""History, figures and metrics of a run for tools that follow experiments: TensorBoard and MLflow."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pyrocount.errors import require_extra


class Tracker(ABC):
    """What follows a run."""

    @abstractmethod
    def row(self, row: Mapping[str, float]) -> None:
        """Takes a row of the history, with its ``epoch``."""

    @abstractmethod
    def finish(self, metrics: Mapping[str, float], figures: Path) -> None:
        """Takes the metrics of the fitted model, and the folder with its figures."""


class _Nothing(Tracker):
    def row(self, row: Mapping[str, float]) -> None:
        pass

    def finish(self, metrics: Mapping[str, float], figures: Path) -> None:
        pass


class _TensorBoard(Tracker):
    """Events in the folder ``tensorboard`` of a run, which ``tensorboard --logdir`` shows."""

    def __init__(self, folder: Path, options: Mapping[str, Any]) -> None:
        with require_extra("tracking", "--log", "tensorboard"):
            from torch.utils.tensorboard import SummaryWriter
        self.writer = SummaryWriter(str(folder / "tensorboard"))
        self.options = options
        self.epoch = 0

    def row(self, row: Mapping[str, float]) -> None:
        self.epoch = int(row["epoch"])
        for name, value in row.items():
            if name != "epoch":
                self.writer.add_scalar(f"training/{name}", value, self.epoch)
        self.writer.flush()

    def finish(self, metrics: Mapping[str, float], figures: Path) -> None:
        from PIL import Image

        for path in sorted(figures.glob("*.png")):
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB"))
            self.writer.add_image(path.stem, pixels, self.epoch, dataformats="HWC")
        plain = {name: value for name, value in self.options.items() if isinstance(value, int | float | str | bool)}
        self.writer.add_hparams(plain, {f"test/{name}": value for name, value in metrics.items()}, run_name=".")
        self.writer.close()


class _MLflow(Tracker):
    """Run of MLflow with the name of the run folder, at MLflow's own tracking address."""

    def __init__(self, folder: Path, options: Mapping[str, Any]) -> None:
        with require_extra("tracking", "--log", "mlflow"):
            import mlflow
        self.client = mlflow.MlflowClient()
        experiment = mlflow.get_experiment_by_name("pyrocount")
        number = mlflow.create_experiment("pyrocount") if experiment is None else experiment.experiment_id
        self.run = self.client.create_run(number, run_name=folder.name).info.run_id
        for name, value in options.items():
            self.client.log_param(self.run, name, value)

    def row(self, row: Mapping[str, float]) -> None:
        for name, value in row.items():
            if name != "epoch":
                self.client.log_metric(self.run, name, value, step=int(row["epoch"]))

    def finish(self, metrics: Mapping[str, float], figures: Path) -> None:
        for name, value in metrics.items():
            self.client.log_metric(self.run, f"final_{name}", value)
        for path in sorted(figures.glob("*.png")):
            self.client.log_artifact(self.run, str(path), "figures")
        self.client.set_terminated(self.run)


TRACKERS: dict[str, Callable[[Path, Mapping[str, Any]], Tracker]] = {"tensorboard": _TensorBoard, "mlflow": _MLflow}


def tracker(name: str, folder: Path, options: Mapping[str, Any]) -> Tracker:
    """Returns what follows a run.

    Args:
        name: ``none``, ``tensorboard`` or ``mlflow``.
        folder: folder of the run.
        options: options of the run, by name.

    Raises:
        InputError: naming ``--log``, if the tool is not installed.
    """
    return TRACKERS[name](folder, options) if name in TRACKERS else _Nothing()
