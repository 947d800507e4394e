"""Readers of files: each returns the arrays of a file by name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyrocount.errors import InputError, require_extra

from .options import FileOptions
from .paths import unreadable
from .rows import Shards
from .spike_times import read_nwb, read_pynapple

Array = NDArray[Any]
Reader = Callable[[Path, FileOptions, str], dict[str, Array]]

# Number of bytes from which on an array stays in its file.
MAPPED = 2**25


def read_arrays(path: Path, options: FileOptions, argument: str) -> dict[str, Array]:
    """Reads the arrays of a file by name, by the reader of its suffix.

    Args:
        path: path of the file.
        options: names and bins that readers need.
        argument: name of the path in errors.

    Raises:
        InputError: naming the argument, if the file is missing, damaged or of an unknown format.
    """
    suffix = path.suffix.lower()
    expected = f"a {', '.join(list(READERS)[:-1])} or {list(READERS)[-1]} file, or a folder of .npy files or of zarr"
    if path.is_dir() and (suffix == ".zarr" or any(path.glob("*.npy"))):
        return {"x": read_zarr(path, argument) if suffix == ".zarr" else read_shards(path, argument)}
    if not path.is_file():
        raise InputError(argument, f"{path}, which {'is a folder' if path.is_dir() else 'does not exist'}", expected)
    if suffix not in READERS:
        raise InputError(argument, f"{path}, whose suffix is {suffix or 'missing'}", expected)
    try:
        return READERS[suffix](path, options, argument)
    except InputError:
        raise
    except Exception as error:  # A damaged file may raise any exception.
        if "allow_pickle" in str(error):
            raise InputError(argument, f"{path}, which holds Python objects", "an array of numbers") from error
        raise unreadable(argument, path, error, f"an intact {suffix} file") from error


def _numpy(path: Path, options: FileOptions, argument: str) -> dict[str, Array]:
    """Reads a file of NumPy; the array of a ``.npy`` file is named x, and stays in the file if it is large.

    SciPy and pynapple have formats of their own.
    """
    with path.open("rb") as file:
        if not file.read(6).startswith((b"PK", b"\x93NUMPY")):
            raise InputError(argument, f"{path}, which is not in NumPy's format", "a .npy or .npz file")
        if path.suffix.lower() == ".npy" and path.stat().st_size >= MAPPED:
            return {"x": np.load(path, mmap_mode="r", allow_pickle=False)}
        file.seek(0)
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"x": loaded}
        names = set(loaded.files)
        if names >= {"format", "shape", "data"}:
            from scipy.sparse import load_npz

            return {"x": load_npz(path).toarray()}
        if names >= {"type", "start", "end"}:
            return read_pynapple(path, options, argument)
        # Reading is slow, and other arrays may be large.
        chosen = options.array or "x"
        wanted = [name for name in loaded.files if name == chosen or is_beside(name, options)]
        if chosen not in wanted and (options.array is not None or len(names) - len(wanted) > 1):
            return {name: np.empty(0) for name in loaded.files}
        return {name: np.asarray(loaded[name]) for name in (wanted if chosen in wanted else loaded.files)}


def read_shards(path: Path, argument: str) -> Any:
    """Opens the ``.npy`` files of a folder as one array, in the order of their names.

    Raises:
        InputError: naming the argument and the file, if one cannot be read or does not go with the first.
    """
    arrays = []
    for file in sorted(path.glob("*.npy")):
        try:
            arrays.append(np.load(file, mmap_mode="r", allow_pickle=False))
        except Exception as error:  # A damaged file may raise any exception.
            raise unreadable(argument, file, error, "intact .npy files of numbers") from error
        has, needs = (f"{each.dtype} of shape {each.shape}" for each in (arrays[-1], arrays[0]))
        if arrays[-1].ndim not in (2, 4) or arrays[-1].shape[1:] != arrays[0].shape[1:]:
            expected = f"arrays of observations x features or images, as the first, {needs}"
            raise InputError(argument, f"{file} with {has}", expected)
        if arrays[-1].dtype != arrays[0].dtype:
            raise InputError(argument, f"{file} with {has}", f"one dtype, as the first, {needs}")
    return Shards(arrays)


def read_zarr(path: Path, argument: str) -> Any:
    """Opens an array of zarr, whose chunks are read as they are needed.

    Raises:
        InputError: naming the argument, if zarr is not installed, or the folder holds no array of observations.
    """
    with require_extra("zarr", argument, path):
        import zarr
    try:
        array = zarr.open_array(path, mode="r")
    except Exception as error:  # Zarr raises errors of its own.
        raise unreadable(argument, path, error, "an array of zarr") from error
    if array.ndim not in (2, 4) or not array.shape[0]:
        raise InputError(argument, f"{path} of shape {array.shape}", "observations x features, or images")
    return Shards([array])


def _matlab(path: Path, options: FileOptions, argument: str) -> dict[str, Array]:
    """Reads a file of MATLAB up to version 7; what describes observations or channels becomes a vector."""
    from scipy.io import loadmat

    try:
        loaded = loadmat(path, chars_as_strings=True)
    except NotImplementedError as error:
        raise InputError(argument, f"{path} of MATLAB 7.3", "a file that was saved with -v7") from error
    arrays = {name: np.asarray(value) for name, value in loaded.items() if not name.startswith("__")}
    vectors = {name for name in arrays if is_beside(name, options)} - {options.velocity or "velocity"}
    return {name: _vector(value) if name in vectors else value for name, value in arrays.items()}


def _vector(values: Array) -> Array:
    """Returns a row or a column of MATLAB as a vector, and cells of text as text."""
    if values.dtype == object:
        return np.array([str(np.squeeze(cell)) for cell in values.ravel()])
    return values.ravel() if 1 in values.shape else values


def _table(path: Path, options: FileOptions, argument: str) -> dict[str, Array]:
    """Reads a table with a header; columns that are not named in the options are channels."""
    with require_extra("neural", argument, path):
        import pandas
    table = pandas.read_csv(path, sep="\t" if path.suffix.lower() == ".tsv" else ",")
    beside = [name for name in table if is_beside(str(name), options)]
    values = table.drop(columns=beside)
    if text := [str(name) for name in values if values[name].dtype.kind not in "buif"]:
        problem = f"{path}, whose column {text[0]} holds more than numbers"
        raise InputError(argument, problem, "columns of numbers, or --labels, --trials or --groups for others")
    arrays: dict[str, Array] = {str(name): np.asarray(table[name]) for name in beside}
    arrays = {name: part.astype(str) if part.dtype.kind not in "buif" else part for name, part in arrays.items()}
    return arrays | {"x": values.to_numpy(np.float64), "channels": np.array([*map(str, values)])}


def is_beside(name: str, options: FileOptions) -> bool:
    """Returns whether an array or column describes observations or channels, by its name."""
    return name in BESIDE or name in [getattr(options, part) for part in (*BESIDE, "groups") if part != "exposure"]


# Names of the arrays that describe observations or channels.
BESIDE = ("exposure", "labels", "channels", "trials", "velocity")
READERS: dict[str, Reader] = {
    ".npy": _numpy,
    ".npz": _numpy,
    ".mat": _matlab,
    ".csv": _table,
    ".tsv": _table,
    ".nwb": read_nwb,
}
