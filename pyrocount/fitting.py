"""What the command that fits needs of a kind of model, whichever backend it is in."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from pyrocount.config import Config
from pyrocount.data import Dataset
from pyrocount.errors import InputError
from pyrocount.evaluate import Evaluation
from pyrocount.inference import anneal
from pyrocount.models import Likelihood
from pyrocount.run import RunFolder

# Temperature and KL weight at the start of training; Pyro scales only by positive numbers.
FIRST_TEMPERATURE = 1.0
FIRST_KL_WEIGHT = 1e-4
# Held-out observations that the history follows; the final figures use more.
MONITORED = 1000

History = Sequence[Mapping[str, float]]


class Fitting(ABC):
    """A model with fresh weights, its data, and how it is trained and measured."""

    @abstractmethod
    def check(self) -> None:
        """Checks that the likelihood takes the data.

        Raises:
            InputError: naming ``data``.
        """

    @abstractmethod
    def evaluate(self, quick: bool = False) -> Evaluation:
        """Figures of held-out data; of some of them, more cheaply, to follow training."""

    @abstractmethod
    def train(
        self,
        monitor: Callable[[], Mapping[str, float]],
        save: Callable[[dict[str, Any]], None],
        checkpoint: dict[str, Any] | None,
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


def check_support(config: Config, data: Dataset, likelihood: Likelihood) -> None:
    """Checks that a likelihood takes the data.

    Raises:
        InputError: naming ``data``.
    """
    for part in chain(*(torch.from_numpy(part).split(10_000) for part in (data.train, data.test))):
        if not likelihood.accepts(data.to_units(part)):
            problem = f"{config.data}, whose values are not all {likelihood.support}"
            raise InputError("data", problem, f"such values for --likelihood {config.likelihood}")


def annealed(config: Config, progress: float) -> dict[str, float]:
    """Weight of the KL divergence and temperature at a progress of training from 0 to 1."""
    exponential = config.temperature_schedule == "exponential"
    return {
        "kl_weight": anneal(FIRST_KL_WEIGHT, config.beta, progress, config.anneal),
        "temperature": anneal(FIRST_TEMPERATURE, config.temperature, progress, config.anneal, exponential),
    }
