"""Sampler of Poisson counts, faster on a CPU than ``torch.poisson`` where many rates are small."""

import math

import torch
from torch import Tensor

from .elementwise import places
from .inversion import BLOCK, LARGEST, invert, worthwhile
from .special import exp

# Number of rates from which it is faster to draw them together, and mean rate below which one process is fastest.
LARGE, SPARSE = 32_768, 0.1


def poisson(rate: Tensor) -> Tensor:
    """Draws exact Poisson counts of finite rates, of the shape and dtype of the rates.

    Many small rates on a CPU are laid end to end on a line as intervals. The arrivals of one Poisson process of rate 1
    on this line are counted in each interval, so that the work is proportional to the number of arrivals. Moderate
    rates are drawn together, by inversion of the distribution function. On other devices, and for few or larger rates,
    ``torch.poisson`` draws the counts; it rejects negative and overflowing rates.
    """
    if not worthwhile(rate, LARGE):
        return torch.poisson(rate)
    flat = rate.flatten()
    if flat.mean() < SPARSE:
        return _process(flat).view(rate.shape)
    return torch.cat([_inversion(block) for block in flat.split(BLOCK)]).view(rate.shape)


def _process(rate: Tensor) -> Tensor:
    ends = rate.cumsum(0, dtype=torch.float64)
    total = ends[-1].item()
    enough = int(total + 8 * math.sqrt(total) + 30)
    arrivals = torch.rand(enough, dtype=torch.float64).neg_().log1p_().neg_().cumsum(0)
    arrivals = arrivals[: int(torch.searchsorted(arrivals, total))]
    owner = torch.searchsorted(ends, arrivals)
    counts = torch.zeros(len(ends), dtype=rate.dtype)
    return counts.index_add_(0, owner, torch.ones(len(owner), dtype=rate.dtype))


def _inversion(rate: Tensor) -> Tensor:
    precise = rate.clamp(max=LARGEST).double()
    counts = invert(exp(-precise), precise).to(rate.dtype)
    if rate.amax() > LARGEST:
        large = places(rate > LARGEST)
        counts[large] = torch.poisson(rate[large])
    return counts
