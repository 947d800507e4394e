"""Arrays that are read from files."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pyrocount.errors import InputError

Floats = NDArray[np.float32 | np.float64]

# Names of the arrays in an .npz file that describe each observation.
BESIDE = ("exposure", "labels")


def user_path(path: str | Path, argument: str = "data") -> Path:
    """Returns the path with the user's home folder in place of ~.

    Raises:
        InputError: if the path names the home folder of a user who does not exist.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(argument, path, "a home folder that exists") from error


def read_array(path: str | Path, argument: str = "data") -> Floats:
    """Reads the observations from a ``.npy`` or ``.npz`` file.

    Args:
        path: path of the file. An ``.npz`` file holds one array (beside ``exposure`` and ``labels``), or an array named
            ``x``.
        argument: name of the path in errors.

    Returns:
        Finite array of shape (N, features) or (N, channels, height, width), with N at least 2; float64 where float32
        would not hold its values.

    Raises:
        InputError: if the file is missing or corrupt, or if the array has another rank, is empty or is not finite.
    """
    return _table(_read(Path(path), argument), path, argument)


def read_observations(
    path: str | Path, argument: str = "data"
) -> tuple[Floats, Floats | None, NDArray[np.int64] | None]:
    """Reads observations as ``read_array`` does, with the exposure and the labels that an ``.npz`` file may hold.

    Args:
        path: path of the file.
        argument: name of the path in errors.

    Returns:
        The observations; the positive lengths of their windows, shape (N,), from the array ``exposure``; and the whole
        numbers of their classes, shape (N,), from the array ``labels``. The last two are None if the file lacks them.

    Raises:
        InputError: for the reasons of ``read_array``, or if the exposure is not N positive numbers, or the labels are
            not N whole numbers.
    """
    arrays = _read(Path(path), argument)
    values = _table(arrays, path, argument)
    exposure = labels = None
    if "exposure" in arrays:
        exposure = _numbers(arrays["exposure"], f"{path}, array exposure,", argument)
        if exposure.shape != (len(values),) or not (exposure > 0).all():
            smallest = f"with {exposure.min():g} as its smallest value" if exposure.size else "without values"
            problem = f"{path} with an exposure of shape {exposure.shape} {smallest}"
            raise InputError(argument, problem, f"an exposure of {len(values)} positive numbers")
    if "labels" in arrays:
        given = arrays["labels"]
        if given.dtype.kind not in "bui" or given.shape != (len(values),):
            problem = f"{path} with labels of dtype {given.dtype} and shape {given.shape}"
            raise InputError(argument, problem, f"labels that are {len(values)} whole numbers")
        labels = given.astype(np.int64)
    return values, exposure, labels


def _table(arrays: dict[str, NDArray[np.generic]], path: str | Path, argument: str) -> Floats:
    values = _numbers(_observations(arrays, path, argument), path, argument)
    if values.ndim not in (2, 4):
        expected = "the shape N x features or N x channels x height x width"
        raise InputError(argument, f"{path} of shape {values.shape}", expected)
    if values.size == 0 or len(values) < 2:
        raise InputError(argument, f"{path} of shape {values.shape}", "at least 2 observations of at least 1 value")
    return values


def read_images(path: str | Path, argument: str = "data") -> Floats:
    """Reads grey images from a ``.npy`` or ``.npz`` file.

    Args:
        path: path of the file.
        argument: name of the path in errors.

    Returns:
        Finite array of shape (number of images, height, width).

    Raises:
        InputError: if the file is missing or corrupt, or if the array has another rank, is empty or is not finite.
    """
    values = _numbers(_observations(_read(Path(path), argument), path, argument), path, argument)
    if values.ndim != 3 or values.size == 0:
        raise InputError(argument, f"{path} of shape {values.shape}", "the shape images x height x width")
    return values


def _numbers(values: NDArray[np.generic], path: str | Path, argument: str) -> Floats:
    if values.dtype.kind not in "buif":
        raise InputError(argument, f"{path} with dtype {values.dtype}", "an array of numbers")
    if bad := np.count_nonzero(~np.isfinite(values)):
        first = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
        problem = f"{path} with NaN or infinite values ({bad} of {values.size}, the first at {first})"
        raise InputError(argument, problem, "finite values")
    return values.astype(np.result_type(values.dtype, np.float32), copy=False)


def _observations(arrays: dict[str, NDArray[np.generic]], path: str | Path, argument: str) -> NDArray[np.generic]:
    names = [name for name in arrays if name not in BESIDE]
    if len(names) != 1 and "x" not in names:
        problem = f"{path} with the arrays {', '.join(names)}" if names else f"{path} with no arrays"
        raise InputError(argument, problem, "one array, or an array named x")
    return arrays["x" if "x" in names else names[0]]


def _read(path: Path, argument: str) -> dict[str, NDArray[np.generic]]:
    """Reads the arrays of a file by name; the array of a ``.npy`` file is named x."""
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(argument, f"{path}, which {problem}", "a .npy or .npz file")
    try:
        with path.open("rb") as file:
            if not file.read(6).startswith((b"PK", b"\x93NUMPY")):
                raise InputError(argument, f"{path}, which is not in NumPy's format", "a .npy or .npz file")
            file.seek(0)
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {"x": loaded}
            wanted = [name for name in loaded.files if name in ("x", *BESIDE)]
            if "x" not in wanted and len(loaded.files) - len(wanted) > 1:
                return {name: np.empty(0) for name in loaded.files}
            return {name: np.asarray(loaded[name]) for name in (wanted if "x" in wanted else loaded.files)}
    except InputError:
        raise
    except Exception as error:  # A damaged file may raise any exception.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "allow_pickle" in reason:
            raise InputError(argument, f"{path}, which holds Python objects", "an array of numbers") from error
        raise InputError(argument, f"{path}, which cannot be read ({reason})", "an intact .npy or .npz file") from error
