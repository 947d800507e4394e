"""What the command that fits needs of a kind of model, whichever backend it is in."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrocount import figures
from pyrocount.config import Config
from pyrocount.data import Dataset
from pyrocount.errors import InputError
from pyrocount.evaluation import Array, Evaluation
from pyrocount.inference import anneal
from pyrocount.models import Likelihood
from pyrocount.run import RunFolder

# Temperature and KL weight at the start of training; Pyro scales only by positive numbers.
FIRST_TEMPERATURE = 1.0
FIRST_KL_WEIGHT = 1e-4
# Held-out observations that the history follows; the final figures use more.
MONITORED = 1000
# From which observations those in the pictures are taken.
DRAWN = 100

History = Sequence[Mapping[str, float]]


class Fitting(ABC):
    """A model with fresh weights, its data, and how it is trained and measured.

    Attributes:
        config: resolved.
        data: to train and to test with.
        likelihood: of the data.
    """

    config: Config
    data: Dataset
    likelihood: Likelihood

    def check(self) -> None:
        """Checks that the likelihood takes the data.

        Raises:
            InputError: naming ``data``.
        """
        config, data = self.config, self.data
        for part in chain(*(torch.from_numpy(part).split(10_000) for part in (data.train, data.test))):
            if not self.likelihood.accepts(data.to_units(part)):
                problem = f"{config.data}, whose values are not all {self.likelihood.support}"
                raise InputError("data", problem, f"such values for --likelihood {config.likelihood}")

    @abstractmethod
    def evaluate(self, quick: bool = False) -> Evaluation:
        """Figures of held-out data; of some of them, more cheaply, to follow training."""

    @abstractmethod
    def train(
        self,
        monitor: Callable[[], Mapping[str, float]],
        save: Callable[[dict[str, Any]], None],
        checkpoint: dict[str, Any] | None,
        progress: bool = True,
    ) -> History:
        """Trains from the start or from a checkpoint; see the training loops in ``inference``."""

    @abstractmethod
    def weights(self) -> dict[str, Tensor]:
        """What is saved of the fitted model."""

    @abstractmethod
    def draw(self, run: RunFolder, final: Evaluation, history: History) -> None:
        """Puts the pictures into the run folder."""

    def remarks(self, final: Evaluation) -> list[str]:
        """What the user should know about the result, in lines."""
        return []


def draw_model(
    run: RunFolder,
    x: Array,
    samples: Array,
    atoms: Array,
    final: Evaluation,
    history: History,
    has_counts: bool,
    config: Config,
    objective: str = "training",
) -> None:
    """The pictures of every model: reconstructions, samples, dictionary, training curves, histograms of counts.

    Args:
        run: the folder.
        x: held-out data in units, shape (N, \\*shape).
        samples: of the prior, decoded, shape (S, \\*shape).
        atoms: the dictionary, shape (K, \\*shape).
        final: figures of the held-out data.
        history: of training.
        has_counts: whether the latents are counts.
        config: resolved.
        objective: name of what training minimises.
    """
    by_information = np.argsort(-final.latent_kl)
    shown = x[:DRAWN]
    limits = float(shown.min()), float(shown.max())
    run.save_figure("reconstructions", figures.reconstructions(shown, final.reconstructions[:DRAWN]))
    run.save_figure("samples", figures.samples(samples, limits=limits))
    run.save_figure("dictionary", figures.dictionary(atoms[by_information]))
    objective += " (annealed, relaxed)" if config.relaxation_options else " (annealed)"
    without = () if config.relaxation_options else ("temperature",)
    rows = [{name: value for name, value in row.items() if name not in without} for row in history]
    run.save_figure("training", figures.training_curves(rows, objective))
    if has_counts:
        run.save_figure("counts", figures.count_histograms(final.counts, by_information[:8].tolist()))


def annealed(config: Config, progress: float) -> dict[str, float]:
    """Weight of the KL divergence and temperature at a progress of training from 0 to 1."""
    exponential = config.temperature_schedule == "exponential"
    return {
        "kl_weight": anneal(FIRST_KL_WEIGHT, config.beta, progress, config.anneal),
        "temperature": anneal(FIRST_TEMPERATURE, config.temperature, progress, config.anneal, exponential),
    }
