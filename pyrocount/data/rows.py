"""Rows of arrays that are larger than memory: they stay in their files until they are read."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]
Key = slice | NDArray[np.integer[Any]]

# Number of values that are looked at together.
PART = 2**19


class Shards:
    """Arrays in several files as one array, one after the other, of which slices and rows can be read.

    Args:
        arrays: memory-mapped or zarr arrays of one dtype, shapes (N_i, \\*shape), two dimensions or more.
    """

    def __init__(self, arrays: Sequence[Any]) -> None:
        self.arrays = tuple(arrays)
        self.lengths = [array.shape[0] for array in arrays]
        self.ends = np.cumsum(self.lengths)
        self.dtype = np.dtype(arrays[0].dtype)
        self.shape = (int(self.ends[-1]), *arrays[0].shape[1:])
        self.ndim, self.size = len(self.shape), math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Key) -> Array:
        """Reads some of the rows: those of a slice or an array of numbers."""
        rows = np.arange(len(self))[key]
        values = np.empty((len(rows), *self.shape[1:]), self.dtype)
        owner = np.searchsorted(self.ends, rows, side="right")
        for number in np.unique(owner):
            own = owner == number
            within = rows[own] - (self.ends[number] - self.lengths[number])
            values[own] = _rows_of(self.arrays[number], within)
        return values


def _rows_of(array: Any, rows: NDArray[np.int64]) -> Array:
    """Reads rows of an array in a file, those of a run without gaps in one piece."""
    first, last = int(rows[0]), int(rows[-1])
    if last - first + 1 == len(rows) and np.array_equal(rows, np.arange(first, last + 1)):
        return np.asarray(array[first : last + 1])
    if isinstance(array, np.ndarray):
        return array[rows]
    read: Array = array.oindex[rows]
    return read


def in_files(values: Any) -> TypeGuard["np.memmap[Any, Any] | Shards"]:
    """Returns whether observations stay in their files until they are read."""
    return isinstance(values, np.memmap | Shards)


class Rows:
    """Rows of an array in files, in any order, with those parts of an array's interface that data need.

    Args:
        source: memory-mapped array or several, shape (N, \\*shape).
        rows: numbers of the rows, shape (M,); by default all.

    Attributes:
        shape: shape (M, \\*shape).
        dtype: dtype of what is read: the file's, in the byte order of the machine.
    """

    def __init__(self, source: "np.memmap[Any, Any] | Shards", rows: NDArray[np.int64] | None = None) -> None:
        self.source = source
        self.rows = np.arange(len(source)) if rows is None else rows
        self.shape = (len(self.rows), *source.shape[1:])
        self.dtype = source.dtype.newbyteorder("=")
        self.ndim, self.size = source.ndim, math.prod(self.shape)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Key) -> Array:
        """Reads some of the rows: those of a slice or an array of numbers."""
        rows = self.rows[key]
        # A file is read fastest from its start to its end.
        order = np.argsort(rows)
        values = np.empty((len(rows), *self.shape[1:]), self.dtype)
        values[order] = self.source[rows[order]]
        return values

    def in_file_order(self) -> tuple["Rows", NDArray[np.int64]]:
        """Returns the same rows in the order of the file, and their numbers here."""
        order = np.argsort(self.rows)
        return Rows(self.source, self.rows[order]), order


class Units:
    """Observations that are converted to the units of models when they are read.

    Args:
        values: observations (N, \\*shape).
        to_units: function that converts a part of them.
    """

    def __init__(self, values: "Array | Rows", to_units: Callable[[Tensor], Tensor]) -> None:
        self.values, self.to_units = values, to_units
        self.shape = tuple(values.shape)

    def __len__(self) -> int:
        return len(self.values)

    def first(self, number: int | None) -> "Units":
        """Returns the first observations, or all for None."""
        return self if number is None or number >= len(self) else Units(self.values[:number], self.to_units)

    def __getitem__(self, key: Key) -> NDArray[np.float32]:
        units: NDArray[np.float32] = self.to_units(torch.from_numpy(self.values[key])).numpy()
        return units


class TensorRows:
    """Rows as a tensor on the CPU that reads those that are selected."""

    device = torch.device("cpu")

    def __init__(self, rows: Rows) -> None:
        self.rows, self.shape = rows, torch.Size(rows.shape)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: slice) -> Tensor:
        return torch.from_numpy(self.rows[key])

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        """Reads rows by their numbers, shape (B,), in their order; ``dim`` is 0."""
        return torch.from_numpy(self.rows[index.numpy()])


def as_tensor(values: Array | Rows) -> Tensor | TensorRows:
    """Returns observations as a tensor that shares their memory, or reads them from their file."""
    return TensorRows(values) if isinstance(values, Rows) else torch.from_numpy(values)


def parts(values: Array | Shards | Rows) -> Iterator[Array]:
    """Yields observations, shape (N, \\*shape), some at a time; those in a file in the order of the file."""
    if isinstance(values, Rows):
        values, _ = values.in_file_order()
    step = rows_of_a_part(values.shape)
    for first in range(0, len(values), step):
        yield values[first : first + step]


def rows_of_a_part(shape: tuple[int, ...]) -> int:
    """Returns the number of observations of a shape (N, \\*shape) that are looked at together."""
    return max(1, PART // max(1, math.prod(shape[1:])))
