"""Arrays from files."""

import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pyrocount.errors import InputError


def read_array(path: str | Path, argument: str = "data") -> NDArray[np.float32]:
    """Reads the observations in a ``.npy`` or ``.npz`` file.

    Args:
        path: the file. An ``.npz`` holds a single array or one named ``x``.
        argument: what to call the path in errors.

    Returns:
        A finite array of shape (N, features) or (N, channels, height, width), N at least 2.

    Raises:
        InputError: if the file is missing or corrupt, or the array has another rank, is empty or not finite.
    """
    values = _read(Path(path), argument)
    if values.dtype.kind not in "buif":
        raise InputError(argument, f"{path} with dtype {values.dtype}", "an array of numbers")
    if values.ndim not in (2, 4):
        raise InputError(argument, f"{path} of shape {values.shape}", "N x features or N x channels x height x width")
    if values.size == 0 or len(values) < 2:
        raise InputError(argument, f"{path} of shape {values.shape}", "at least 2 observations of at least 1 value")
    with np.errstate(over="ignore"):
        singles: NDArray[np.float32] = values.astype(np.float32)
    if bad := np.count_nonzero(~np.isfinite(singles)):
        first = tuple(int(i) for i in np.argwhere(~np.isfinite(singles))[0])
        problem = f"{path} with {bad} values that are NaN or infinite in float32, first at {first}"
        raise InputError(argument, problem, "finite values")
    return singles


def _read(path: Path, argument: str) -> NDArray[np.generic]:
    if path.suffix not in (".npy", ".npz"):
        raise InputError(argument, path, "'digits' or a .npy or .npz file")
    if not path.is_file():
        raise InputError(argument, f"{path}, which does not exist", "a .npy or .npz file")
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return loaded
            names = loaded.files
            if len(names) != 1 and "x" not in names:
                raise InputError(
                    argument, f"{path} with arrays {', '.join(names) or 'none'}", "one array, or one named x"
                )
            return np.asarray(loaded["x" if "x" in names else names[0]])
    except InputError:
        raise
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(argument, f"{path}, which cannot be read ({reason})", "an intact .npy or .npz file") from error
