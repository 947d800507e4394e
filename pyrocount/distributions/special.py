"""Special functions for float64 tensors, in forms that keep their precision where the textbook forms cancel.

The first four are for float32 tensors too. On a CPU arithmetic takes a small part of the time of ``torch.where``,
``log1p`` and ``expm1`` of float32, and stands in their place.
"""

import math

import torch
from torch import Tensor

from .elementwise import select, weight

HALF_LOG_TWO_PI = math.log(2 * math.pi) / 2
LN_2 = math.log(2)
LOG2_E = 1 / LN_2
# Argument from which on the Stirling series is exact to float64.
STIRLING_FROM = 16.0
# Coefficients of the polynomial that interpolates (exp(x) - 1 - x) / x^2 at seven Chebyshev nodes of [-1, 1]; its
# relative error is 1.1e-7.
EXPM1_RESIDUAL = (0.5, 0.166666973, 0.0416666972, 0.00833088617, 0.00138864477, 0.000203290419, 2.52884349e-05)


def exp(x: Tensor) -> Tensor:
    """Returns exp(x), with a relative error that grows with the magnitude of x as its rounding.

    On a CPU powers of 2 take a quarter of the time of ``torch.exp``.
    """
    return (x * LOG2_E).exp2_()


def log1p(x: Tensor) -> Tensor:
    """Returns log(1 + x) for x > -1."""
    if x.dtype == torch.float64:
        return torch.log1p(x)
    rounded = 1 + x
    # What the sum has lost, relative to it.
    lost = (1 - rounded).add_(x).div_(rounded)
    return rounded.log_().add_(lost)


def log_probs(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Returns log p and log(1 - p) for the logits log(p / (1 - p))."""
    rest = log1p(exp(logits.abs().neg_()))
    return logits.clamp(max=0) - rest, (-logits).clamp_(max=0) - rest


def log1p_residual(x: Tensor) -> Tensor:
    """Returns x - log(1 + x) for x > -1, with a small relative error also near 0."""
    if x.dtype != torch.float64:
        near = (-x).clamp_(-0.1, 0.1)
        series = near / 7
        for n in (6, 5, 4, 3, 2):
            series.add_(1 / n).mul_(near)
        return series.mul_(near).lerp_(x - log1p(x), weight(x.abs().sub_(0.07)))
    small = x.abs() < 0.3
    near = x.where(small, 0.0)
    v = near / (2 + near)
    square = v * v
    # These lines use log(1 + x) = 2 artanh(v) and x - 2 v = x v.
    tail = torch.zeros_like(v)
    for n in reversed(range(10)):
        tail = tail * square + 1 / (2 * n + 3)
    return (near * v - 2 * v * square * tail).where(small, x - torch.log1p(x))


def expm1_residual(x: Tensor) -> Tensor:
    """Returns exp(x) - 1 - x for abs(x) <= 1, with a small relative error also near 0."""
    if x.dtype == torch.float64:
        return log1p_residual(torch.expm1(x))
    series = x * EXPM1_RESIDUAL[-1]
    for coefficient in EXPM1_RESIDUAL[-2:0:-1]:
        series.add_(coefficient).mul_(x)
    return series.add_(EXPM1_RESIDUAL[0]).mul_(x).mul_(x)


def stirling_series(x: Tensor) -> Tensor:
    """Returns lgamma(x) - [(x - 1/2) log x - x + log(2 pi) / 2] for x >= ``STIRLING_FROM``."""
    y = 1 / x
    square = y * y
    return y * (1 / 12 + square * (-1 / 360 + square * (1 / 1260 + square * (-1 / 1680 + square / 1188))))


def stirling_error(x: Tensor) -> Tensor:
    """Returns the value of ``stirling_series`` for any x > 0."""

    def direct(x: Tensor) -> Tensor:
        return torch.lgamma(x) - (x - 0.5) * x.log() + x - HALF_LOG_TWO_PI

    return select(x >= STIRLING_FROM, stirling_series, direct, x)


def log_rising_factorial(x: Tensor, n: Tensor) -> Tensor:
    """Returns lgamma(x + n) - lgamma(x) for x > 0 and moderate n >= 0."""

    def smooth(x: Tensor, n: Tensor) -> Tensor:
        power = (x - 0.5) * torch.log1p(n / x) + n * torch.log(x + n) - n
        return power + stirling_series(x + n) - stirling_series(x)

    def direct(x: Tensor, n: Tensor) -> Tensor:
        return torch.lgamma(x + n) - torch.lgamma(x)

    return select(x >= STIRLING_FROM, smooth, direct, x, n)
