"""Relaxations that have no temperature and whose values are exact counts."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..poisson_sampler import poisson
from .base import Relaxation


@dataclass(frozen=True)
class Discrete(Relaxation):
    """Exact integer counts without a gradient: ``has_rsample`` is False, and Pyro uses the score function.

    >>> Discrete().has_rsample
    False
    """

    @property
    def has_rsample(self) -> bool:
        """Returns False, as no gradient flows through the values."""
        return False

    def _draw(self, rate: Tensor) -> tuple[Tensor, Tensor]:
        return poisson(rate), torch.zeros_like(rate)


@dataclass(frozen=True)
class SteinChen(Relaxation):
    r"""Exact integer counts with a second-order straight-through gradient and without a temperature.

    The exact gradient is :math:`\frac{d}{d\lambda} E f(N) = E[f(N+1) - f(N)]`. The trapezoid rule for the difference
    and the Stein-Chen identity :math:`E[f'(N+1)] = E[f'(N) N / \lambda]` turn it into
    :math:`E[f'(N) (1 + N/\lambda) / 2]`, that is :math:`dN / d\log\lambda = (\lambda + N) / 2`. This gradient is
    unbiased for every quadratic f, hence for a linear decoder with a Gaussian likelihood. ``UnbiasedCount_ELBO`` has no
    bias for others either.

    References:
        Arya et al., Automatic Differentiation of Programs with Discrete Randomness, NeurIPS 2022 (the same weight, in
        StochasticAD.jl's smoothed two-sided rule for the Poisson).

    >>> SteinChen().is_discrete
    True
    """

    def _draw(self, rate: Tensor) -> tuple[Tensor, Tensor]:
        count = poisson(rate)
        return count, (rate + count) / 2


@dataclass(frozen=True)
class StraightThrough(Relaxation):
    r"""Exact integer counts whose gradient is that of their mean, :math:`dN / d\lambda = 1`.

    It is the baseline of the papers. It is unbiased for linear functions only; for a quadratic function it misses the
    contribution of the variance.

    References:
        Vafaii, Galor and Yates, Poisson Variational Autoencoder, NeurIPS 2024, section 4 (ST).

    >>> StraightThrough().is_discrete
    True
    """

    def _draw(self, rate: Tensor) -> tuple[Tensor, Tensor]:
        return poisson(rate), rate
