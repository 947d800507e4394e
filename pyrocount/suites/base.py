"""Evaluation context and results of the suites."""

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pyrocount.backends import Backend, Evaluation, derived_seed
from pyrocount.backends.evaluation import Array
from pyrocount.data import Dataset, Units, parts
from pyrocount.diagnostics import Check
from pyrocount.errors import InputError
from pyrocount.metrics.representation import Labels, MeanInterval, mean_interval

from .protocols import DEFAULT, Protocol

if TYPE_CHECKING:
    from xarray import DataTree

# Parts of the channels, each of which is predicted from the others, and posterior samples of a prediction.
PARTS, PREDICTIONS = 5, 20


@dataclass(frozen=True)
class EvaluationContext:
    """A fitted model with its data, and the sizes of its evaluation.

    Attributes:
        model: the model.
        beta: weight of the KL divergence in its training.
        data: the data of its run.
        observations: number of held-out observations that are taken, at random where they are not all.
        train_observations: number of training observations that probes learn from.
        samples: number of posterior samples of each observation, for importance weights.
        checked: number of observations and simulations of the diagnostics.
        images: numbers of images, for each of which there is a FID.
        inception_weights: weights of Inception, see ``pyrocount.metrics.generation``.
        held_out: part of the channels that co-smoothing holds out, or their names.
        seed: seed of all samples.
        restarts: other fits of the model, by name.
        progress: whether to show progress bars.
        protocol: choices in which publications differ.
    """

    model: Backend
    beta: float
    data: Dataset
    observations: int
    train_observations: int
    samples: int
    checked: int
    images: tuple[int, ...]
    inception_weights: str | None
    held_out: float | tuple[str, ...]
    seed: int
    restarts: dict[str, Backend] = field(default_factory=dict)
    progress: bool = False
    protocol: Protocol = DEFAULT

    @property
    def is_images(self) -> bool:
        """Returns whether an observation is an image."""
        return len(self.data.shape) == 3

    @property
    def is_recording(self) -> bool:
        """Returns whether an observation is one of channels of counts."""
        return len(self.data.shape) == 1 and self.model.observes_counts

    def require_channels(self) -> None:
        """Checks that an observation has channels of counts that can be predicted from each other.

        Raises:
            InputError: if it is something else, or has a single channel.
        """
        if not self.is_recording or self.data.shape[0] < 2:
            what = "counts" if self.model.observes_counts else "real values"
            problem = f"{self.data.name}, observations of {what} of shape {self.data.shape}"
            raise InputError("data", problem, "a recording of counts of at least 2 channels")

    def require_labels(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Returns the labels of all training observations and of the held-out ones that are taken.

        Raises:
            InputError: naming ``data``, if they are not known.
        """
        taught, tested = self.data.train_labels, self.test_labels
        if taught is None or tested is None:
            raise InputError("data", f"{self.data.name} without labels", "labels, in an array 'labels' of the file")
        return taught, tested

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """Returns the held-out observations that are taken, at random: the easy ones of some sets come first."""
        return np.random.default_rng(self.seed).permutation(len(self.data.test))[: self.observations]

    def test(self, number: int | None = None) -> tuple[Array, Array | None]:
        """Returns a number of held-out observations, in the units of models, and their exposure where there is one."""
        rows, exposure = self.rows[:number], self.data.test_exposure
        return self.data.test_view[rows], None if exposure is None else exposure[rows]

    def training(self, most: int | None = None) -> tuple[Array, Array | None]:
        """Returns the training observations that probes learn from, and their exposure, as ``test`` does.

        Args:
            most: largest number of them.
        """
        exposure = self.data.train_exposure
        x = self.data.train_view[: min(self.train_observations, most or self.train_observations)]
        return x, None if exposure is None else exposure[: len(x)]

    @cached_property
    def training_codes(self) -> tuple[Array, Labels] | None:
        """Returns the codes (N, K) and labels (N,) that probes learn from, without codes that are not finite.

        None where training observations have no labels.
        """
        labels = self.data.train_labels
        if labels is None:
            return None
        codes = self.model.code(*self.training(), seed=self.seed, progress=self.progress)
        finite = np.isfinite(codes).all(1)
        return codes[finite], labels[: len(codes)][finite]

    @property
    def channels(self) -> list[str]:
        """Returns the names of the channels of a recording; by default their numbers."""
        return list(self.data.channels or map(str, range(self.data.shape[0])))

    @property
    def real_images(self) -> Units:
        """Returns the images with which generated ones are compared."""
        return self.data.train_view if self.protocol.fid_images == "training" else self.data.test_view

    @property
    def test_labels(self) -> NDArray[np.int64] | None:
        """Returns the labels of the held-out observations, shape (N,), where they are known."""
        return None if self.data.test_labels is None else self.data.test_labels[self.rows]

    @property
    def label_names(self) -> list[str]:
        """Returns the names of the labels that held-out observations have, in their order."""
        known = [] if self.test_labels is None else np.unique(self.test_labels).tolist()
        return [str(label) if self.data.label_names is None else self.data.label_names[label] for label in known]

    def names(self, number: int | None = None) -> list[Any]:
        """Returns the names of a number of held-out observations: their trials, with the bin where there are several.

        An observation of a set without trials is named by its number in the set.
        """
        rows, trials, times = self.rows[:number], self.data.test_trials, self.data.test_times
        if trials is None:
            return rows.tolist()
        if times is None:
            return trials[rows].tolist()
        return [f"{trial}, bin {bin_}" for trial, bin_ in zip(trials[rows], times[rows], strict=True)]

    def windows(self, number: int) -> Array | None:
        """Returns lengths of windows for a number of prior draws, those of held-out data; None where all are 1."""
        exposure = self.data.test_exposure
        return None if exposure is None else np.resize(exposure[self.rows], number)

    @cached_property
    def evaluation(self) -> Evaluation:
        """Returns the evaluation of the held-out observations by exact samples."""
        return self.model.evaluate(*self.test(), beta=self.beta, seed=self.seed)

    @cached_property
    def log_weights(self) -> Array:
        """Returns log importance weights of the checked observations, shape (S, N); see ``Backend.log_weights``."""
        checked = self.test(self.checked)
        return self.model.log_weights(*checked, samples=self.samples, seed=self.seed, progress=self.progress)

    @cached_property
    def rates_from_others(self) -> Array:
        """Returns rates of the held-out counts per unit of exposure, each channel predicted from the others, (N, C).

        A fifth of the channels at a time is hidden from the encoder, or from iterative inference, and the decoder
        predicts it.
        """
        x, exposure = self.test()
        part = np.random.default_rng(self.seed).permutation(x.shape[1]) % min(PARTS, x.shape[1])
        rates = np.empty(x.shape)
        for number in np.unique(part):
            seen, hidden = x.copy(), part == number
            seen[:, hidden] = np.nan
            rates[:, hidden] = self.rates(seen, exposure, derived_seed(self.seed, 6, int(number)))[:, hidden]
        return rates

    def rates(self, x: Array, exposure: Array | None, seed: int) -> Array:
        """Returns the means that the model predicts of counts, per unit of exposure, shape (N, C)."""
        means = self.model.predictions(x, exposure, samples=PREDICTIONS, seed=seed)
        return means if exposure is None else means / exposure[:, None]

    def unit_range(self, values: Array) -> Array:
        """Returns values in the units of models as numbers between 0 and 1 over the range of the original data.

        The range is that of the held-out and training data together.
        """
        low, high = self._range()
        return (values - low) / (high - low)

    def _range(self) -> tuple[float, float]:
        offset, scale = self.data.offset, self.data.scale
        if self.data.train.dtype == np.uint8:
            return -offset / scale, (255 - offset) / scale
        limits = [
            (float(np.nanmin(part)), float(np.nanmax(part)))
            for part in chain(parts(self.data.train), parts(self.data.test))
        ]
        low, high = min(low for low, _ in limits), max(high for _, high in limits)
        return ((low - offset) / scale, (high - offset) / scale) if self.data.is_original else (low, high)


@dataclass(frozen=True)
class Table:
    """Table of text and numbers in a report.

    Attributes:
        title: title of the table.
        header: names of the columns.
        rows: cells of each row.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str | float]]


