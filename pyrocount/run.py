"""A run: its folder, configuration, history, metrics, model and data."""

import csv
import io
import json
import math
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from pyrocount.backends import Backend, Evaluation, History, Model, build
from pyrocount.config import Config, RunOptions, all_options, completed
from pyrocount.data import Dataset, Rows, load_dataset, parts
from pyrocount.data.options import DataOptions, FileOptions, PatchOptions
from pyrocount.errors import InputError
from pyrocount.folder import HOLDER, LOCK, Folder, plain_name
from pyrocount.process.state import own_state
from pyrocount.recipes.zoo import PREFIX, zoo_folder

if TYPE_CHECKING:
    from xarray import DataTree

# Version of the format of evaluation.json.
EVALUATION_VERSION = 2
# Parts of a checkpoint.
CHECKPOINT_KEYS = {"config", "data", "initial", "training"}


class Run(Folder):
    """A run of ``python -m pyrocount.fit``, as its folder holds it.

    ``start`` and ``resume`` begin a run, ``finish`` ends it, and ``load`` reads it. Its parts are read when they are
    asked for. ``metrics.csv`` alone grows by rows, and is written anew from the checkpoint of a resumed run.

    Attributes:
        path: path of the folder.
    """

    @classmethod
    def start(cls, config: Config, data: str) -> "Run":
        """Makes the folder of a new run and writes its configuration.

        Args:
            config: options of the run.
            data: name of its data.

        Raises:
            InputError: if the name is taken, or the folder cannot be made.
        """
        options = config[RunOptions]
        run = cls(Path(options.out) / plain_name(options.name)) if options.name is not None else None
        if run is None or not run._is_abandoned():
            run = cls(cls.create(options.out, options.name, f"{config.model}-{data}-{options.seed}").path)
        run.write_json("config.json", config.options | {"resume": False})
        return run

    @classmethod
    def resume(cls, out: str | Path, name: str | None) -> "Run":
        """Opens a run to resume it.

        Raises:
            InputError: if there is no such run.
        """
        if name is None:
            raise InputError("name", "no name", "the name of the run to resume")
        run = cls(Path(out) / plain_name(name))
        if not (run.path / "checkpoint.pt").is_file():
            raise InputError("name", f"{name}, of which {out} holds no checkpoint", "a run to resume")
        return run

    def _is_abandoned(self) -> bool:
        """Returns whether a run stopped before its first checkpoint and left nothing but its configuration."""
        if not (self.path / "config.json").is_file():
            return False
        left = {path.name for path in self.path.iterdir() if path.suffix != ".part"}
        if left - {"config.json", LOCK, HOLDER}:
            return False
        with self.held():
            return True

    def finish(self, backend: Backend, data: Dataset, evaluation: Evaluation, history: History) -> None:
        """Writes weights, figures and metrics of the trained model."""
        self.save_model(backend, data)
        self.save_figures(backend.draw(self.config, data, evaluation, history))
        self.write_json("summary.json", evaluation.metrics)

    @cached_property
    def config(self) -> Config:
        """Returns the configuration; options that did not exist when the run was made have their defaults.

        Raises:
            InputError: if it is missing, corrupt or of another version, or naming an option that is out of range.
        """
        options = completed(self.read_json("config.json"))
        if unknown := options.keys() - all_options().keys():
            problem = f"{self.path.name}, whose config.json is of another version, with {', '.join(sorted(unknown))}"
            raise InputError("name", problem, "an intact run")
        return Config(**options)

    @property
    def metrics(self) -> dict[str, float]:
        """Returns the metrics of held-out data, as in ``summary.json``; NaN where they are not finite.

        Raises:
            InputError: if they are missing, as in a run that is not finished, or corrupt.
        """
        found = self.read_json("summary.json")
        if any(isinstance(value, bool) or not isinstance(value, int | float | None) for value in found.values()):
            raise InputError("name", f"{self.path.name}, whose summary.json holds more than numbers", "an intact run")
        return {name: math.nan if value is None else value for name, value in found.items()}

    @property
    def evaluations(self) -> dict[str, Any]:
        """Returns the results of ``pyrocount.evaluate``, by suite.

        Raises:
            InputError: if they are of another version, or cannot be read.
        """
        if not (self.path / "evaluation.json").is_file():
            return {}
        content = self.read_json("evaluation.json")
        if content.get("version") != EVALUATION_VERSION or not isinstance(content.get("suites"), dict):
            problem = f"{self.path}, whose evaluation.json is of version {content.get('version')}"
            raise InputError("RUN", problem, f"an evaluation.json of version {EVALUATION_VERSION}, or none")
        suites: dict[str, Any] = content["suites"]
        return suites

    @property
    def is_finished(self) -> bool:
        """Returns whether the run has ended."""
        return (self.path / "summary.json").is_file()

    @property
    def history(self) -> list[dict[str, float]]:
        """Returns the rows of ``metrics.csv``, one an epoch.

        Raises:
            InputError: if it is missing or corrupt.
        """
        try:
            with (self.path / "metrics.csv").open(newline="") as file:
                return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
        except (OSError, ValueError, TypeError, csv.Error) as error:
            problem = f"{self.path.name}, whose metrics.csv cannot be read"
            raise InputError("name", problem, "an intact run") from error

    @cached_property
    def backend(self) -> Backend:
        """Returns the fitted model as evaluation uses it; a VAE is on the CPU.

        Raises:
            InputError: if the run is not finished, or is of a model whose backend is not installed.
        """
        weights, units = self.load_weights()
        with own_state():
            backend = build(self.config, units["shape"], fitted=True)
            self._compare(weights, backend.weights())
            backend.load_weights(weights)
        return backend

    def _compare(self, weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
        """Checks weights against those of the fresh model."""
        for name in sorted(weights.keys() | wanted.keys()):
            has, needs = (
                f"{str(each[name].dtype).removeprefix('torch.')} of shape {tuple(each[name].shape)}"
                if name in each
                else "none"
                for each in (weights, wanted)
            )
            if has != needs:
                problem = f"{self.path}, whose model.safetensors has for {name} {has}"
                raise InputError("path", problem, f"the weights of its configuration, for {name} {needs}")
            if not weights[name].isfinite().all():
                problem = f"{self.path}, whose model.safetensors has NaN or infinite values for {name}"
                raise InputError("path", problem, "finite weights")

    @property
    def model(self) -> "Model":
        """Returns the fitted model: a VAE on the CPU and in evaluation mode, or an iterative one.

        It takes data in the units of training; ``offset`` and ``scale`` of the original values are in ``units``.
        """
        return self.backend.model

    @cached_property
    def units(self) -> dict[str, Any]:
        """Returns shape, offset and scale of the training data, and whether they have an exposure."""
        return self.load_weights()[1]

    def data(self, data_dir: str | None = None) -> Dataset:
        """Loads the data that the run was trained and tested with.

        Args:
            data_dir: folder of the data, as of ``--data-dir``, where it is another than in training.

        Raises:
            InputError: naming ``data``, if they are no longer there or have changed.
        """
        config = self.config if data_dir is None else Config(**self.config.options | {"data_dir": data_dir})
        data, known = load_data(config), self.units.get("fingerprint")
        if known is not None and fingerprint(data) != known:
            problem = f"{self.config[DataOptions].data}, which has changed since the run"
            raise InputError("data", problem, "the data that the run was fitted to")
        return data

    def write_history(self, history: Iterable[Mapping[str, float]]) -> None:
        """Writes ``metrics.csv``, a row an epoch."""
        rows = list(history)

        def write(path: Path) -> None:
            with path.open("w", newline="") as file:
                if rows:
                    writer = csv.DictWriter(file, rows[0])
                    writer.writeheader()
                    writer.writerows(rows)

        self.replace("metrics.csv", write)

    def append_history(self, row: Mapping[str, float]) -> None:
        """Adds a row to ``metrics.csv``."""
        with self._writing(), (self.path / "metrics.csv").open("a", newline="") as file:
            writer = csv.DictWriter(file, row)
            if file.tell() == 0:
                writer.writeheader()
            writer.writerow(row)

    def save_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Writes ``checkpoint.pt``: tensors, numbers, strings and containers of them."""
        buffer = io.BytesIO()
        torch.save({**checkpoint, "checksum": checksum(checkpoint)}, buffer)
        self.replace("checkpoint.pt", lambda path: path.write_bytes(buffer.getbuffer()))

    def load_checkpoint(self) -> dict[str, Any]:
        """Reads ``checkpoint.pt`` to the CPU.

        Raises:
            InputError: if it is corrupt, or not as it was written.
        """
        problem = f"{self.path.name}, whose checkpoint.pt is corrupt"
        try:
            checkpoint = torch.load(self.path / "checkpoint.pt", map_location="cpu", weights_only=True)
        except Exception as error:  # A corrupt archive or pickle raises almost anything.
            raise InputError("name", problem, "an intact checkpoint") from error
        if not isinstance(checkpoint, dict) or not checkpoint.keys() >= CHECKPOINT_KEYS:
            raise InputError("name", f"{self.path.name}, whose checkpoint.pt is not of a run", "an intact checkpoint")
        known = checkpoint.pop("checksum", None)
        if known != checksum(checkpoint):
            raise InputError("name", problem, "an intact checkpoint")
        return checkpoint

    def matching_checkpoint(self, config: Config, data: int) -> dict[str, Any]:
        """Reads the checkpoint and checks that it is of a configuration and of data with a fingerprint.

        Raises:
            InputError: naming ``name`` or ``data``, if it is not.
        """
        checkpoint = self.load_checkpoint()
        found = completed(checkpoint["config"])
        for name, value in config.identity().items():
            known = found.get(name, all_options()[name].default)
            if known != value:
                problem = f"{self.path.name}, whose checkpoint.pt has {name} {known}"
                raise InputError("name", problem, f"a checkpoint of its own configuration, with {name} {value}")
        if checkpoint["data"] != data:
            problem = f"{config[DataOptions].data}, which has changed since the run began"
            raise InputError("data", problem, "the data that it began with")
        return checkpoint

    def save_model(self, backend: Backend, data: Dataset) -> None:
        """Writes ``model.safetensors``: the weights, with shape and units of the data and their fingerprint."""
        units: dict[str, Any] = {"shape": list(data.shape), "offset": data.offset, "scale": data.scale}
        units |= {"exposure": data.train_exposure is not None, "fingerprint": fingerprint(data)}
        self.save_weights(backend.weights(), units)

    def save_weights(self, weights: Mapping[str, Tensor], units: Mapping[str, Any]) -> None:
        """Writes ``model.safetensors``: weights by name, the units of the data, the configuration, and a checksum."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
        about = {"data": dict(units), "config": self._of_model()}
        # One entry, as safetensors writes several in any order.
        run = json.dumps(about | {"checksum": checksum([tensors, about])})
        self.replace("model.safetensors", lambda path: path.write_bytes(save(tensors, {"run": run})))

    def load_weights(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Reads ``model.safetensors``: weights on the CPU, and the units of the data.

        Raises:
            InputError: naming ``path``, if it is missing, as in a run that is not finished, corrupt, or of another
                configuration.
        """
        try:
            with safe_open(self.path / "model.safetensors", framework="pt") as file:
                weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                about = json.loads((file.metadata() or {}).get("run", "{}"))
        except (OSError, SafetensorError, ValueError, RecursionError) as error:
            problem = f"{self.path}, whose model.safetensors cannot be read"
            raise InputError("path", problem, "a finished run") from error
        if about.pop("checksum", None) != checksum([weights, about]) or about.keys() != {"data", "config"}:
            problem = f"{self.path}, whose model.safetensors has changed since it was written"
            raise InputError("path", problem, "an intact run")
        own = json.loads(json.dumps(self._of_model()))
        defaults = {name: option.default for name, option in all_options().items() if name in own}
        if defaults | about["config"] != own:
            problem = f"{self.path}, whose model.safetensors is of another configuration than its config.json"
            raise InputError("path", problem, "an intact run")
        return weights, about["data"]

    def _of_model(self) -> dict[str, Any]:
        """Returns the options that make the model; where its data are may change."""
        places = {item.name for group in (DataOptions, FileOptions, PatchOptions) for item in fields(group)}
        return {name: value for name, value in self.config.identity().items() if name not in places}

    def save_posterior(self, tree: "DataTree") -> None:
        """Writes ``posterior.nc``, compressed: counts are mostly zeros."""
        encoding = {
            f"/{group}": {name: {"zlib": True} for name, part in tree[group].data_vars.items() if part.size}
            for group in tree.children
        }
        self.replace("posterior.nc", lambda path: tree.to_netcdf(path, encoding=encoding, engine="h5netcdf"))


@own_state()
def load(path: str | Path) -> Run:
    """Loads a run folder of ``python -m pyrocount.fit``, with its fitted model.

    Args:
        path: path of the folder; or ``"zoo/NAME"`` for a model of the zoo, which the package ``pyrocount-zoo`` brings.

    Raises:
        InputError: naming ``path`` or ``name``, if the folder holds no finished run, or one of another version.
    """
    if str(path).startswith(PREFIX) and not Path(path).exists():
        path = zoo_folder(str(path))
    run = Run(path)
    # All of it is read once here, so that a run that is not intact is refused at once.
    _ = run.backend, run.metrics, run.history
    return run


def load_data(config: Config) -> Dataset:
    """Loads the data of a configuration.

    Raises:
        InputError: for bad data.
    """
    options = config[DataOptions]
    data = load_dataset(
        options.data,
        seed=config.seed,
        test_fraction=options.test_fraction,
        scaling=options.scaling,
        data_dir=options.data_dir,
        download=options.download,
        whiten=options.whiten,
        exposure=options.exposure,
        file=config[FileOptions],
        split=options.split,
        patches=config[PatchOptions],
    )
    if options.flip and len(data.shape) != 3:
        raise InputError("flip", f"true for observations of shape {data.shape}", "images (channels, height, width)")
    return data


def fingerprint(data: Dataset) -> int:
    """Returns a number that changes with the data, by which a run knows its own."""
    known = (data.train_labels, data.test_labels, data.train_trials, data.test_trials, data.train_times)
    units = data.offset, data.scale, data.train_exposure, data.test_exposure
    return checksum([data.train, data.test, *units, *known, data.test_times])


def checksum(content: Any, start: int = 0) -> int:
    """Returns a number that changes with tensors, arrays, numbers and texts, or containers of them.

    >>> checksum({"a": 1, "b": [2.0, None]}) == checksum({"b": [2.0, None], "a": 1})
    True
    """
    if isinstance(content, Mapping):
        content = [part for item in sorted(content.items(), key=lambda item: str(item[0])) for part in item]
    if isinstance(content, list | tuple):
        for part in [len(content), *content]:
            start = checksum(part, start)
        return start
    if isinstance(content, Tensor):
        content = content.detach().cpu().numpy()
    if isinstance(content, Rows):
        start = zlib.crc32(f"{content.dtype} {content.shape}".encode(), start)
        for part in parts(content):
            start = zlib.crc32(part.view(np.uint8).data, start)
        return start
    if isinstance(content, np.ndarray):
        plain = content.astype(str) if content.dtype.hasobject else content
        start = zlib.crc32(f"{plain.dtype} {plain.shape}".encode(), start)
        return zlib.crc32(np.ascontiguousarray(plain).view(np.uint8).data, start) if plain.size else start
    return zlib.crc32(repr(content).encode(), start)
