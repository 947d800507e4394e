"""How a Poisson count is sampled, and how a gradient flows from the sample to its rate."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pyrocount.errors import InputError


class Relaxation(ABC):
    """A way to sample Poisson counts together with their derivative with respect to the log rate.

    Attributes:
        is_discrete: whether the values are integers.
        has_rsample: whether a gradient flows through them.
    """

    is_discrete: ClassVar[bool] = True
    has_rsample: ClassVar[bool] = True

    def draw(self, rate: Tensor) -> tuple[Tensor, Tensor]:
        """Samples a value per rate.

        Args:
            rate: expected counts per observation window, any shape.

        Returns:
            The values and their derivatives with respect to the log rate, both of the shape of ``rate``. Both are NaN
            where the rate is NaN or infinite. Neither carries an autograd graph.
        """
        with torch.no_grad():
            finite = rate.isfinite()
            value, slope = self._draw(rate.where(finite, 0.0))
            return value.where(finite, math.nan), slope.where(finite, math.nan)

    @abstractmethod
    def _draw(self, rate: Tensor) -> tuple[Tensor, Tensor]:
        """``draw`` for finite rates, called without gradients."""

    def moment_factors(self) -> tuple[float, float]:
        """Returns the mean and the variance of a value per unit of rate; an exact count has (1, 1)."""
        return 1.0, 1.0


@dataclass(frozen=True)
class Discrete(Relaxation):
    """Exact integer counts without a gradient: ``has_rsample`` is False and Pyro uses its score function.

    >>> Discrete().has_rsample
    False
    """

    has_rsample: ClassVar[bool] = False

    def _draw(self, rate: Tensor) -> tuple[Tensor, Tensor]:
        return torch.poisson(rate), torch.zeros_like(rate)


@dataclass(frozen=True)
class SteinChen(Relaxation):
    r"""Exact integer counts with a second-order straight-through gradient, free of a temperature.

    The exact gradient is :math:`\frac{d}{d\lambda} E f(N) = E[f(N+1) - f(N)]`. The trapezoid rule for the difference
    and the Stein-Chen identity :math:`E[f'(N+1)] = E[f'(N) N / \lambda]` turn it into
    :math:`E[f'(N) (1 + N/\lambda) / 2]`, that is :math:`dN / d\log\lambda = (\lambda + N) / 2`: unbiased for every
    quadratic f, hence for a linear decoder with a Gaussian likelihood.

    >>> SteinChen().is_discrete
    True
    """

    def _draw(self, rate: Tensor) -> tuple[Tensor, Tensor]:
        count = torch.poisson(rate)
        return count, (rate + count) / 2


@dataclass(frozen=True)
class ArrivalTimes(Relaxation):
    r"""Soft counts of the arrivals of a Poisson process in the unit window.

    :math:`z = \sum_n h((1 - S_n)/\tau)` over the arrival times :math:`S_n` of a process of rate :math:`\lambda`, where
    the indicator h rises from 0 to 1: ``"cubic"`` is :math:`1/2 + 3y/4 - y^3/4` on [-1, 1], whose mean is exactly
    :math:`\lambda` for :math:`\tau \le 1`; ``"sigmoid"`` is the logistic function. The gradient is pathwise: with the
    unit exponentials behind :math:`S_n` held fixed, :math:`dz / d\log\lambda = \sum_n S_n h'((1 - S_n)/\tau) / \tau`.

    Arrivals before the window in which h is neither 0 nor 1 are only counted; those inside it are drawn uniformly. This
    has the exact joint law of value and derivative, at a cost proportional to the sum of the rates.

    References:
        Vafaii, Galor and Yates, Poisson Variational Autoencoder, NeurIPS 2024, algorithm 1 (arrival times, sigmoid).
        A Hitchhiker's Guide to Poisson Gradient Estimation, arXiv 2602.03896 (cubic indicator, moments).

    Args:
        temperature: width of the indicator in units of the window, positive.
        indicator: ``"cubic"`` or ``"sigmoid"``.

    Raises:
        InputError: if the temperature is not positive and finite, or the indicator is unknown.

    >>> ArrivalTimes(0.1).moment_factors()[0]
    1.0
    """

    temperature: float
    indicator: Literal["cubic", "sigmoid"] = "cubic"

    is_discrete: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            hint = "; exact counts are Discrete()" if self.temperature == 0 else ""
            raise InputError("temperature", self.temperature, f"a positive number{hint}")
        if self.indicator not in _INDICATORS:
            raise InputError("indicator", repr(self.indicator), f"one of {', '.join(_INDICATORS)}")

    def _draw(self, rate: Tensor) -> tuple[Tensor, Tensor]:
        tau = self.temperature
        # Beyond +-half_width * tau the indicator is 0 or 1 to within the resolution of the dtype.
        half_width = 1.0 if self.indicator == "cubic" else -math.log(torch.finfo(rate.dtype).eps)
        start, end = max(0.0, 1 - half_width * tau), 1 + half_width * tau

        before = torch.poisson(rate * start)
        inside = torch.poisson(rate * (end - start)).long().flatten()
        owner = torch.arange(inside.numel(), device=rate.device).repeat_interleave(inside)
        times = start + (end - start) * torch.rand(owner.shape, dtype=rate.dtype, device=rate.device)
        height, steepness = _INDICATORS[self.indicator]((1 - times) / tau)

        value = before.flatten().index_add(0, owner, height)
        slope = torch.zeros_like(value).index_add(0, owner, times * steepness / tau)
        return value.view(rate.shape), slope.view(rate.shape)

    def moment_factors(self) -> tuple[float, float]:
        """Mean and variance of the soft count per unit of rate, the integrals of h and h^2 (Campbell's theorem)."""
        tau = self.temperature
        if self.indicator == "sigmoid":
            mean = tau * (1 / tau + math.log1p(math.exp(-1 / tau)))
            return mean, mean - tau / (1 + math.exp(-1 / tau))
        y = min(1.0, 1 / tau)
        counted = max(0.0, 1 - tau)
        first = (3 + 8 * y + 6 * y**2 - y**4) / 16
        second = 33 / 560 + y / 4 + 3 * y**2 / 8 + 3 * y**3 / 16 - y**4 / 16 - 3 * y**5 / 40 + y**7 / 112
        # For tau <= 1 the first factor is 1 by symmetry; spelling that out avoids a rounding error.
        return 1.0 if tau <= 1 else tau * first, counted + tau * second


def _cubic(y: Tensor) -> tuple[Tensor, Tensor]:
    return 0.5 + y * (3 - y * y) / 4, 0.75 * (1 - y * y)


def _sigmoid(y: Tensor) -> tuple[Tensor, Tensor]:
    height = torch.sigmoid(y)
    return height, height * (1 - height)


# Each returns the indicator and its derivative.
_INDICATORS: dict[str, Callable[[Tensor], tuple[Tensor, Tensor]]] = {"cubic": _cubic, "sigmoid": _sigmoid}


class _WithDerivative(torch.autograd.Function):
    @staticmethod
    def forward(value: Tensor, parameter: Tensor, derivative: Tensor) -> Tensor:
        return value

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[2])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None]:
        (derivative,) = ctx.saved_tensors
        return None, grad * derivative, None


def with_derivative(value: Tensor, parameter: Tensor, derivative: Tensor) -> Tensor:
    """Returns ``value`` with the given derivative with respect to ``parameter``; all three have one shape."""
    result: Tensor = _WithDerivative.apply(value, parameter, derivative)
    return result
