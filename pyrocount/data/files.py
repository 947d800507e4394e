"""Observations that are read from files: arrays, what describes them, and their checks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyrocount.errors import InputError

from .formats import BESIDE, is_beside, read_arrays
from .options import FileOptions
from .rows import in_files, parts
from .spike_times import TIMES

Array = NDArray[Any]
Floats = NDArray[np.float32 | np.float64]

# Whole numbers that stay as they are, as torch takes them and float32 holds them.
SMALL = (np.dtype(np.uint8), np.dtype(np.int8), np.dtype(np.int16))
# Names of arrays of images for training and for testing.
SPLIT_ARRAYS = (("x_train", "x_test"), ("train", "test"))
TABLE = "the shape N x features or N x channels x height x width"


@dataclass(frozen=True)
class Observations:
    """Observations of a file, and what describes them.

    Attributes:
        values: observations, shape (N, \\*shape), floats or of a dtype in ``SMALL``, or of any dtype of numbers in a
            memory-mapped file; NaN where they are missing, if that is allowed.
        exposure: positive lengths of their windows, shape (N,), where they are known.
        labels: numbers of their classes, from 0 where the file does not have whole numbers, shape (N,).
        label_names: names of the classes 0, 1 and so on, where the file does not have whole numbers.
        channels: names of the features, where they are known.
        trials: trial of each observation, shape (N,), where it is known: numbers or text.
        times: number of the bin of each observation in its trial, shape (N,), for several bins a trial.
        groups: group of each observation, shape (N,): numbers or text.
        velocity: velocity at each observation, shape (N, components), where it is known.
    """

    values: Array
    exposure: Floats | None = None
    labels: NDArray[np.int64] | None = None
    label_names: tuple[str, ...] | None = None
    channels: tuple[str, ...] | None = None
    trials: Array | None = None
    times: NDArray[np.int64] | None = None
    groups: Array | None = None
    velocity: Floats | None = None


def read_array(path: str | Path, argument: str = "data") -> Floats:
    """Reads the observations of a file.

    Args:
        path: path of the file. An ``.npz`` or ``.mat`` file holds one array (beside ``exposure``, ``labels``,
            ``channels``, ``trials`` and ``velocity``), or an array named ``x``.
        argument: name of the path in errors.

    Returns:
        Finite array of shape (N, features) or (N, channels, height, width), with N at least 2; float64 where float32
        would not hold its values.

    Raises:
        InputError: if the file is missing or corrupt, or if the array has another rank, is empty or is not finite.
    """
    options = FileOptions()
    arrays = read_arrays(Path(path), options, argument)
    return _table(_numbers(_chosen(arrays, options, path, argument), path, argument), path, argument)


def read_observations(path: str | Path, options: FileOptions | None = None, argument: str = "data") -> Observations:
    """Reads observations with what the file says of them.

    Args:
        path: path of the file.
        options: names of its arrays or columns, and what becomes of bins and of missing values. Arrays trials x time x
            channels become (trials times time, channels), or sums over time.
        argument: name of the path in errors.

    Raises:
        InputError: for the reasons of ``read_array``; or if the exposure, labels, channels, trials, groups or velocity
            do not describe the observations; naming the option, if it names what the file lacks.
    """
    options = FileOptions() if options is None else options
    arrays = read_arrays(Path(path), options, argument)
    values: Any = _chosen(arrays, options, path, argument)
    if values.dtype not in SMALL:
        values = _checked(values, path, argument, options.missing == "mask")
        values = values if in_files(values) else _floats(values)
    trials, times, rows = len(values), 1, None
    described = {name: _named(arrays, name, options, path) for name in (*BESIDE, "groups")}
    if values.ndim == 3:
        trials, times = values.shape[:2]
        if options.time == "sum":
            values = values.sum(1, dtype=np.result_type(values.dtype, np.float32))
        else:
            values, rows = values.reshape(trials * times, -1), np.repeat(np.arange(trials), times)
    values = _table(values, path, argument)
    number = len(values)

    def each(name: str) -> Array | None:
        """Returns what describes each observation, where a file may describe each trial or each bin."""
        found = described[name]
        if found is None or found.shape == (number,):
            return found
        if rows is not None and found.shape == (trials,):
            return found[rows]
        if rows is not None and found.shape == (trials, times):
            return found.reshape(-1)
        problem = f"{path} with {name} of dtype {found.dtype} and shape {found.shape}"
        raise InputError(argument, problem, f"{name} for {number} observations")

    own = each("trials")
    names, labels = _classes(each("labels"), path, argument)
    exposure = _lengths(each("exposure"), path, argument)
    if exposure is not None and options.time == "sum" and times > 1:
        exposure = exposure * times
    return Observations(
        values,
        exposure,
        labels,
        names,
        _channels(described["channels"], values, path, argument),
        rows if own is None else own,
        arrays.get(TIMES) if rows is None else np.tile(np.arange(times), trials),
        each("groups"),
        _velocity(described["velocity"], (trials, times), number, path, argument),
    )


def read_images(path: str | Path, argument: str = "data") -> tuple[Array, Array | None]:
    """Reads images from a file of arrays.

    Args:
        path: path of the file.
        argument: name of the path in errors.

    Returns:
        Finite array of shape (images, height, width), or (images, height, width, 3) of colour images; and another of
        images for testing, where the file has arrays ``x_train`` and ``x_test``, or ``train`` and ``test``.

    Raises:
        InputError: if the file is missing or corrupt, or if an array has another rank, is empty or is not finite.
    """
    options = FileOptions()
    arrays = read_arrays(Path(path), options, argument)
    names = next((pair for pair in SPLIT_ARRAYS if arrays.keys() >= set(pair)), None)
    if names is None:
        return _images(_chosen(arrays, options, path, argument), path, argument), None
    train, test = (read_arrays(Path(path), FileOptions(array=name), argument)[name] for name in names)
    return _images(train, f"{path}, array {names[0]},", argument), _images(test, f"{path}, array {names[1]},", argument)


def _images(values: Array, path: str | Path, argument: str) -> Array:
    values = _checked(values, path, argument)
    if (values.ndim != 3 and (values.ndim != 4 or values.shape[-1] != 3)) or values.size == 0:
        problem = f"{path} of shape {values.shape}"
        raise InputError(argument, problem, "the shape images x height x width, or images x height x width x 3")
    return values


def _chosen(arrays: dict[str, Array], options: FileOptions, path: str | Path, argument: str) -> Array:
    """Returns the array of the observations."""
    if options.array is not None:
        if options.array not in arrays:
            raise InputError("array", repr(options.array), f"one of the arrays of {path}: {', '.join(arrays)}")
        return arrays[options.array]
    names = [name for name in arrays if name != TIMES and not is_beside(name, options)]
    if len(names) != 1 and "x" not in names:
        problem = f"{path} with the arrays {', '.join(names)}" if names else f"{path} with no arrays"
        raise InputError(argument, problem, "one array, or an array named x, or --array")
    return arrays["x" if "x" in names else names[0]]


def _named(arrays: dict[str, Array], name: str, options: FileOptions, path: str | Path) -> Array | None:
    """Returns what an option names, or the array with the usual name; None where there is none."""
    given = getattr(options, name, None)
    if given is None:
        return arrays.get(name)
    if given not in arrays:
        raise InputError(name, repr(given), f"one of the arrays or columns of {path}: {', '.join(arrays)}")
    return arrays[given]


def _table(values: Array, path: str | Path, argument: str) -> Array:
    if values.ndim not in (2, 4):
        raise InputError(argument, f"{path} of shape {values.shape}", TABLE)
    if values.size == 0 or len(values) < 2:
        raise InputError(argument, f"{path} of shape {values.shape}", "at least 2 observations of at least 1 value")
    return values


def _numbers(values: Array, path: str | Path, argument: str) -> Floats:
    return _floats(_checked(values, path, argument))


def _floats(values: Array) -> Floats:
    return values.astype(np.result_type(values.dtype, np.float32), copy=False)


def _checked(values: Array, path: str | Path, argument: str, missing: bool = False) -> Array:
    """Returns values after a check that they are finite numbers, or missing where that is allowed."""
    if values.dtype.kind not in "buif" or values.dtype.itemsize > 8:
        raise InputError(argument, f"{path} with dtype {values.dtype}", "an array of numbers of up to 8 bytes")
    if values.dtype.kind != "f":
        return values
    bad = infinite = done = 0
    first: tuple[int, ...] | None = None
    for part in parts(values) if values.ndim else [values]:
        endless = np.isinf(part)
        unknown = endless if missing else ~np.isfinite(part)
        bad, infinite = bad + int(np.count_nonzero(unknown)), infinite + int(np.count_nonzero(endless))
        if first is None and unknown.any():
            place = [int(i) for i in np.argwhere(unknown)[0]]
            first = (place[0] + done, *place[1:]) if place else ()
        done += len(part) if values.ndim else 0
    if bad:
        what, wanted = ("infinite", "finite or missing") if missing else ("NaN or infinite", "finite")
        problem = f"{path} with {what} values ({bad} of {values.size}, the first at {first})"
        only_missing = not missing and not infinite
        raise InputError(argument, problem, f"{wanted} values{', or --missing mask' if only_missing else ''}")
    return values


def _lengths(exposure: Array | None, path: str | Path, argument: str) -> Floats | None:
    if exposure is None:
        return None
    lengths = _numbers(exposure, f"{path}, array exposure,", argument)
    if not (lengths > 0).all():
        problem = f"{path} with an exposure of {lengths.min():g} as its smallest value"
        raise InputError(argument, problem, f"an exposure of {len(lengths)} positive numbers")
    return lengths


def _velocity(
    values: Array | None, sequences: tuple[int, int], number: int, path: str | Path, argument: str
) -> Floats | None:
    """Returns the velocity at each observation, shape (observations, components); its mean where bins were summed."""
    if values is None:
        return None
    trials, times = sequences
    values = known = _numbers(values, f"{path}, array velocity,", argument)
    if times > 1 and values.shape[:2] == sequences:
        values = values.reshape(*sequences, -1)
        values = values.mean(1) if number == trials else values.reshape(number, -1)
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or len(values) != number:
        expected = f"velocity for {number} observations" + (f", or {trials} trials x {times} bins" if times > 1 else "")
        raise InputError(argument, f"{path} with velocity of shape {known.shape}", expected)
    return values


def _classes(
    labels: Array | None, path: str | Path, argument: str
) -> tuple[tuple[str, ...] | None, NDArray[np.int64] | None]:
    """Returns names and numbers of the classes; whole numbers stay as they are and have no names."""
    if labels is None:
        return None, None
    if labels.dtype.kind in "bui":
        return None, labels.astype(np.int64)
    if labels.dtype.kind not in "fUS" or (labels.dtype.kind == "f" and not np.isfinite(labels).all()):
        unknown = ", some of them not finite" if labels.dtype.kind == "f" else ""
        problem = f"{path} with labels of dtype {labels.dtype}{unknown}"
        raise InputError(argument, problem, "labels that are numbers or text")
    values, numbers = np.unique(labels, return_inverse=True)
    names = (f"{value:g}" for value in values) if labels.dtype.kind == "f" else values.astype(str).tolist()
    return tuple(names), numbers.astype(np.int64)


def _channels(names: Array | None, values: Array, path: str | Path, argument: str) -> tuple[str, ...] | None:
    if names is None or values.ndim != 2:
        return None
    if names.shape != values.shape[1:]:
        hint = "; are rows the channels? then transpose it" if names.shape == values.shape[:1] else ""
        problem = f"{path} with channels of shape {names.shape} for observations of {values.shape[1]} features{hint}"
        raise InputError(argument, problem, f"{values.shape[1]} names")
    return tuple(names.astype(str).tolist())
