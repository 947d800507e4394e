"""Sampler of negative-binomial counts without their Gamma rates, for means of a few counts on a CPU."""

import torch
from torch import Tensor

from .elementwise import places
from .gamma_sampler import standard_gamma
from .inversion import BLOCK, LARGEST, LARGEST_RATIO, invert
from .special import exp

# Number of counts from which it is faster to draw them together.
LARGE = 8192


def negative_binomial(total_count: Tensor, odds: Tensor) -> Tensor:
    """Draws exact negative-binomial counts on a CPU, of the shape and dtype of the arguments, which are positive.

    Those of a large mean, or of odds with which counts far above the mean are common, are Poisson counts of Gamma
    rates.
    """
    r, odds = (each.expand(total_count.shape).flatten() for each in (total_count, odds))
    blocks = [_inversion(*block) for block in zip(r.split(BLOCK), odds.split(BLOCK), strict=True)]
    return torch.cat(blocks).view(total_count.shape)


def _inversion(r: Tensor, odds: Tensor) -> Tensor:
    largest = LARGEST_RATIO / (1 - LARGEST_RATIO)
    unsuited = (odds > largest).logical_or_(r * odds > LARGEST)
    if 2 * unsuited.count_nonzero() > len(r):
        return _mixture(r, odds)
    precise = odds.clamp(max=largest).double()
    probs = precise / (1 + precise)
    size = r.double()
    none = exp(precise.log1p_().mul_(size).neg_())
    counts = invert(none, size * probs, probs).to(r.dtype)
    if unsuited.any():
        some = places(unsuited)
        counts[some] = _mixture(r[some], odds[some])
    return counts


def _mixture(r: Tensor, odds: Tensor) -> Tensor:
    return torch.poisson(standard_gamma(r) * odds)
