"""A folder of results."""

import errno
import json
import math
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from pyrocount.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


# Names of the files by which a process holds a folder, and says who it is.
LOCK, HOLDER = ".lock", ".holder"


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
        except (OSError, ValueError, RecursionError) as error:
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
        # Two processes that write at a time each have a part of their own.
        part = target.with_name(f"{target.name}.{os.getpid()}.part")
        with self._writing():
            target.parent.mkdir(exist_ok=True)
            try:
                write(part)
                os.replace(part, target)
            finally:
                part.unlink(missing_ok=True)

    @contextmanager
    def held(self, *, patient: bool = False) -> Iterator[None]:
        """Keeps other processes from writing to the folder in the block; a process that ends gives it up.

        Args:
            patient: whether to wait for a process that holds it.

        Raises:
            InputError: naming ``name``, with the process that holds the folder, unless patient.
        """
        lock = FileLock(self.path / LOCK, timeout=-1 if patient else 0)
        try:
            lock.acquire()
        except Timeout as error:
            holder = (self.path / HOLDER).read_text() if (self.path / HOLDER).is_file() else "another process"
            problem = f"{self.path.name}, which {holder} is writing"
            raise InputError("name", problem, "a run that no process is writing") from error
        except OSError as error:
            raise self._not_writable(error) from error
        try:
            self.write_text(HOLDER, f"process {os.getpid()} on {platform.node()}")
            yield
        finally:
            (self.path / HOLDER).unlink(missing_ok=True)
            lock.release()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._not_writable(error) from error

    def _not_writable(self, error: OSError) -> InputError:
        return InputError("out", f"{self.path.parent} ({error.strerror})", "a folder that can be written")


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
