"""Special functions for float64 tensors, in forms that keep their precision where the textbook forms cancel.

The first four are for float32 tensors too. On a CPU arithmetic takes a small part of the time of ``torch.where``,
``log1p`` and ``expm1`` of float32, and stands in their place.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .overrides import readable

HALF_LOG_TWO_PI = math.log(2 * math.pi) / 2
# Argument from which on the Stirling series is exact to float64.
STIRLING_FROM = 16.0
# Bytes of a block; glibc takes new memory from the system for more than 128 KiB.
BLOCK = 120_000


def log1p(x: Tensor) -> Tensor:
    """Returns log(1 + x) for x > -1."""
    if x.dtype == torch.float64:
        return torch.log1p(x)
    rounded = 1 + x
    # What the sum has lost, relative to it.
    lost = (x - (rounded - 1)).div_(rounded)
    return rounded.log_().add_(lost)


def log_probs(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Returns log p and log(1 - p) for the logits log(p / (1 - p))."""
    rest = log1p(logits.abs().neg_().exp_())
    return logits.clamp(max=0) - rest, (-logits).clamp_(max=0) - rest


def log1p_residual(x: Tensor) -> Tensor:
    """Returns x - log(1 + x) for x > -1, with a small relative error also near 0."""
    if x.dtype != torch.float64:
        near = x.clamp(-0.1, 0.1)
        series = near / 7
        for n in (6, 5, 4, 3, 2):
            series.neg_().add_(1 / n).mul_(near)
        far = x.abs().sub_(0.07).sign_().add_(1).div_(2)
        return series.mul_(near).lerp_(x - log1p(x), far)
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
    series = x / 11
    for n in range(10, 1, -1):
        series.add_(1).mul_(x).div_(n)
    return series.mul_(x)


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


def select(condition: Tensor, yes: Callable[..., Tensor], no: Callable[..., Tensor], *arguments: Tensor) -> Tensor:
    """Returns ``yes(*arguments)`` where the condition holds and ``no(*arguments)`` elsewhere; see ``select_each``."""
    return select_each(condition, lambda *each: (yes(*each),), lambda *each: (no(*each),), *arguments)[0]


def select_each(
    condition: Tensor,
    yes: Callable[..., tuple[Tensor, ...]],
    no: Callable[..., tuple[Tensor, ...]],
    *arguments: Tensor,
) -> tuple[Tensor, ...]:
    """Returns results of ``yes(*arguments)`` where the condition holds and of ``no(*arguments)`` elsewhere.

    Both functions are elementwise, and the arguments broadcast. On a CPU the function that is needed less often is
    computed only where it is needed; autograd and vmap do not support this.
    """
    if condition.device.type != "cpu" or torch.compiler.is_compiling():
        pairs = zip(yes(*arguments), no(*arguments), strict=True)
        return tuple(torch.where(condition, *pair) for pair in pairs)
    number = int(condition.count_nonzero())
    if 2 * number > condition.numel():
        condition, number, yes, no = ~condition, condition.numel() - number, no, yes
    results = no(*arguments)
    if not number:
        return results
    shape = torch.broadcast_shapes(condition.shape, *(argument.shape for argument in arguments))
    results = tuple(result.expand(shape).contiguous() for result in results)
    index = condition.expand(shape).flatten().nonzero().squeeze(1)
    there = yes(*(argument.expand(shape).flatten()[index] for argument in arguments))
    for result, part in zip(results, there, strict=True):
        result.view(-1)[index] = part
    return results


def compact(x: Tensor) -> Tensor:
    """Returns a tensor without the copies that ``expand`` made of it; it broadcasts to the shape that it had."""
    if 0 not in x.stride():
        return x
    return x[tuple(slice(0, 1) if stride == 0 else slice(None) for stride in x.stride())]


def in_blocks(function: Callable[..., Sequence[Tensor]], *arguments: Tensor) -> tuple[Tensor, ...]:
    """Returns results of an elementwise function of arguments that broadcast and have as many dimensions.

    On a CPU many elements are computed in blocks, whose intermediate results stay in the cache, and in memory that the
    process keeps.
    """
    shape = torch.broadcast_shapes(*(argument.shape for argument in arguments))
    number, block = math.prod(shape), BLOCK // max(argument.element_size() for argument in arguments)
    if number <= block or not readable(arguments[0]):
        return tuple(function(*arguments))
    dim = next(place for place, size in enumerate(shape) if size > 1)
    rows = max(1, block * shape[dim] // number)
    parts = []
    for first in range(0, shape[dim], rows):
        last = min(first + rows, shape[dim])
        own = [each if each.shape[dim] == 1 else each.narrow(dim, first, last - first) for each in arguments]
        parts.append(in_blocks(function, *own) if rows == 1 else function(*own))
    return tuple(torch.cat(each, dim) for each in zip(*parts, strict=True))
