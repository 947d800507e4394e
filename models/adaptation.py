"""Statistics of training data at which a model starts."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

# Number of observations that are converted at a time, and of draws over which the decoder's output is averaged.
ROWS = 1000


def batches(
    x: Any, exposure: Tensor | None = None, prepare: Callable[[Tensor], Tensor] = lambda x: x
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Yields observations (N, \\*shape) and their exposure (N,), ``ROWS`` at a time, made ready by ``prepare``."""
    for first in range(0, len(x), ROWS):
        rows = slice(first, first + ROWS)
        yield prepare(x[rows]), None if exposure is None else exposure[rows]


def totals(parts: Iterator[tuple[Tensor, Tensor | None]], shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Returns the sum of each value over observations, and the number of observations or the length of their windows.

    Missing values (NaN) are left out of both. Both have the shape (\\*shape), in double precision.
    """
    total = number = torch.zeros(tuple(shape), dtype=torch.float64)
    for x, exposure in parts:
        values = x.to("cpu", torch.float64)
        known = ~values.isnan()
        length = torch.ones(len(x)) if exposure is None else exposure.to("cpu")
        total = total + values.where(known, 0.0).sum(0)
        number = number + (known * length.double().reshape(-1, *(1,) * len(shape))).sum(0)
    return total, number.clamp(min=torch.finfo(torch.float64).tiny)
