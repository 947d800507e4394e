"""Data sets split for training and testing, in the units that models see."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyrocount.errors import InputError

from .files import SMALL, Observations, read_observations
from .options import NAMED, TEST_FRACTION, FileOptions, PatchOptions
from .patches import load_patches
from .paths import user_path
from .rows import Rows, TensorRows, Units, as_tensor, in_files, parts
from .splits import block_rows, group_rows, marked_rows, random_rows
from .vision import SETS, load_vision

Array = NDArray[Any]

# Dtypes whose numbers float32 holds.
SINGLE = (torch.float32, torch.float16, torch.uint8, torch.int8, torch.int16, torch.bool)
# Names of the scalings.
SCALINGS = ("standard", "unit", "symmetric", "none")


@dataclass(frozen=True)
class Dataset:
    """Observations for training and testing.

    Attributes:
        name: short name, for folders and titles.
        train: training observations, shape (N, \\*shape): float32 in the units of models; or original values, which
            ``to_units`` converts, as whole numbers of one or two bytes or as rows of a large file.
        test: held-out observations, shape (M, \\*shape), as ``train``.
        offset: number that is subtracted from the original values.
        scale: number by which the original values are divided after the subtraction.
        train_exposure: window length of each training observation, shape (N,), where it is known.
        test_exposure: window length of each held-out observation, shape (M,), where it is known.
        train_labels: class of each training observation, shape (N,), where it is known.
        test_labels: class of each held-out observation, shape (M,), where it is known.
        label_names: names of the classes 0, 1 and so on, where they are not whole numbers.
        channels: names of the features, where they are known.
        train_trials: trial of each training observation, shape (N,); its number in the file, if that has no trials.
        test_trials: trial of each held-out observation, shape (M,).
        train_times: number of the bin of each training observation in its trial, shape (N,), for several bins a trial.
        test_times: the same of each held-out observation, shape (M,).
        train_velocity: velocity at each training observation, shape (N, components), where it is known.
        test_velocity: the same of each held-out observation, shape (M, components).
        look_like_counts: whether the original values are a table of nonnegative whole numbers, some of them above 1.
    """

    name: str
    train: Array | Rows
    test: Array | Rows
    offset: float = 0.0
    scale: float = 1.0
    train_exposure: NDArray[np.float32] | None = None
    test_exposure: NDArray[np.float32] | None = None
    train_labels: NDArray[np.int64] | None = None
    test_labels: NDArray[np.int64] | None = None
    label_names: tuple[str, ...] | None = None
    channels: tuple[str, ...] | None = None
    train_trials: Array | None = None
    test_trials: Array | None = None
    train_times: NDArray[np.int64] | None = None
    test_times: NDArray[np.int64] | None = None
    train_velocity: NDArray[np.float64] | None = None
    test_velocity: NDArray[np.float64] | None = None
    look_like_counts: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Returns the shape of one observation."""
        return tuple(self.train.shape[1:])

    @property
    def is_original(self) -> bool:
        """Returns whether observations are kept as original values, which ``to_units`` converts."""
        return isinstance(self.train, Rows) or self.train.dtype.kind != "f"

    def to_units(self, x: Tensor) -> Tensor:
        """Returns observations, as they are kept, as float32 in the units of models."""
        if not self.is_original:
            return x
        # The original values of other dtypes may not be numbers of float32.
        precise = x.float() if x.dtype in SINGLE else x.double()
        return ((precise - self.offset) / self.scale).float()

    def train_tensors(self) -> tuple[Tensor | TensorRows, Tensor | None]:
        """Returns the training observations as they are kept, for ``to_units``, and their exposure.

        Those in a file are in the order of the file, in which they are read fastest one after the other.
        """
        train, exposure = self.train, self.train_exposure
        if isinstance(train, Rows):
            train, order = train.in_file_order()
            exposure = None if exposure is None else exposure[order]
        return as_tensor(train), None if exposure is None else torch.from_numpy(exposure)

    def remarks(self, as_counts: bool) -> list[str]:
        """Returns warnings about a table of counts that looks as if something else was meant, a line each.

        Args:
            as_counts: whether the observation distribution is one of counts.
        """
        found, number = [], len(self.train) + len(self.test)
        if self.look_like_counts and not as_counts:
            found.append("whole numbers, but noise that is not of counts; spikes want --likelihood poisson or negbio")
        if self.look_like_counts and number < self.shape[0]:
            sizes = f"{number} observations of {self.shape[0]} features"
            found.append(f"{sizes}; if the rows of the array are channels, transpose it")
        return [f"warning: {self.name}: {remark}" for remark in found]

    def mean(self) -> NDArray[np.float64]:
        """Returns the mean of the training observations in the units of models, shape (1, \\*shape)."""
        total = sum(part.sum(0, keepdims=True, dtype=np.float64) for part in parts(self.train))
        mean: NDArray[np.float64] = total / len(self.train)
        return (mean - self.offset) / self.scale if self.is_original else mean

    @property
    def train_view(self) -> Units:
        """Returns the training observations, as float32 in the units of models when they are read."""
        return Units(self.train, self.to_units)

    @property
    def test_view(self) -> Units:
        """Returns the held-out observations, as float32 in the units of models when they are read."""
        return Units(self.test, self.to_units)

    def train_units(self, number: int | None = None) -> NDArray[np.float32]:
        """Returns the first training observations (by default all), as float32 in the units of models."""
        return self.train_view[:number]

    def test_units(self) -> NDArray[np.float32]:
        """Returns the held-out observations as float32 in the units of models."""
        return self.test_view[:]

    def held_out(
        self, number: int | None = None, rows: slice | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Returns held-out observations, in the units of models, and their exposure: the first, some rows, or all."""
        rows = slice(number) if rows is None else rows
        return self.test_view[rows], None if self.test_exposure is None else self.test_exposure[rows]

    def original(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Converts values from the units of models back to the original ones."""
        return values * self.scale + self.offset


@dataclass(frozen=True)
class _Raw(Observations):
    """Original values of a data set.

    Attributes:
        values: observations, or those for training where there is an official split, of any dtype.
        labels: class of each observation.
        test: observations for testing of an official split; what describes observations lists them behind the others.
        limits: limits between which the values can lie, where these are known.
    """

    values: Array
    labels: Array | None = None
    test: Array | None = None
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
    test_fraction: float | None = None,
    scaling: str | None = None,
    data_dir: str | None = None,
    download: bool = False,
    whiten: bool = True,
    exposure: float | None = None,
    file: FileOptions | None = None,
    split: str | None = None,
    patches: PatchOptions | None = None,
) -> Dataset:
    """Loads observations, sets a part aside for testing, and scales both parts.

    Args:
        data: ``"digits"``, scikit-learn's 1797 handwritten digits of 8 x 8 pixels; ``"patches"``, patches of natural
            images; a set that torchvision knows, with its official split; or the path of a file, see ``DataOptions``.
        seed: random seed of the choice of held-out observations and of patches.
        test_fraction: fraction of the digits, of the observations in a file, or of the images for patches that is held
            out, between 0 and 1; by default a fifth. At least one is held out, and at least one is kept. The sets of
            torchvision have splits of their own.
        scaling: ``"standard"`` (subtract the mean of the training set, divide by its standard deviation, one number
            each for the whole array), ``"unit"`` (scale the range to [0, 1]), ``"symmetric"`` (scale it to [-1, 1]) or
            ``"none"``; by default the ``default_scaling`` of the set.
        data_dir: folder in which torchvision keeps its sets; or for patches, a folder or an array file of images, see
            ``load_patches``.
        download: whether torchvision may download a missing set.
        whiten: whether the images for patches are whitened.
        exposure: length of every observation window; by default the array ``exposure`` of a file, or none.
        file: names of the arrays or columns of a file, and what becomes of its bins and missing values.
        split: ``"random"`` (the default), which keeps groups and trials of several bins whole, ``"block"``, or the path
            of a file that marks held-out observations, see ``splits``; for patches ``"image"`` or ``"part"``, see
            ``load_patches``.
        patches: numbers of patches, and whether they are tiles.

    Raises:
        InputError: naming the argument, its value and the expected values.
    """
    scaling = default_scaling(data) if scaling is None else scaling
    if scaling not in SCALINGS:
        raise InputError("scaling", repr(scaling), f"one of {', '.join(SCALINGS)}")
    cut = partial(
        load_patches,
        data_dir,
        seed=seed,
        whiten_images=whiten,
        split=split,
        test_fraction=test_fraction,
        options=patches,
    )
    raw = _load(data, data_dir, download, file, cut)
    name = data if data in NAMED else Path(data).stem
    values, exposures = raw.values, raw.exposure
    if exposure is not None:
        exposures = np.full(len(values) + (0 if raw.test is None else len(raw.test)), exposure)
    train: Array | Rows
    test: Array | Rows
    if raw.test is None:
        fraction = TEST_FRACTION if test_fraction is None else test_fraction
        rows = _split(raw, split or "random", fraction, seed)
        train, test = (Rows(values, part) if in_files(values) else values[part] for part in rows)
    else:
        train, test = values, raw.test
        rows = np.arange(len(train)), np.arange(len(train), len(train) + len(test))
    beside: list[Any] = [
        None if values is None else values[part].astype(dtype)
        for values, dtype in ((exposures, np.float32), (raw.labels, np.int64))
        for part in rows
    ]
    trials = np.arange(sum(map(len, rows))) if raw.trials is None else raw.trials
    beside += [raw.label_names, raw.channels, *(trials[part] for part in rows)]
    beside += [None if values is None else values[part] for values in (raw.times, raw.velocity) for part in rows]
    offset, scale = _scaling(scaling, train, test, raw.limits, data)
    train, test = (_in_units(part, offset, scale, data) for part in (train, test))
    beside.append(data not in NAMED and _look_like_counts(raw.values))
    return Dataset(name, train, test, offset, scale, *beside)


