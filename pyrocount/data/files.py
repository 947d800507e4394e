"""Arrays from files."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pyrocount.errors import InputError

Floats = NDArray[np.float32 | np.float64]

# Arrays of an .npz file that say something about each observation.
BESIDE = ("exposure", "labels")


def user_path(path: str | Path, argument: str = "data") -> Path:
    """The path with the user's home folder in place of ~.

    Raises:
        InputError: for the home of a user who does not exist.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(argument, path, "a home folder that exists") from error


def read_array(path: str | Path, argument: str = "data") -> Floats:
    """Reads the observations in a ``.npy`` or ``.npz`` file.

    Args:
        path: the file. An ``.npz`` holds one array (beside ``exposure`` and ``labels``), or one named ``x``.
        argument: what to call the path in errors.

    Returns:
        A finite array of shape (N, features) or (N, channels, height, width), N at least 2; in float64 where float32
        would not hold its values.

    Raises:
        InputError: if the file is missing or corrupt, or the array has another rank, is empty or not finite.
    """
    return _table(_read(Path(path), argument), path, argument)


def read_observations(
    path: str | Path, argument: str = "data"
) -> tuple[Floats, Floats | None, NDArray[np.int64] | None]:
    """Reads what ``read_array`` does, and what an ``.npz`` file says of each observation.

    Returns:
        The observations; the lengths of their windows, positive, shape (N,), from the array ``exposure``; and their
        classes, whole numbers, shape (N,), from the array ``labels``. The last two are None where there are none.

    Raises:
        InputError: as ``read_array``, and if exposure or labels are not that.
    """
    arrays = _read(Path(path), argument)
    values = _table(arrays, path, argument)
    exposure = labels = None
    if "exposure" in arrays:
        exposure = _numbers(arrays["exposure"], f"{path}, array exposure,", argument)
        if exposure.shape != (len(values),) or not (exposure > 0).all():
            problem = f"{path} with an exposure of shape {exposure.shape} from {exposure.min(initial=np.inf):g}"
            raise InputError(argument, problem, f"{len(values)} positive numbers")
    if "labels" in arrays:
        given = arrays["labels"]
        if given.dtype.kind not in "bui" or given.shape != (len(values),):
            problem = f"{path} with labels of dtype {given.dtype} and shape {given.shape}"
            raise InputError(argument, problem, f"{len(values)} whole numbers")
        labels = given.astype(np.int64)
    return values, exposure, labels


def _table(arrays: dict[str, NDArray[np.generic]], path: str | Path, argument: str) -> Floats:
    values = _numbers(_observations(arrays, path, argument), path, argument)
    if values.ndim not in (2, 4):
        raise InputError(argument, f"{path} of shape {values.shape}", "N x features or N x channels x height x width")
    if values.size == 0 or len(values) < 2:
        raise InputError(argument, f"{path} of shape {values.shape}", "at least 2 observations of at least 1 value")
    return values


def read_images(path: str | Path, argument: str = "data") -> Floats:
    """Reads grey images of shape (number, height, width), with the errors of ``read_array``."""
    values = _numbers(_observations(_read(Path(path), argument), path, argument), path, argument)
    if values.ndim != 3 or values.size == 0:
        raise InputError(argument, f"{path} of shape {values.shape}", "images x height x width")
    return values


def _numbers(values: NDArray[np.generic], path: str | Path, argument: str) -> Floats:
    if values.dtype.kind not in "buif":
        raise InputError(argument, f"{path} with dtype {values.dtype}", "an array of numbers")
    if bad := np.count_nonzero(~np.isfinite(values)):
        first = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
        raise InputError(
            argument, f"{path} with {bad} values that are NaN or infinite, first at {first}", "finite values"
        )
    return values.astype(np.result_type(values.dtype, np.float32), copy=False)


def _observations(arrays: dict[str, NDArray[np.generic]], path: str | Path, argument: str) -> NDArray[np.generic]:
    names = [name for name in arrays if name not in BESIDE]
    if len(names) != 1 and "x" not in names:
        raise InputError(argument, f"{path} with arrays {', '.join(names) or 'none'}", "one array, or one named x")
    return arrays["x" if "x" in names else names[0]]


def _read(path: Path, argument: str) -> dict[str, NDArray[np.generic]]:
    """The arrays of a file by name; the one of a ``.npy`` file is x."""
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
    except Exception as error:  # A damaged file may bring any.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "allow_pickle" in reason:
            raise InputError(argument, f"{path}, which holds Python objects", "an array of numbers") from error
        raise InputError(argument, f"{path}, which cannot be read ({reason})", "an intact .npy or .npz file") from error
