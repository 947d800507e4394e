"""Log probabilities of few counts, and their derivatives, by recurrences from one count to the next, on a CPU.

Neighbouring negative-binomial counts j and j + 1 have probabilities of the ratio p (r + j) / (j + 1). So logarithms, as
many as there are spikes, take the place of gamma functions and their derivatives.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from . import single
from .elementwise import places, select
from .overrides import readable
from .special import log_probs

# Number of counts from which on the recurrences are faster, where the mean count is below the second number.
MANY, MODERATE = 2048, 2.0
# Largest count; there are few larger ones.
LAST = 6
DIGAMMA_OF_1 = -0.5772156649015329


def worthwhile(k: Tensor) -> bool:
    """Returns whether float32 counts are whole, many, and most of them small."""
    if k.dtype != torch.float32 or k.numel() < MANY or not readable(k):
        return False
    return k.mean().item() < MODERATE and k.amin().item() >= 0 and torch.equal(k, k.round())


def negative_binomial(needed: Sequence[bool], k: Tensor, r: Tensor, logits: Tensor) -> Iterator[Tensor]:
    """Yields the log probability of counts up to ``LAST``, and its derivatives in k, r and the logits where needed."""
    shape = torch.broadcast_shapes(k.shape, r.shape, logits.shape)
    k, r, logits = (each.expand(shape).flatten() for each in (k, r, logits))
    log_p, log_1mp = log_probs(logits)
    spikes = places(k > 0)
    some_k, some_r, some_logits = (each.index_select(0, spikes) for each in (k, r, logits))
    logs, inverses = _sums(some_k, some_r, some_logits)
    yield (r * log_1mp).index_add_(0, spikes, logs).view(shape)
    if needed[0]:
        # digamma(k + r) is that of r + 1 and the inverses.
        after = single.digamma(r + 1).sub_(DIGAMMA_OF_1)
        of_spikes = after.index_select(0, spikes).add_(inverses).sub_(_harmonic_number(some_k))
        yield after.sub_(1 / r).index_copy_(0, spikes, of_spikes).add_(log_p).view(shape)
    if needed[1]:
        yield log_1mp.index_add_(0, spikes, inverses.add_(1 / some_r)).view(shape)
    if needed[2]:
        yield (k * torch.sigmoid(-logits)).sub_(r * torch.sigmoid(logits)).view(shape)


def _sums(k: Tensor, r: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the sums over j < k of log(p (r + j) / (j + 1)), and over 0 < j < k of 1 / (r + j), for counts k > 0."""
    p = torch.sigmoid(logits)
    logs, inverses = _log_of_product(r, p, logits), torch.zeros_like(r)
    place = torch.arange(len(k))
    for j in range(1, LAST):
        larger = places(k > j)
        if not len(larger):
            break
        k, r, p, logits, place = (each.index_select(0, larger) for each in (k, r, p, logits, place))
        logs.index_add_(0, place, _log_of_product((r + j).div_(j + 1), p, logits))
        inverses.index_add_(0, place, 1 / (r + j))
    return logs, inverses


def _log_of_product(y: Tensor, p: Tensor, logits: Tensor) -> Tensor:
    product = y * p
    if product.numel() and product.amin() > single.SMALL:
        return product.log_()
    return select(product > single.SMALL, lambda y, p, _: (y * p).log_(), _sum_of_logs, y, p, logits)


def _sum_of_logs(y: Tensor, p: Tensor, logits: Tensor) -> Tensor:
    """Returns log(y p) where the product underflows."""
    return y.log() + log_probs(logits)[0]


def _harmonic_number(k: Tensor) -> Tensor:
    """Returns the sums over 0 < j <= k of 1 / j for whole numbers k up to ``LAST``."""
    numbers = torch.arange(LAST + 1.0, dtype=k.dtype)
    numbers[1:] = (1 / numbers[1:]).cumsum(0)
    return numbers.index_select(0, k.to(torch.int64))
