"""A run: its folder, configuration, history, metrics, model and data."""

import csv
import errno
import io
import json
import math
import os
import pickle
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from pyrocount.backends import Backend, Evaluation, History, Model, build
from pyrocount.config import Config, RunOptions, all_options
from pyrocount.data import Dataset, load_dataset
from pyrocount.data.options import DataOptions, FileOptions
from pyrocount.errors import InputError
from pyrocount.state import own_state

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from xarray import DataTree

CHECKPOINT_KEYS = {"config", "data", "initial", "training"}


class Folder:
    """A folder of results. Each file is replaced as a whole or not at all, so that a crash never leaves half of one.

    Attributes:
        path: path of the folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @classmethod
    def create(cls, out: str | Path, name: str | None, default_name: str) -> "Folder":
        """Makes a new folder below ``out``.

        Args:
            out: folder of all results, made where it is missing.
            name: name of the new folder; None takes the default name, with a number appended where that is taken.
            default_name: name where none is given.

        Raises:
            InputError: if the name is taken or no plain file name, or the folder cannot be made.
        """
        plain = plain_name(name) if name is not None else None
        if not str(out):
            raise InputError("out", "''", "a folder")
        try:
            Path(out).mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise InputError("out", out, "a folder") from error
        except OSError as error:
            raise InputError("out", f"{out} ({error.strerror})", "a folder that can be written") from error
        try:
            if plain is not None:
                return cls._make(Path(out) / plain)
            number = 1
            while True:
                try:
                    return cls._make(Path(out) / (default_name if number == 1 else f"{default_name}-{number}"))
                except FileExistsError:
                    number += 1
        except FileExistsError as error:
            raise InputError("name", f"{name}, which {out} already holds", "a new name, or --resume") from error
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG and name is not None:
                raise InputError("name", f"a name of {len(name)} characters", "a shorter name") from error
            raise InputError("out", f"{out} ({error.strerror})", "a folder that can be written") from error

    @classmethod
    def _make(cls, path: Path) -> "Folder":
        path.mkdir()
        return cls(path)

    def write_text(self, name: str, text: str) -> None:
        """Writes a text file as it is."""
        self.replace(name, lambda path: path.write_bytes(text.encode()))

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Writes a JSON file; numbers that are not finite, which JSON lacks, become null."""
        self.write_text(name, json.dumps(_finite(content), indent=2, allow_nan=False) + "\n")

    def read_json(self, name: str) -> dict[str, Any]:
        """Reads a JSON file.

        Raises:
            InputError: if it is missing or corrupt.
        """
        try:
            content = json.loads((self.path / name).read_text())
        except (OSError, ValueError) as error:
            raise InputError("name", f"{self.path.name}, whose {name} cannot be read", "an intact run") from error
        if not isinstance(content, dict):
            raise InputError("name", f"{self.path.name}, whose {name} is no JSON object", "an intact run")
        return content

    def save_figures(self, drawn: Mapping[str, "Figure"]) -> None:
        """Writes ``figures/<name>.png`` for each figure by its name."""
        for name, figure in drawn.items():
            self.replace(f"figures/{name}.png", partial(figure.savefig, format="png", dpi=200))

    def replace(self, name: str, write: Callable[[Path], object]) -> None:
        """Replaces a file by what ``write`` writes to the path that it is given.

        Raises:
            InputError: naming ``out``, if the folder cannot be written.
        """
        target = self.path / name
        part = target.with_name(target.name + ".part")
        with self._writing():
            target.parent.mkdir(exist_ok=True)
            try:
                write(part)
                os.replace(part, target)
            finally:
                part.unlink(missing_ok=True)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError("out", f"{self.path.parent} ({error.strerror})", "a folder that can be written") from error


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

    def finish(self, backend: Backend, data: Dataset, evaluation: Evaluation, history: History) -> None:
        """Writes weights, figures and metrics of the trained model."""
        self.save_model(backend, data)
        self.save_figures(backend.draw(self.config, data, evaluation, history))
        self.write_json("summary.json", evaluation.metrics)

    @cached_property
    def config(self) -> Config:
        """Returns the configuration.

        Raises:
            InputError: if it is missing, corrupt or of another version, or naming an option that is out of range.
        """
        options = self.read_json("config.json")
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
        if any(not isinstance(value, int | float | None) for value in found.values()):
            raise InputError("RUN", f"{self.path}, whose summary.json holds more than numbers", "an intact run")
        return {name: math.nan if value is None else value for name, value in found.items()}

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
        except (OSError, ValueError, TypeError) as error:
            problem = f"{self.path.name}, whose metrics.csv cannot be read"
            raise InputError("name", problem, "an intact run") from error

    @cached_property
    def backend(self) -> Backend:
        """Returns the fitted model as evaluation uses it; a VAE is on the CPU.

        Raises:
            InputError: if the run is not finished, or is of a model whose backend is not installed.
        """
        weights, metadata = self.load_weights()
        with own_state():
            backend = build(self.config, json.loads(metadata["data"])["shape"], fitted=True)
            backend.load_weights(weights)
        return backend

    @property
    def model(self) -> "Model":
        """Returns the fitted model: a VAE on the CPU and in evaluation mode, or an iterative one.

        It takes data in the units of training; ``offset`` and ``scale`` of the original values are in ``units``.
        """
        return self.backend.model

    @property
    def units(self) -> dict[str, Any]:
        """Returns shape, offset and scale of the training data, and whether they have an exposure."""
        units: dict[str, Any] = json.loads(self.load_weights()[1]["data"])
        return units

    def data(self) -> Dataset:
        """Loads the data that the run was trained and tested with.

        Raises:
            InputError: if they are no longer there.
        """
        return load_data(self.config)

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
        torch.save(checkpoint, buffer)
        self.replace("checkpoint.pt", lambda path: path.write_bytes(buffer.getbuffer()))

    def load_checkpoint(self) -> dict[str, Any]:
        """Reads ``checkpoint.pt`` to the CPU.

        Raises:
            InputError: if it is corrupt.
        """
        try:
            checkpoint: dict[str, Any] = torch.load(self.path / "checkpoint.pt", map_location="cpu", weights_only=True)
            keys = set(checkpoint)
        except (OSError, RuntimeError, EOFError, ValueError, KeyError, TypeError, pickle.UnpicklingError) as error:
            raise InputError(
                "name", f"{self.path.name}, whose checkpoint.pt is corrupt", "an intact checkpoint"
            ) from error
        if not keys >= CHECKPOINT_KEYS:
            raise InputError("name", f"{self.path.name}, whose checkpoint.pt is not of a run", "an intact checkpoint")
        return checkpoint

    def matching_checkpoint(self, config: Config, data: int) -> dict[str, Any]:
        """Reads the checkpoint and checks that it is of a configuration and of data with a fingerprint.

        Raises:
            InputError: naming ``name`` or ``data``, if it is not.
        """
        checkpoint = self.load_checkpoint()
        for name, value in config.identity().items():
            if checkpoint["config"].get(name) != value:
                problem = f"{self.path.name}, whose checkpoint.pt has {name} {checkpoint['config'].get(name)}"
                raise InputError("name", problem, f"a checkpoint of its own configuration, with {name} {value}")
        if checkpoint["data"] != data:
            problem = f"{config[DataOptions].data}, which has changed since the run began"
            raise InputError("data", problem, "the data that it began with")
        return checkpoint

    def save_model(self, backend: Backend, data: Dataset) -> None:
        """Writes ``model.safetensors``: the weights, and shape and units of the data as its metadata."""
        units: dict[str, Any] = {"shape": list(data.shape), "offset": data.offset, "scale": data.scale}
        self.save_weights(backend.weights(), units | {"exposure": data.train_exposure is not None})

    def save_weights(self, weights: Mapping[str, Tensor], units: Mapping[str, Any]) -> None:
        """Writes ``model.safetensors``: weights by name, and the units of the data."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
        metadata = {"data": json.dumps(units)}
        self.replace("model.safetensors", lambda path: path.write_bytes(save(tensors, metadata)))

    def load_weights(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Reads ``model.safetensors``: weights on the CPU, and the metadata.

        Raises:
            InputError: if it is missing, as in a run that is not finished, or corrupt.
        """
        try:
            with safe_open(self.path / "model.safetensors", framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata())  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            problem = f"{self.path}, whose model.safetensors cannot be read"
            raise InputError("path", problem, "a finished run") from error

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

    Raises:
        InputError: naming ``path`` or ``name``, if the folder holds no finished run, or one of another version.
    """
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
    )
    if options.flip and len(data.shape) != 3:
        raise InputError("flip", f"true for observations of shape {data.shape}", "images (channels, height, width)")
    return data


def fingerprint(data: Dataset) -> int:
    """Returns a number that changes with the data, by which a run that is resumed knows its own."""
    number = 0
    for part in (data.train, data.test, data.train_exposure, data.test_exposure):
        number = number if part is None else zlib.crc32(np.ascontiguousarray(part).data, number)
    return number


def plain_name(name: str) -> str:
    """Returns the name of a folder.

    Raises:
        InputError: naming ``name``, if it is empty or a path.
    """
    if not name or name in (".", "..") or set(name) & set("/\\\0"):
        raise InputError("name", repr(name), "a plain folder name")
    return name


def _finite(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
