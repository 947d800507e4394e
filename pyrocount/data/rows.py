"""Rows of an array that is larger than memory: they stay in their file until they are read."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]
Key = slice | NDArray[np.integer[Any]]

# Number of values that are looked at together.
PART = 2**19


class Rows:
    """Rows of a memory-mapped array, in any order, with those parts of an array's interface that data need.

    Args:
        source: array in a file, shape (N, \\*shape).
        rows: numbers of the rows, shape (M,); by default all.

    Attributes:
        shape: shape (M, \\*shape).
        dtype: dtype of what is read: the file's, in the byte order of the machine.
    """

    def __init__(self, source: "np.memmap[Any, Any]", rows: NDArray[np.int64] | None = None) -> None:
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


def parts(values: Array | Rows) -> Iterator[Array]:
    """Yields observations, shape (N, \\*shape), some at a time; those in a file in the order of the file."""
    if isinstance(values, Rows):
        values, _ = values.in_file_order()
    step = rows_of_a_part(values.shape)
    for first in range(0, len(values), step):
        yield values[first : first + step]


def rows_of_a_part(shape: tuple[int, ...]) -> int:
    """Returns the number of observations of a shape (N, \\*shape) that are looked at together."""
    return max(1, PART // max(1, math.prod(shape[1:])))
