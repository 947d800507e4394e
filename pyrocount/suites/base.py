"""What suites work on, and what they give."""

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pyrocount.adapters import Adapter
from pyrocount.config import Config
from pyrocount.data import Dataset
from pyrocount.diagnostics import Check
from pyrocount.errors import InputError
from pyrocount.evaluation import Array, Evaluation
from pyrocount.metrics.representation import Estimate, estimate

if TYPE_CHECKING:
    from xarray import DataTree


@dataclass(frozen=True)
class Subject:
    """A fitted model with held-out data, and how much is to be done with it.

    Attributes:
        adapter: the model.
        config: of its run, resolved.
        data: of its run.
        observations: held-out ones that are taken, at random where they are not all.
        train_observations: those of training that probes learn from.
        samples: of the posterior of each observation, for importance weights.
        checked: observations and simulations of the diagnostics.
        images: numbers of them for each of which there is a FID.
        inception_weights: see ``pyrocount.metrics.generation``.
        seed: of all samples.
        restarts: other fits of the model, by name.
        progress: whether to show progress bars.
    """

    adapter: Adapter
    config: Config
    data: Dataset
    observations: int
    train_observations: int
    samples: int
    checked: int
    images: tuple[int, ...]
    inception_weights: str | None
    seed: int
    restarts: dict[str, Adapter] = field(default_factory=dict)
    progress: bool = False

    @property
    def is_images(self) -> bool:
        """Whether an observation is an image."""
        return len(self.data.shape) == 3

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """Which of the held-out observations are taken: the easy ones of some sets come first."""
        return np.random.default_rng(self.seed).permutation(len(self.data.test))[: self.observations]

    def test(self, number: int | None = None) -> tuple[Array, Array | None]:
        """So many of the held-out observations, in the units of models, and their exposure where there is one."""
        rows, exposure = self.rows[:number], self.data.test_exposure
        return self.data.test_units()[rows], None if exposure is None else exposure[rows]

    def windows(self, number: int) -> Array | None:
        """Lengths of windows for so many draws of the prior, those of held-out observations; None where all are 1."""
        exposure = self.data.test_exposure
        return None if exposure is None else np.resize(exposure[self.rows], number)

    @cached_property
    def evaluation(self) -> Evaluation:
        """Figures of exact samples of the held-out observations."""
        return self.adapter.evaluate(*self.test(), beta=self.config.beta, seed=self.seed)

    @cached_property
    def log_weights(self) -> Array:
        """Log importance weights of the observations that are checked, shape (S, N); see ``Adapter.log_weights``."""
        checked = self.test(self.checked)
        return self.adapter.log_weights(*checked, samples=self.samples, seed=self.seed, progress=self.progress)

    def unit_range(self, values: Array) -> Array:
        """Values in the units of models, between 0 and 1 over the range of the original data.

        It is that of the held-out and training data together.
        """
        low, high = self._range()
        return (values - low) / (high - low)

    def _range(self) -> tuple[float, float]:
        offset, scale = self.data.offset, self.data.scale
        if self.data.train.dtype == np.uint8:
            return -offset / scale, (255 - offset) / scale
        parts = self.data.train, self.data.test
        return float(min(part.min() for part in parts)), float(max(part.max() for part in parts))


@dataclass(frozen=True)
class Table:
    """Rows of text and numbers, as a report shows them.

    Attributes:
        title: above it.
        header: names of the columns.
        rows: cells.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str | float]]


@dataclass
class Result:
    """What a suite finds.

    Attributes:
        figures: numbers, and means with their 95 % intervals, by name.
        tables: of more than a number each.
        checks: numbers with thresholds.
        pictures: by name.
        remarks: what could not be done, and why, in lines.
        posterior: samples for ArviZ, where the suite has any.
    """

    figures: dict[str, float | Estimate] = field(default_factory=dict)
    tables: list[Table] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    pictures: dict[str, Figure] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    posterior: "DataTree | None" = None

    @contextmanager
    def attempt(self, what: str) -> Iterator[None]:
        """A part of the suite; what stands in its way becomes a remark, and the suite goes on."""
        try:
            yield
        except InputError as error:
            self.remarks.append(f"{what}: {error}")
            print(f"  {self.remarks[-1]}", file=sys.stderr)

    def to_json(self) -> dict[str, Any]:
        """All but the samples and the pictures, of which there are the names."""
        return {
            "figures": {
                name: {"mean": value.mean, "low": value.low, "high": value.high, "repeats": len(value.runs)}
                if isinstance(value, Estimate)
                else value
                for name, value in self.figures.items()
            },
            "tables": [
                {"title": table.title, "header": list(table.header), "rows": [list(row) for row in table.rows]}
                for table in self.tables
            ],
            "checks": [vars(check) | {"verdict": check.verdict} for check in self.checks],
            "pictures": list(self.pictures),
            "remarks": self.remarks,
        }


def mean_over(values: NDArray[np.floating[Any]], *, some: bool = False) -> Estimate:
    """The mean over observations, with its 95 % interval.

    Args:
        values: of the observations.
        some: whether those that have none, NaN, are left out.
    """
    known = values.astype(np.float64)
    known = known[~np.isnan(known)] if some else known
    if not len(known) or not np.isfinite(known).all():
        return Estimate(float(known.mean()) if len(known) else math.nan, math.nan, math.nan, tuple(known.tolist()))
    return estimate(known.tolist())
