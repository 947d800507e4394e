"""Runs of a sweep in a store of objects or on another machine, by fsspec's addresses such as ``s3://bucket/sweep``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyrocount.errors import InputError, require_extra

# Files of a run that tell its state and its metrics.
RECORDS = ("config.json", "summary.json", "evaluation.json")


def is_remote(out: str) -> bool:
    """Returns whether the folder of a sweep is an address.

    >>> is_remote("s3://bucket/sweep"), is_remote("runs")
    (True, False)
    """
    return "://" in out


class Remote:
    """A remote folder of runs.

    Args:
        url: address of the folder.

    Raises:
        InputError: naming ``--out``, if the address has no known protocol, or cannot be reached.
    """

    def __init__(self, url: str) -> None:
        with require_extra("ray", "--out", url):
            import fsspec
        self.url, self._known = url, dict[Path, int]()
        try:
            self.files, self.root = fsspec.core.url_to_fs(url)
            self.files.makedirs(self.root, exist_ok=True)
        except Exception as error:  # Each protocol has errors of its own.
            problem = f"{url} ({' '.join(str(error).split())[:200]})"
            raise InputError("--out", problem, "an address of fsspec that can be written") from error

    def names(self) -> list[str]:
        """Returns the names of the folders in the remote folder."""
        return sorted(Path(entry["name"]).name for entry in self._entries(self.root) if entry["type"] == "directory")

    def pull(self, name: str, to: Path, files: Sequence[str] | None = None) -> None:
        """Copies a folder, with those that it holds, into a local one; or some of its files, as far as it has them."""
        source = f"{self.root}/{name}"
        for entry in self._entries(source):
            file = Path(entry["name"]).name
            if entry["type"] == "directory":
                if files is None:
                    self.pull(f"{name}/{file}", to)
            elif files is None or file in files:
                (to / name).mkdir(parents=True, exist_ok=True)
                self.files.get_file(f"{source}/{file}", str(to / name / file))

    def push(self, path: Path) -> None:
        """Copies the files of a local folder that are new or changed, each as a whole or not at all; no hidden ones."""
        for file in sorted(path.rglob("*")):
            part = file.relative_to(path.parent)
            if not file.is_file() or any(name.startswith(".") for name in part.parts):
                continue
            changed = file.stat().st_mtime_ns
            if self._known.get(part) == changed:
                continue
            target = f"{self.root}/{part.as_posix()}"
            self.files.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
            self.files.put_file(str(file), f"{target}.part")
            self.files.mv(f"{target}.part", target)
            self._known[part] = changed

    def _entries(self, path: str) -> list[dict[str, Any]]:
        # Other processes add to the folder; what was listed before may be of the past.
        self.files.invalidate_cache()
        if not self.files.exists(path):
            return []
        entries: list[dict[str, Any]] = self.files.ls(path, detail=True)
        return [entry for entry in entries if not entry["name"].endswith(".part")]