@dataclass
class Result:
    """Results of a suite.

    Attributes:
        metrics: numbers, and means with their 95 % intervals, by name.
        tables: results of more than a number each.
        checks: numbers with thresholds.
        figures: figures by name.
        remarks: parts that could not be done, and why, a line each.
        posterior: samples for ArviZ, where the suite has any.
    """

    metrics: dict[str, float | MeanInterval] = field(default_factory=dict)
    tables: list[Table] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    figures: dict[str, Figure] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    posterior: "DataTree | None" = None

    @contextmanager
    def attempt(self, part: str) -> Iterator[None]:
        """Runs a part of the suite in the block; bad input there becomes a remark, and the suite goes on."""
        try:
            yield
        except InputError as error:
            self.remarks.append(f"{part}: {error}")
            print(f"  {self.remarks[-1]}", file=sys.stderr)

    def to_json(self) -> dict[str, Any]:
        """Returns all but the samples and the figures, of which it returns the names."""
        return {
            "metrics": {
                name: {"mean": value.mean, "low": value.low, "high": value.high, "repeats": len(value.runs)}
                if isinstance(value, MeanInterval)
                else value
                for name, value in self.metrics.items()
            },
            "tables": [
                {"title": table.title, "header": list(table.header), "rows": [list(row) for row in table.rows]}
                for table in self.tables
            ],
            "checks": [vars(check) | {"verdict": check.verdict} for check in self.checks],
            "figures": list(self.figures),
            "remarks": self.remarks,
        }


def mean_over(values: NDArray[np.floating[Any]], *, some: bool = False) -> MeanInterval:
    """Returns the mean over observations, with its 95 % interval.

    Args:
        values: values of the observations.
        some: whether observations without a value, NaN, are left out.
    """
    known = values.astype(np.float64)
    known = known[~np.isnan(known)] if some else known
    if not len(known) or not np.isfinite(known).all():
        return MeanInterval(float(known.mean()) if len(known) else math.nan, math.nan, math.nan, tuple(known.tolist()))
    return mean_interval(known.tolist())
