"""Exact counts by inversion of their distribution function, many at a time, for means of a few counts on a CPU."""

import torch
from torch import Tensor

from .elementwise import places
from .overrides import readable

# Number of counts in a block, which are drawn together.
BLOCK = 60_000
# Mean below which it is faster than other ways on average, and largest mean, as it goes through the counts one by one.
MODERATE, LARGEST = 2.0, 16.0
# A count so far out that its probability is below the resolution of float64, where the ratio of the probabilities of
# neighbouring counts is below the second number in the long run.
BEYOND, LARGEST_RATIO = 128, 0.7
# Part of the counts from which on those that are not known yet are worth a selection.
FEW = 1 / 8


def worthwhile(mean: Tensor, least: int) -> bool:
    """Returns whether counts with these means, ``least`` of them or more, are drawn fastest together.

    It is false for means that are none, and where values cannot be read in little time.
    """
    many = mean.numel() >= least and readable(mean)
    return many and mean.mean().item() < MODERATE and mean.amin().item() >= 0


def invert(none: Tensor, first: Tensor, later: Tensor | None = None) -> Tensor:
    """Draws counts of Panjer's class, in which p(k + 1) / p(k) = (first + later k) / (k + 1).

    Reference:
        Panjer, Recursive Evaluation of a Family of Compound Distributions, ASTIN Bulletin 1981.

    Args:
        none: probabilities of a count of 0, shape (N,), float64; overwritten.
        first: the number ``first`` of each count, shape (N,), float64.
        later: the number ``later`` of each count, shape (N,); None stands for 0, the Poisson distribution.

    Returns:
        The counts, shape (N,), float32.
    """
    return _counts_from(0, none, torch.rand_like(none).sub_(none), first, later)


def _counts_from(count: int, probability: Tensor, left: Tensor, first: Tensor, later: Tensor | None) -> Tensor:
    """Returns counts of which it is known that they are not below ``count``.

    Args:
        count: count at which the distribution function stands.
        probability: probabilities of this count; overwritten.
        left: uniform numbers less the distribution function, negative where this is the count; overwritten.
        first: as for ``invert``.
        later: as for ``invert``.
    """
    counts = torch.full(left.shape, float(count))
    while count < BEYOND and (number := int((above := left >= 0).count_nonzero())):
        if number < FEW * len(left):
            some = places(above)
            rest = None if later is None else later[some]
            counts[some] = _counts_from(count, probability[some], left[some], first[some], rest)
            break
        probability.mul_(first if later is None else torch.add(first, later, alpha=count))
        count += 1
        counts.add_(above)
        left.sub_(probability.div_(count))
    return counts
