"""Log probabilities of small counts, and their derivatives, by recurrences from one count to the next, on a CPU.

Neighbouring negative-binomial counts j and j + 1 have probabilities of the ratio p (r + j) / (j + 1). So sums of their
logarithms, of as many terms as there are spikes, take the place of gamma functions and their derivatives.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from . import single
from .elementwise import common_shape, places, select
from .overrides import readable
from .special import log_probs

# Mean count below which sums take less time than gamma functions, and number of counts up to which calls do.
MODERATE, FEW = 2.0, 8192
# Counts at which sums are stopped that have all their terms; beyond the last the sums would lose precision.
LEVELS = (4, 12, 28)
LAST = LEVELS[-1]
DIGAMMA_OF_1 = -0.5772156649015329


def worthwhile(k: Tensor) -> bool:
    """Returns whether float32 counts are whole, and so small that sums are faster than other formulas."""
    if k.dtype != torch.float32 or not readable(k):
        return False
    low, high = (each.item() for each in k.aminmax())
    small = low >= 0 and (k.mean().item() < MODERATE or (k.numel() <= FEW and high <= LAST))
    return small and torch.equal(k, k.round())


def negative_binomial(needed: Sequence[bool], k: Tensor, r: Tensor, logits: Tensor) -> Iterator[Tensor]:
    """Yields the log probability of counts up to ``LAST``, and its derivatives in k, r and the logits where needed."""
    shape = common_shape(k, r, logits)
    k, r, logits = (each.expand(shape) for each in (k, r, logits))
    log_p, log_1mp = log_probs(logits)
    logs, inverses = (each.view(shape) for each in _sums(*(each.flatten() for each in (k, r, logits))))
    yield logs.add_(r * log_1mp)
    inverse, spikes = r.reciprocal().clamp_(max=torch.finfo(r.dtype).max), k.clamp(max=1)
    if needed[0]:
        # The derivative digamma(r + k) - digamma(1 + k) by those of r + 1 and 1.
        slope = single.digamma(r + 1).sub_(DIGAMMA_OF_1).add_(inverses).sub_(_harmonic_number(k))
        yield slope.sub_((1 - spikes).mul_(inverse)).add_(log_p)
    if needed[1]:
        yield log_1mp.add_(inverses).add_(spikes.mul_(inverse))
    if needed[2]:
        yield (k * torch.sigmoid(-logits)).sub_(r * torch.sigmoid(logits))


def _sums(k: Tensor, r: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the sums over j < k of log(p (r + j) / (j + 1)), and over 0 < j < k of 1 / (r + j)."""
    logs, inverses = torch.zeros_like(r), torch.zeros_like(r)
    place = torch.arange(len(k))
    for first, last in pairwise((0, *LEVELS)):
        larger = places(k > first)
        if not len(larger):
            break
        k, r, logits, place = (each.index_select(0, larger) for each in (k, r, logits, place))
        j = torch.arange(float(first), float(last)).unsqueeze(1)
        counted, sizes = (k > j).to(k.dtype), r + j
        terms = _log_of_product(sizes / (j + 1), torch.sigmoid(logits), logits).mul_(counted)
        logs.index_add_(0, place, terms.sum(0))
        some = slice(0 if first else 1, None)
        inverses.index_add_(0, place, sizes[some].reciprocal_().mul_(counted[some]).sum(0))
    return logs, inverses


def _log_of_product(y: Tensor, p: Tensor, logits: Tensor) -> Tensor:
    product = y * p
    if product.amin() > single.SMALL:
        return product.log_()
    return select(product > single.SMALL, lambda y, p, _: (y * p).log_(), _sum_of_logs, y, p, logits)


def _sum_of_logs(y: Tensor, p: Tensor, logits: Tensor) -> Tensor:
    """Returns log(y p) where the product underflows."""
    return y.log() + log_probs(logits)[0]


def _harmonic_number(k: Tensor) -> Tensor:
    """Returns the sums over 0 < j <= k of 1 / j for whole numbers k up to ``LAST``."""
    numbers = torch.cat([torch.zeros(1), torch.arange(1.0, LAST + 1).reciprocal_().cumsum(0)])
    return numbers.index_select(0, k.flatten().to(torch.int32)).view(k.shape)
