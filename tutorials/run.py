"""Executes the tutorials from top to bottom and keeps their outputs: ``python tutorials/run.py``.

A line such as ``EPOCHS = 60  # small: 2`` in a notebook has the value 2 under ``--small``, which the tests use.
"""

import argparse
import os
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
TUTORIALS = sorted(HERE.glob("*.ipynb"))
SMALL = re.compile(r"^(\w[\w, ]*) = .*# small: (.+)$", re.MULTILINE)


def execute(path: Path, *, small: bool = False, folder: str | Path | None = None) -> Any:
    """Executes a notebook and returns it with the outputs of all of its cells.

    Args:
        path: path of the notebook; the file stays as it is.
        small: whether to use the small settings, as the tests do.
        folder: working folder of the notebook; by default a new folder, which is deleted afterwards.

    Raises:
        nbclient.exceptions.CellExecutionError: if a cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    full = [cell.source for cell in notebook.cells]
    if small:
        for cell in notebook.cells:
            cell.source = SMALL.sub(r"\1 = \2", cell.source)
    # The notebook imports this checkout's package, shows no progress bars, and takes no colours from this terminal.
    roots = [str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(roots), "TQDM_DISABLE": "1", "NO_COLOR": "1"}
    with tempfile.TemporaryDirectory() as new:
        client = NotebookClient(
            notebook,
            timeout=1800,
            resources={"metadata": {"path": str(folder or new)}},
            record_timing=False,
            coalesce_streams=True,
            extra_arguments=["--log-level=ERROR"],
        )
        client.execute(env=environment)
    for cell, source in zip(notebook.cells, full, strict=True):
        cell.source = source
    notebook.metadata.pop("language_info", None)
    return notebook


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(prog="python tutorials/run.py", description=__doc__)
    parser.add_argument("notebooks", nargs="*", type=Path, default=TUTORIALS, help="notebooks to run; by default all")
    parser.add_argument("--small", action="store_true", help="run quickly with small settings, and keep no outputs")
    given = parser.parse_args(arguments)
    for path in given.notebooks:
        started = time.perf_counter()
        notebook = execute(path, small=given.small)
        if not given.small:
            nbformat.write(notebook, path)
        print(f"{path.name}: {time.perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
