"""Special functions for float64 tensors, in forms that keep their precision where the textbook forms cancel."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

HALF_LOG_TWO_PI = math.log(2 * math.pi) / 2
# Argument from which on the Stirling series is exact to float64.
STIRLING_FROM = 16.0


def log1p_residual(x: Tensor, fine: bool = True) -> Tensor:
    """Returns x - log(1 + x) for x > -1, with a small relative error also near 0.

    Unless ``fine`` is true, the difference is computed directly. Its relative error is then 2e-16 / |x|, which is small
    enough where x comes from float32.
    """
    if not fine:
        return x - torch.log1p(x)
    small = x.abs() < 0.3
    near = x.where(small, 0.0)
    v = near / (2 + near)
    square = v * v
    # These lines use log(1 + x) = 2 artanh(v) and x - 2 v = x v.
    tail = torch.zeros_like(v)
    for n in reversed(range(10)):
        tail = tail * square + 1 / (2 * n + 3)
    return (near * v - 2 * v * square * tail).where(small, x - torch.log1p(x))


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


def log_probs(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Returns log p and log(1 - p) for the logits log(p / (1 - p))."""
    rest = torch.log1p(torch.exp(-logits.abs()))
    return logits.clamp(max=0) - rest, (-logits).clamp(max=0) - rest


def select(condition: Tensor, yes: Callable[..., Tensor], no: Callable[..., Tensor], *arguments: Tensor) -> Tensor:
    """Returns ``yes(*arguments)`` where the condition holds and ``no(*arguments)`` elsewhere.

    Both functions are elementwise. On a CPU each one is computed only where it is needed; autograd and vmap do not
    support this.
    """
    if condition.device.type != "cpu" or torch.compiler.is_compiling():
        return torch.where(condition, yes(*arguments), no(*arguments))
    if condition.all():
        return yes(*arguments)
    if not condition.any():
        return no(*arguments)
    result = torch.empty_like(arguments[0], memory_format=torch.contiguous_format)
    for where, function in ((condition, yes), (~condition, no)):
        index = where.flatten().nonzero().squeeze(1)
        result.view(-1)[index] = function(*(argument.flatten()[index] for argument in arguments))
    return result