def from_array(
    values: Array, *, scaling: str = "standard", name: str = "array", exposure: NDArray[np.float32] | None = None
) -> Dataset:
    """Builds a data set from an array, with all of its observations both for training and for testing.

    Args:
        values: observations, shape (N, \\*shape).
        scaling: name of a scaling, as in ``load_dataset``.
        name: name of the data set, for titles and errors.
        exposure: length of each observation's window, shape (N,), where it is known.

    Raises:
        InputError: naming ``scaling``, if it is unknown, or ``data``, if the values do not vary but are to be scaled.
    """
    if scaling not in SCALINGS:
        raise InputError("scaling", repr(scaling), f"one of {', '.join(SCALINGS)}")
    offset, scale = _scaling(scaling, values, values, None, name)
    units = _in_units(values, offset, scale, name)
    return Dataset(name, units, units, offset, scale, exposure, exposure)


def _split(raw: _Raw, split: str, fraction: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns the numbers of the observations for training, and of those that are held out."""
    number = len(raw.values)
    if split not in ("random", "block"):
        return marked_rows(user_path(split, "split"), number)
    if raw.groups is not None:
        return group_rows(raw.groups, fraction, seed, "groups")
    if split == "block":
        return block_rows(number, fraction, seed)
    if raw.times is not None and raw.trials is not None and len(np.unique(raw.trials)) > 1:
        return group_rows(raw.trials, fraction, seed, "trials")
    return random_rows(number, fraction, seed)


def _load(
    data: str,
    data_dir: str | None,
    download: bool,
    file: FileOptions | None,
    cut_patches: Callable[[], tuple[Array, Array]],
) -> _Raw:
    if data == "digits":
        from sklearn.datasets import load_digits

        digits = load_digits()
        return _Raw(digits.images.astype(np.float32)[:, None], labels=digits.target, limits=(0.0, 16.0))
    if data == "patches":
        train, test = cut_patches()
        return _Raw(train, test=test)
    if data in SETS:
        images, tested, labels = load_vision(data, data_dir, download)
        return _Raw(images, labels=labels, test=tested, limits=(0.0, 255.0))
    if not data or (not Path(data).suffix and not user_path(data).is_dir()):
        raise InputError("data", repr(data), f"one of {', '.join(NAMED)}, or a file")
    return _Raw(**vars(read_observations(user_path(data), file)))


def _look_like_counts(values: Array) -> bool:
    def whole(part: Array) -> bool:
        return part.dtype.kind in "iu" or bool((np.isnan(part) | (part == np.round(part))).all())

    some = False
    for part in parts(values) if values.ndim == 2 else ():
        if (part < 0).any() or not whole(part):
            return False
        some = some or bool((part > 1).any())
    return some


def _scaling(
    scaling: str, train: Array | Rows, test: Array | Rows, limits: tuple[float, float] | None, data: str
) -> tuple[float, float]:
    """Returns the offset and the scale of a data set."""
    if scaling == "none":
        return 0.0, 1.0
    lowest, highest = _limits(train)
    if lowest == highest:
        problem = f"{data}, whose training values are all {lowest:g}"
        raise InputError("data", problem, "values that vary, or --scaling none")
    if scaling == "standard":
        return _moments(train)
    if limits is None:
        others = _limits(test)
        limits = min(lowest, others[0]), max(highest, others[1])
    low, high = limits
    return (low, high - low) if scaling == "unit" else ((low + high) / 2, (high - low) / 2)


def _limits(values: Array | Rows) -> tuple[float, float]:
    """Returns the smallest and the largest value."""
    each = [(float(part.min()), float(part.max())) for part in parts(values)]
    return min(low for low, _ in each), max(high for _, high in each)


def _moments(values: Array | Rows) -> tuple[float, float]:
    """Returns the mean and the standard deviation of all values, some observations at a time."""
    mean = sum(float(part.sum(dtype=np.float64)) for part in parts(values)) / values.size
    squares = sum(float(np.square(part - mean, dtype=np.float64).sum()) for part in parts(values))
    return mean, float(np.sqrt(squares / values.size))


def _in_units(values: Array | Rows, offset: float, scale: float, data: str) -> Array | Rows:
    """Scales floats in their own precision; returns small whole numbers, and rows of a file, as they are."""
    if values.dtype in SMALL:
        return values

    def singles(part: Array) -> Array:
        with np.errstate(over="ignore"):
            converted = ((part - offset) / scale).astype(np.float32)
        if np.isinf(converted).any():
            problem = f"{data} with values up to {np.abs(part).max():g}"
            raise InputError("data", problem, "values within the range of float32, or --scaling standard")
        return converted

    if not isinstance(values, Rows):
        return singles(values)
    if values.dtype == np.float64:
        for part in parts(values):
            singles(part)
    return values
