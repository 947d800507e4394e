"""Sampler of Poisson counts, faster on a CPU than ``torch.poisson`` where many rates are small."""

import math

import torch
from torch import Tensor

# Mean rate below which, and number of rates from which, one Poisson process is faster than a draw for each rate.
SPARSE, LARGE = 0.5, 4096


def poisson(rate: Tensor) -> Tensor:
    """Draws exact Poisson counts of finite rates, of the shape and dtype of the rates.

    Many small rates on a CPU are laid end to end on a line as intervals. The arrivals of one Poisson process of rate 1
    on this line are counted in each interval, so that the work is proportional to the number of arrivals. On other
    devices, and for few or larger rates, ``torch.poisson`` draws the counts.
    """
    if rate.device.type != "cpu" or torch.compiler.is_compiling() or rate.numel() < LARGE:
        return torch.poisson(rate)
    ends = rate.flatten().cumsum(0, dtype=torch.float64)
    total = ends[-1].item()
    # Negative and overflowing rates are left to torch, which rejects them.
    if not total < SPARSE * rate.numel() or not (rate >= 0).all():
        return torch.poisson(rate)
    enough = int(total + 8 * math.sqrt(total) + 30)
    arrivals = torch.rand(enough, dtype=torch.float64).neg_().log1p_().neg_().cumsum(0)
    arrivals = arrivals[: int(torch.searchsorted(arrivals, total))]
    owner = torch.searchsorted(ends, arrivals)
    counts = torch.zeros(len(ends), dtype=rate.dtype)
    return counts.index_add_(0, owner, torch.ones(len(owner), dtype=rate.dtype)).view(rate.shape)
