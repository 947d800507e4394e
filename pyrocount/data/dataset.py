"""A data set split for training and testing, in the units that models see."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyrocount.errors import InputError

from .files import read_observations, user_path
from .patches import load_patches
from .vision import SETS, load_vision

Array = NDArray[Any]

NAMED = ("digits", "patches", *SETS)
SCALINGS = ("standard", "unit", "symmetric", "none")


@dataclass(frozen=True)
class Dataset:
    """Observations for training and testing.

    Attributes:
        name: short name, for folders and titles.
        train: training observations, shape (N, \\*shape): float32 in the units of models, or bytes, which
            ``to_units`` converts.
        test: held-out observations, shape (M, \\*shape), likewise.
        offset: what is subtracted from the original values.
        scale: what they are then divided by.
        train_exposure: length of each window of training observations, shape (N,), where it is known.
        test_exposure: of held-out observations, shape (M,).
        train_labels: class of each training observation, shape (N,), where it is known.
        test_labels: of held-out observations, shape (M,).
    """

    name: str
    train: Array
    test: Array
    offset: float = 0.0
    scale: float = 1.0
    train_exposure: NDArray[np.float32] | None = None
    test_exposure: NDArray[np.float32] | None = None
    train_labels: NDArray[np.int64] | None = None
    test_labels: NDArray[np.int64] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one observation."""
        return tuple(self.train.shape[1:])

    def to_units(self, x: Tensor) -> Tensor:
        """Observations, or bytes of them, as float32 in the units of models."""
        return x if x.is_floating_point() else (x.float() - self.offset) / self.scale

    def mean(self) -> NDArray[np.float64]:
        """Mean of the training observations in the units of models, shape (1, \\*shape)."""
        mean = self.train.mean(0, keepdims=True, dtype=np.float64)
        units: NDArray[np.float64] = (mean - self.offset) / self.scale if self.train.dtype == np.uint8 else mean
        return units

    def test_units(self) -> NDArray[np.float32]:
        """The held-out observations as float32 in the units of models."""
        units: NDArray[np.float32] = self.to_units(torch.from_numpy(self.test)).numpy()
        return units

    def train_units(self, number: int | None = None) -> NDArray[np.float32]:
        """The first so many observations for training, by default all, as float32 in the units of models."""
        units: NDArray[np.float32] = self.to_units(torch.from_numpy(self.train[:number])).numpy()
        return units

    def original(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Takes values from the units of models back to the original ones."""
        return values * self.scale + self.offset


@dataclass(frozen=True)
class _Raw:
    """Original values, and the range in which they can lie where that is known.

    Exposure and labels are of all observations, those for training first.
    """

    train: Array
    test: Array | None = None
    labels: Array | None = None
    exposure: Array | None = None
    limits: tuple[float, float] | None = None


def default_scaling(data: str) -> str:
    """How a data set is scaled unless something else is asked for: pixels of the papers' sets to their ranges.

    >>> default_scaling("mnist"), default_scaling("cifar10-16"), default_scaling("digits")
    ('unit', 'symmetric', 'standard')
    """
    if data in SETS:
        return "symmetric" if data in ("cifar10-16", "celeba-64") else "unit"
    return "standard"


def load_dataset(
    data: str = "digits",
    *,
    seed: int = 0,
    test_fraction: float = 0.2,
    scaling: str | None = None,
    data_dir: str | None = None,
    download: bool = False,
    whiten: bool = True,
    exposure: float | None = None,
) -> Dataset:
    """Loads observations, sets a part aside for testing and scales.

    Args:
        data: ``"digits"``, scikit-learn's 1797 handwritten digits of 8 x 8 pixels; ``"patches"`` of natural images;
            a set that torchvision knows, with its official split; or a ``.npy`` or ``.npz`` file.
        seed: chooses the held-out observations, and the patches.
        test_fraction: how many of digits or of a file are held out, between 0 and 1; at least one is held out and one
            kept. Patches and the sets of torchvision have splits of their own.
        scaling: ``"standard"`` (subtract the mean of the training set, divide by its standard deviation, one number
            each for the whole array), ``"unit"`` (range to [0, 1]), ``"symmetric"`` (to [-1, 1]) or ``"none"``; by
            default that of the set.
        data_dir: where torchvision keeps its sets, or the images for patches.
        download: whether torchvision may fetch what is missing.
        whiten: whether the images for patches are whitened.
        exposure: length of all observation windows; by default an ``.npz`` file's array ``exposure``, or none.

    Raises:
        InputError: naming the argument, its value and what is expected.
    """
    scaling = default_scaling(data) if scaling is None else scaling
    if scaling not in SCALINGS:
        raise InputError("scaling", repr(scaling), f"one of {', '.join(SCALINGS)}")
    raw = _load(data, seed, data_dir, download, whiten)
    name = data if data in NAMED else Path(data).stem
    train, test, exposures = raw.train, raw.test, raw.exposure
    if exposure is not None:
        exposures = np.full(len(train) + (0 if test is None else len(test)), exposure)
    if test is None:
        order = np.random.default_rng(seed).permutation(len(train))
        held_out = min(max(1, round(test_fraction * len(train))), len(train) - 1)
        rows = order[held_out:], order[:held_out]
        train, test = (train[part] for part in rows)
    else:
        rows = np.arange(len(train)), np.arange(len(train), len(train) + len(test))
    beside: list[Any] = [
        None if values is None else values[part].astype(dtype)
        for values, dtype in ((exposures, np.float32), (raw.labels, np.int64))
        for part in rows
    ]
    offset, scale = _scaling(scaling, train, test, raw.limits, data)
    train, test = (_in_units(part, offset, scale, data) for part in (train, test))
    return Dataset(name, train, test, offset, scale, *beside)


def from_array(values: Array, *, scaling: str = "standard", name: str = "array") -> Dataset:
    """Observations in memory, all of them for training and for testing.

    Args:
        values: shape (N, \\*shape).
        scaling: see ``load_dataset``.
        name: for titles and errors.

    Raises:
        InputError: naming ``scaling``, or ``data``, if values that do not vary are to be scaled.
    """
    if scaling not in SCALINGS:
        raise InputError("scaling", repr(scaling), f"one of {', '.join(SCALINGS)}")
    offset, scale = _scaling(scaling, values, values, None, name)
    units = _in_units(values, offset, scale, name)
    return Dataset(name, units, units, offset, scale)


def _load(data: str, seed: int, data_dir: str | None, download: bool, whiten: bool) -> _Raw:
    if data == "digits":
        from sklearn.datasets import load_digits

        digits = load_digits()
        return _Raw(digits.images.astype(np.float32)[:, None], labels=digits.target, limits=(0.0, 16.0))
    if data == "patches":
        return _Raw(*load_patches(data_dir, seed=seed, whiten_images=whiten))
    if data in SETS:
        return _Raw(*load_vision(data, data_dir, download), limits=(0.0, 255.0))
    if Path(data).suffix.lower() not in (".npy", ".npz"):
        raise InputError("data", repr(data), f"one of {', '.join(NAMED)}, or a .npy or .npz file")
    values, exposure, labels = read_observations(user_path(data))
    return _Raw(values, labels=labels, exposure=exposure)


def _scaling(
    scaling: str, train: Array, test: Array, limits: tuple[float, float] | None, data: str
) -> tuple[float, float]:
    """Offset and scale."""
    if scaling == "none":
        return 0.0, 1.0
    if train.min() == train.max():
        problem = f"{data}, whose training values are all {train.flat[0]:g}"
        raise InputError("data", problem, "values that vary, or --scaling none")
    if scaling == "standard":
        return float(train.mean(dtype=np.float64)), float(train.std(dtype=np.float64))
    low, high = limits or (float(min(train.min(), test.min())), float(max(train.max(), test.max())))
    return (low, high - low) if scaling == "unit" else ((low + high) / 2, (high - low) / 2)


def _in_units(values: Array, offset: float, scale: float, data: str) -> Array:
    """Floats are scaled in their own precision; bytes stay bytes, a quarter of the memory, until they are used."""
    if values.dtype == np.uint8:
        return values
    with np.errstate(over="ignore"):
        singles = ((values - offset) / scale).astype(np.float32)
    if not np.isfinite(singles).all():
        problem = f"{data} with values up to {np.abs(values).max():g}"
        raise InputError("data", problem, "values within the range of float32, or --scaling standard")
    return singles
