"""Base class of the two families of latent counts, Poisson and negative binomial."""

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pyrocount.distributions import ArrivalTimes, Discrete, Relaxation, relaxations
from pyrocount.errors import InputError
from pyrocount.options import Options

from ..options import CountOptions, LatentOptions, RelaxationOptions, make_relaxation
from .base import Latent

# Bound from the papers: log rates stay below 5, log total_counts and logits within +-5, so that no count explodes.
LIMIT = 5.0
# Mean count of a latent under the prior at the start of training, unless another is given, and the spread of its
# logarithm to each side.
INITIAL_RATE, INITIAL_SPREAD = 0.5, 0.5


def initial_log_rates(
    latent_dim: int, initial_rate: float = INITIAL_RATE, initial_spread: float = INITIAL_SPREAD
) -> Tensor:
    """Draws log rates (K,) uniformly from within a spread of the logarithm of the initial rate.

    Raises:
        InputError: if the initial rate is not positive, or if a log rate could exceed ``LIMIT``.
    """
    largest = math.exp(LIMIT - initial_spread)
    if not 0 < initial_rate < largest:
        raise InputError("initial_rate", initial_rate, f"a positive number below {largest:.3g}")
    return math.log(initial_rate) + initial_spread * (2 * torch.rand(latent_dim) - 1)


def chosen_relaxation(options: Options) -> Relaxation:
    """Returns the relaxation by which the options of a model sample counts in training."""
    relaxation: Relaxation = make_relaxation(options[LatentOptions].estimator, options[RelaxationOptions], relaxations)
    return relaxation


def chosen_start(options: Options) -> tuple[float, float]:
    """Returns the mean count of a latent under the prior at the start of training, and the spread of its logarithm."""
    chosen = options[CountOptions]
    spread = INITIAL_SPREAD if chosen.initial_spread is None else chosen.initial_spread
    return chosen.initial_rate or INITIAL_RATE, spread


class CountLatent(Latent):
    """Family of K latent counts, which are exact integers in evaluation mode.

    Attributes:
        relaxation: relaxation that samples counts in training mode; may be replaced between steps.
    """

    def __init__(self, latent_dim: int, relaxation: Relaxation) -> None:
        super().__init__(latent_dim)
        self.relaxation = relaxation

    @property
    def current_relaxation(self) -> Relaxation:
        """Returns the relaxation in training mode, and ``Discrete()`` in evaluation mode."""
        return self.relaxation if self.training else Discrete()

    def mean_of_code(self, code: Tensor) -> Tensor:
        """Returns the mean counts (N, K) of posteriors with these codes (N, K).

        A code is the logarithm of the ratio of the posterior mean to the prior mean.
        """
        mean: Tensor = self.prior().counts.mean * code.exp()
        return mean

    def set_temperature(self, temperature: float) -> None:
        """Sets the temperature of the relaxation; a relaxation without a temperature stays as it is."""
        relaxation: Any = self.relaxation
        if hasattr(relaxation, "temperature"):
            self.relaxation = replace(relaxation, temperature=temperature)

    def set_hard(self, hard: bool) -> None:
        """Sets whether soft counts are exact in the forward pass; other relaxations than arrival times stay."""
        if isinstance(self.relaxation, ArrivalTimes):
            self.relaxation = replace(self.relaxation, hard=hard)
