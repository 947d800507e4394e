"""Poisson counts of many small rates, faster than ``torch.poisson`` on a CPU."""

import math

import torch
from torch import Tensor

# Below this mean rate, and from this size on, a process is faster than a count an element.
SPARSE, LARGE = 0.5, 4096


def poisson(rate: Tensor) -> Tensor:
    """Exact Poisson counts of finite rates, of their shape and dtype.

    Many small rates on a CPU are laid end to end on a line, and the arrivals of one Poisson process of rate 1 on it are
    counted in each: the work is in proportion to the number of arrivals. On other devices, and for larger rates, it is
    ``torch.poisson``.
    """
    if rate.device.type != "cpu" or torch.compiler.is_compiling() or rate.numel() < LARGE:
        return torch.poisson(rate)
    ends = rate.flatten().cumsum(0, dtype=torch.float64)
    total = ends[-1].item()
    # A negative or overflowing rate is left to torch, which refuses it.
    if not total < SPARSE * rate.numel() or not (rate >= 0).all():
        return torch.poisson(rate)
    enough = int(total + 8 * math.sqrt(total) + 30)
    arrivals = torch.rand(enough, dtype=torch.float64).neg_().log1p_().neg_().cumsum(0)
    arrivals = arrivals[: int(torch.searchsorted(arrivals, total))]
    owner = torch.searchsorted(ends, arrivals)
    counts = torch.zeros(len(ends), dtype=rate.dtype)
    return counts.index_add_(0, owner, torch.ones(len(owner), dtype=rate.dtype)).view(rate.shape)
