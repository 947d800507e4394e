"""Relaxation that softly counts the arrivals of a Poisson process."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from pyrocount.errors import InputError

from ..poisson_sampler import poisson
from .base import Relaxation, positive_temperature, positive_temperatures


@dataclass(frozen=True)
class ArrivalTimes(Relaxation):
    r"""Soft counts of the arrivals of a Poisson process in the unit window.

    :math:`z = \sum_n h((1 - S_n)/\tau)` over the arrival times :math:`S_n` of a process of rate :math:`\lambda`, where
    the indicator h rises from 0 to 1: ``"cubic"`` is :math:`1/2 + 3y/4 - y^3/4` on [-1, 1], whose mean is exactly
    :math:`\lambda` for :math:`\tau \le 1`; ``"sigmoid"`` is the logistic function. The gradient is pathwise: with the
    unit exponentials behind :math:`S_n` held fixed, :math:`dz / d\log\lambda = \sum_n S_n h'((1 - S_n)/\tau) / \tau`.

    Arrivals before the window in which h is neither 0 nor 1 are only counted; those inside it are drawn uniformly. This
    gives the exact joint distribution of value and derivative, at a cost proportional to the sum of the rates.

    References:
        Vafaii, Galor and Yates, Poisson Variational Autoencoder, NeurIPS 2024, algorithm 1 (arrival times, sigmoid).
        A Hitchhiker's Guide to Poisson Gradient Estimation, arXiv 2602.03896 (cubic indicator, moments).

    Args:
        temperature: width of the indicator in units of the window, positive; a tensor broadcasts with the rates and
            gets no gradient.
        indicator: ``"cubic"`` or ``"sigmoid"``.
        hard: whether the values are the integer numbers of arrivals in the window; the gradient stays that of the
            soft counts.

    Raises:
        InputError: if the temperature is not positive and finite, or the indicator is unknown.

    >>> ArrivalTimes(0.1).is_discrete, ArrivalTimes(0.1, hard=True).is_discrete
    (False, True)
    """

    # An arrival takes about 40 bytes.
    largest_sum: ClassVar[float] = 1e8

    temperature: Tensor | float
    indicator: Literal["cubic", "sigmoid"] = "cubic"
    hard: bool = False

    def __post_init__(self) -> None:
        positive_temperature(self.temperature)
        if self.indicator not in _INDICATORS:
            raise InputError("indicator", repr(self.indicator), f"one of {', '.join(_INDICATORS)}")

    @property
    def is_discrete(self) -> bool:
        """Returns whether the values are integers, which is the case if ``hard`` is true."""
        return self.hard

    @property
    def batch_shape(self) -> torch.Size:
        """Returns the shape of the temperature."""
        return self.temperature.shape if isinstance(self.temperature, Tensor) else torch.Size()

    def check(self, rate: Tensor) -> None:
        """Checks the values of the rates and of the temperature; see ``Relaxation.check``."""
        super().check(rate)
        positive_temperatures(self.temperature)

    def contribution(self, times: Tensor, temperature: Tensor | float) -> tuple[Tensor, Tensor]:
        """Computes what arrivals at these times add to a value and to its derivative with respect to the log rate."""
        height, steepness = _INDICATORS[self.indicator]((1 - times) / temperature)
        value = (times <= 1).to(times.dtype) if self.hard else height
        return value, times * steepness / temperature

    def _draw(self, rate: Tensor) -> tuple[Tensor, Tensor]:
        # Beyond +-half_width * tau the indicator is 0 or 1 to within the resolution of the dtype.
        half_width = 1.0 if self.indicator == "cubic" else -math.log(torch.finfo(rate.dtype).eps)
        tau: Any = self.temperature
        if isinstance(tau, Tensor):
            tau = tau.to(rate).expand(rate.shape).flatten()
            start: Any = (1 - half_width * tau).clamp(min=0.0)
        else:
            start = max(0.0, 1 - half_width * tau)
        length = 1 + half_width * tau - start

        flat = rate.flatten()
        value = poisson(flat * start)
        inside = poisson(flat * length).long()
        owner = torch.arange(len(flat), device=rate.device).repeat_interleave(inside)
        if isinstance(tau, Tensor):
            tau, start, length = tau[owner], start[owner], length[owner]
        times = start + length * torch.rand(owner.shape, dtype=rate.dtype, device=rate.device)
        more, steeper = self.contribution(times, tau)
        value.index_add_(0, owner, more)
        slope = torch.zeros_like(value).index_add_(0, owner, steeper)
        return value.view(rate.shape), slope.view(rate.shape)

    def moment_factors(self) -> tuple[Tensor | float, Tensor | float]:
        """Returns the mean and the variance of a value per unit of rate: the integrals of h and h^2 (Campbell)."""
        if self.hard:
            return 1.0, 1.0
        tau = torch.as_tensor(self.temperature, dtype=torch.float64)
        if self.indicator == "sigmoid":
            mean = 1 + tau * torch.log1p(torch.exp(-1 / tau))
            return mean, mean - tau * torch.sigmoid(1 / tau)
        y = (1 / tau).clamp(max=1.0)
        first = (3 + 8 * y + 6 * y**2 - y**4) / 16
        second = 33 / 560 + y / 4 + 3 * y**2 / 8 + 3 * y**3 / 16 - y**4 / 16 - 3 * y**5 / 40 + y**7 / 112
        # For tau <= 1 the mean is 1 by symmetry; spelling that out avoids a rounding error.
        return (tau * first).where(tau > 1, 1.0), (1 - tau).clamp(min=0.0) + tau * second


def _cubic(y: Tensor) -> tuple[Tensor, Tensor]:
    return 0.5 + y * (3 - y * y) / 4, 0.75 * (1 - y * y)


def _sigmoid(y: Tensor) -> tuple[Tensor, Tensor]:
    height = torch.sigmoid(y)
    return height, height * (1 - height)


# Indicators by name, as functions that return the indicator and its derivative.
_INDICATORS: dict[str, Callable[[Tensor], tuple[Tensor, Tensor]]] = {"cubic": _cubic, "sigmoid": _sigmoid}
