"""A data set split for training and testing, in the units that models see."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pyrocount.errors import InputError

from .files import read_array

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Dataset:
    """Observations for training and testing.

    Attributes:
        name: short name, for folders and titles.
        train: training observations, shape (N, \\*shape).
        test: held-out observations, shape (M, \\*shape).
        offset: what was subtracted from the original values.
        scale: what they were then divided by.
    """

    name: str
    train: FloatArray
    test: FloatArray
    offset: float = 0.0
    scale: float = 1.0

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one observation."""
        return tuple(self.train.shape[1:])

    def original(self, values: FloatArray) -> FloatArray:
        """Takes values from the units of models back to the original ones."""
        return values * self.scale + self.offset


def load_dataset(
    data: str = "digits", *, seed: int = 0, test_fraction: float = 0.2, standardize: bool = True
) -> Dataset:
    """Loads observations, sets a part aside for testing and standardises.

    Args:
        data: ``"digits"``, scikit-learn's 1797 handwritten digits of 8 x 8 pixels, or a ``.npy`` or ``.npz`` file.
        seed: chooses the held-out observations.
        test_fraction: how many of them, between 0 and 1; at least one is held out and one kept.
        standardize: whether to subtract the mean of the training set and to divide by its standard deviation, one
            number each for the whole array.

    Raises:
        InputError: naming ``data``, its value and what is expected.
    """
    values: NDArray[np.float32 | np.float64] = _digits() if data == "digits" else _file(data)
    order = np.random.default_rng(seed).permutation(len(values))
    held_out = min(max(1, round(test_fraction * len(values))), len(values) - 1)
    train, test = values[order[held_out:]], values[order[:held_out]]
    name = "digits" if data == "digits" else Path(data).stem
    offset, scale = 0.0, 1.0
    if standardize:
        offset, scale = float(train.mean(dtype=np.float64)), float(train.std(dtype=np.float64))
        if train.min() == train.max():
            problem = f"{data}, whose training values are all {offset:g}"
            raise InputError("data", problem, "values that vary, or --no-standardize")
    return Dataset(name, _in_units(train, offset, scale, data), _in_units(test, offset, scale, data), offset, scale)


def _file(data: str) -> NDArray[np.float32 | np.float64]:
    if Path(data).suffix.lower() not in (".npy", ".npz"):
        raise InputError("data", repr(data), "'digits' or a .npy or .npz file")
    return read_array(Path(data).expanduser())


def _in_units(values: NDArray[np.float32 | np.float64], offset: float, scale: float, data: str) -> FloatArray:
    with np.errstate(over="ignore"):
        singles: FloatArray = ((values - offset) / scale).astype(np.float32)
    if not np.isfinite(singles).all():
        problem = f"{data} with values up to {np.abs(values).max():g}"
        raise InputError("data", problem, "values within the range of float32, or --standardize")
    return singles


def _digits() -> FloatArray:
    from sklearn.datasets import load_digits

    images: FloatArray = load_digits().images.astype(np.float32)
    return images[:, None]
