"""Arrays from files."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pyrocount.errors import InputError


def read_array(path: str | Path, argument: str = "data") -> NDArray[np.float32 | np.float64]:
    """Reads the observations in a ``.npy`` or ``.npz`` file.

    Args:
        path: the file. An ``.npz`` holds a single array or one named ``x``.
        argument: what to call the path in errors.

    Returns:
        A finite array of shape (N, features) or (N, channels, height, width), N at least 2; in float64 where float32
        would not hold its values.

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
    if bad := np.count_nonzero(~np.isfinite(values)):
        first = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
        raise InputError(
            argument, f"{path} with {bad} values that are NaN or infinite, first at {first}", "finite values"
        )
    return values.astype(np.result_type(values.dtype, np.float32), copy=False)


def _read(path: Path, argument: str) -> NDArray[np.generic]:
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
                return loaded
            names = loaded.files
            if len(names) != 1 and "x" not in names:
                raise InputError(
                    argument, f"{path} with arrays {', '.join(names) or 'none'}", "one array, or one named x"
                )
            return np.asarray(loaded["x" if "x" in names else names[0]])
    except InputError:
        raise
    except Exception as error:  # A damaged file may bring any.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "allow_pickle" in reason:
            raise InputError(argument, f"{path}, which holds Python objects", "an array of numbers") from error
        raise InputError(argument, f"{path}, which cannot be read ({reason})", "an intact .npy or .npz file") from error
