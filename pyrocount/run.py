"""The folder of one run: configuration, history, checkpoint, weights, summary and figures."""

import csv
import errno
import io
import json
import math
import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from pyrocount.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from xarray import DataTree


# What a checkpoint of a run has.
CHECKPOINT_KEYS = {"config", "data", "initial", "training"}


class RunFolder:
    """A run's files. Each is replaced as a whole or not at all, so that a crash never leaves half of one; only
    ``metrics.csv`` grows by rows, and is written anew from the checkpoint when the run is resumed.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @classmethod
    def create(cls, out: str | Path, name: str | None, default_name: str) -> "RunFolder":
        """Makes a new folder below ``out``.

        Args:
            out: the folder of all runs, made where it is missing.
            name: of the new folder; None takes the default name, with a number appended where that is taken.
            default_name: used where there is no name.

        Raises:
            InputError: if the name is taken or no plain file name, or the folder cannot be made.
        """
        plain = _plain(name) if name is not None else None
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
                raise InputError("name", f"{len(name)} characters", "a shorter name") from error
            raise InputError("out", f"{out} ({error.strerror})", "a folder that can be written") from error

    @classmethod
    def _make(cls, path: Path) -> "RunFolder":
        path.mkdir()
        return cls(path)

    @classmethod
    def open(cls, out: str | Path, name: str | None) -> "RunFolder":
        """Opens a run to resume it.

        Raises:
            InputError: if there is no such run.
        """
        if name is None:
            raise InputError("name", "nothing", "the name of the run to resume")
        run = cls(Path(out) / _plain(name))
        if not (run.path / "checkpoint.pt").is_file():
            raise InputError("name", f"{name}, of which {out} holds no checkpoint", "a run to resume")
        return run

    def write_text(self, name: str, text: str) -> None:
        """Writes a text file as it is."""
        self._replace(name, lambda path: path.write_bytes(text.encode()))

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

    def write_metrics(self, history: Iterable[Mapping[str, float]]) -> None:
        """Writes ``metrics.csv``, a row an epoch."""
        rows = list(history)

        def write(path: Path) -> None:
            with path.open("w", newline="") as file:
                if rows:
                    writer = csv.DictWriter(file, rows[0])
                    writer.writeheader()
                    writer.writerows(rows)

        self._replace("metrics.csv", write)

    def read_metrics(self) -> list[dict[str, float]]:
        """Reads ``metrics.csv``.

        Raises:
            InputError: if it is missing or corrupt.
        """
        try:
            with (self.path / "metrics.csv").open(newline="") as file:
                return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
        except (OSError, ValueError, TypeError) as error:
            problem = f"{self.path.name}, whose metrics.csv cannot be read"
            raise InputError("name", problem, "an intact run") from error

    def append_metrics(self, row: Mapping[str, float]) -> None:
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
        self._replace("checkpoint.pt", lambda path: path.write_bytes(buffer.getbuffer()))

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

    def save_weights(self, weights: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
        """Writes ``model.safetensors``."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
        self._replace("model.safetensors", lambda path: path.write_bytes(save(tensors, dict(metadata))))

    def load_weights(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Reads ``model.safetensors``: weights on the CPU, and the metadata.

        Raises:
            InputError: if it is missing, as in a run that is not finished, or corrupt.
        """
        try:
            with safe_open(self.path / "model.safetensors", framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata())  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise InputError(
                "path", f"{self.path}, whose model.safetensors cannot be read", "a finished run"
            ) from error

    def save_figure(self, name: str, figure: "Figure") -> None:
        """Writes ``figures/<name>.png``."""
        self._replace(f"figures/{name}.png", lambda path: figure.savefig(path, format="png", dpi=200))

    def save_posterior(self, tree: "DataTree") -> None:
        """Writes ``posterior.nc``, compressed: counts are mostly zeros."""
        encoding = {
            f"/{group}": {name: {"zlib": True} for name, part in tree[group].data_vars.items() if part.size}
            for group in tree.children
        }
        self._replace("posterior.nc", lambda path: tree.to_netcdf(path, encoding=encoding, engine="h5netcdf"))

    def _replace(self, name: str, write: Callable[[Path], object]) -> None:
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


def _finite(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def _plain(name: str) -> str:
    if not name or name in (".", "..") or set(name) & set("/\\\0"):
        raise InputError("name", repr(name), "a plain folder name")
    return name
