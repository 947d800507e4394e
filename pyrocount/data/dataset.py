"""Data sets split for training and testing, in the units that models see."""

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

# Names of the data sets that need no file, and of the scalings.
NAMED = ("digits", "patches", *SETS)
SCALINGS = ("standard", "unit", "symmetric", "none")


@dataclass(frozen=True)
class Dataset:
    """Observations for training and testing.

    Attributes:
        name: short name, for folders and titles.
        train: training observations, shape (N, \\*shape): float32 in the units of models, or bytes, which
            ``to_units`` converts.
        test: held-out observations, shape (M, \\*shape), of the dtype of ``train``.
        offset: number that is subtracted from the original values.
        scale: number by which the original values are divided after the subtraction.
        train_exposure: window length of each training observation, shape (N,), where it is known.
        test_exposure: window length of each held-out observation, shape (M,), where it is known.
        train_labels: class of each training observation, shape (N,), where it is known.
        test_labels: class of each held-out observation, shape (M,), where it is known.
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
        """Returns the shape of one observation."""
        return tuple(self.train.shape[1:])

    def to_units(self, x: Tensor) -> Tensor:
        """Returns observations as float32 in the units of models, to which bytes are converted."""
        return x if x.is_floating_point() else (x.float() - self.offset) / self.scale

    def train_tensors(self) -> tuple[Tensor, Tensor | None]:
        """Returns the training observations as they are kept, for ``to_units``, and their exposure."""
        exposure = self.train_exposure
        return torch.from_numpy(self.train), None if exposure is None else torch.from_numpy(exposure)

    def mean(self) -> NDArray[np.float64]:
        """Returns the mean of the training observations in the units of models, shape (1, \\*shape)."""
        mean = self.train.mean(0, keepdims=True, dtype=np.float64)
        units: NDArray[np.float64] = (mean - self.offset) / self.scale if self.train.dtype == np.uint8 else mean
        return units

    def test_units(self) -> NDArray[np.float32]:
        """Returns the held-out observations as float32 in the units of models."""
        units: NDArray[np.float32] = self.to_units(torch.from_numpy(self.test)).numpy()
        return units

    def held_out(self, number: int | None = None) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Returns the first held-out observations (by default all), in the units of models, and their exposure."""
        units: NDArray[np.float32] = self.to_units(torch.from_numpy(self.test[:number])).numpy()
        return units, None if self.test_exposure is None else self.test_exposure[:number]

    def train_units(self, number: int | None = None) -> NDArray[np.float32]:
        """Returns the first training observations (by default all), as float32 in the units of models."""
        units: NDArray[np.float32] = self.to_units(torch.from_numpy(self.train[:number])).numpy()
        return units

    def original(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Converts values from the units of models back to the original ones."""
        return values * self.scale + self.offset


@dataclass(frozen=True)
class _Raw:
    """Original values of a data set, and the limits between which they can lie, where these are known.

    Exposure and labels are those of all observations, with the training observations first.
    """

    train: Array
    test: Array | None = None
    labels: Array | None = None
    exposure: Array | None = None
    limits: tuple[float, float] | None = None


def default_scaling(data: str) -> str:
    """Returns the scaling of a data set that is used unless another one is given.

    The pixels of torchvision's sets are scaled to the ranges that the papers use.

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
    """Loads observations, sets a part aside for testing, and scales both parts.

    Args:
        data: ``"digits"``, scikit-learn's 1797 handwritten digits of 8 x 8 pixels; ``"patches"``, patches of natural
            images; a set that torchvision knows, with its official split; or the path of a ``.npy`` or ``.npz`` file.
        seed: random seed of the choice of held-out observations and of patches.
        test_fraction: fraction of the digits, or of the observations in a file, that is held out, between 0 and 1. At
            least one observation is held out, and at least one is kept. Patches and the sets of torchvision have
            splits of their own.
        scaling: ``"standard"`` (subtract the mean of the training set, divide by its standard deviation, one number
            each for the whole array), ``"unit"`` (scale the range to [0, 1]), ``"symmetric"`` (scale it to [-1, 1]) or
            ``"none"``; by default the ``default_scaling`` of the set.
        data_dir: folder in which torchvision keeps its sets; or for patches, a folder or an array file of images.
        download: whether torchvision may download a missing set.
        whiten: whether the images for patches are whitened.
        exposure: length of every observation window; by default the array ``exposure`` of an ``.npz`` file, or none.

    Raises:
        InputError: naming the argument, its value and the expected values.
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
    """Builds a data set from an array, with all of its observations both for training and for testing.

    Args:
        values: observations, shape (N, \\*shape).
        scaling: name of a scaling, as in ``load_dataset``.
        name: name of the data set, for titles and errors.

    Raises:
        InputError: naming ``scaling``, if it is unknown, or ``data``, if the values do not vary but are to be scaled.
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
    """Returns the offset and the scale of a data set."""
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
    """Scales floats in their own precision; returns bytes as they are, since they take a quarter of the memory."""
    if values.dtype == np.uint8:
        return values
    with np.errstate(over="ignore"):
        singles = ((values - offset) / scale).astype(np.float32)
    if not np.isfinite(singles).all():
        problem = f"{data} with values up to {np.abs(values).max():g}"
        raise InputError("data", problem, "values within the range of float32, or --scaling standard")
    return singles
