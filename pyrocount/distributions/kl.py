"""Kullback-Leibler divergences between count distributions, in nats, registered with torch.

For every relaxation they are the divergences between the exact counts. At least one of the two distributions is
relaxed; the other may be torch's Poisson or negative binomial. For a q of mean m and total_count r, and a p of
total_count s,

    KL(q || p) = KL(NB(r, m) || NB(s, m)) + KL(NB(s, m) || p),

since NB(s, m) is the member of p's exponential family that is closest to q. The second term is half a deviance, in
closed form. The first term vanishes where r and s are equal, and is an integral elsewhere. A Poisson distribution is
the limit of an infinite total_count.
"""

import math
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from pyro.distributions.torch_distribution import MaskedDistribution
from pyro.distributions.util import scale_and_mask
from torch import Tensor
from torch.distributions import Distribution, NegativeBinomial, Poisson, kl_divergence, register_kl
from torch.distributions.utils import broadcast_all

from .count_distribution import CountDistribution
from .deviance import log_ratio, negative_binomial_deviance, poisson_deviance
from .dispersion import POISSON, dispersion_divergence
from .elementwise import compact
from .overrides import transformed
from .relaxed_negative_binomial import RelaxedNegativeBinomial
from .relaxed_poisson import RelaxedPoisson


@dataclass(frozen=True)
class _Counts:
    """Parameters of a count distribution.

    The log mean is ``location + log_size``, which is log_rate + 0 or logits + log(total_count).
    """

    mean: Tensor
    location: Tensor
    log_size: Tensor | float
    total_count: Tensor | None


_Family = RelaxedPoisson | RelaxedNegativeBinomial | Poisson | NegativeBinomial


# Stands for a rate or a probability of 0, whose logarithm has no gradient; products of its inverse are finite.
SMALL = 1e-150
# Names of parameters, of which every distribution was given one.
PARAMETERS = ("log_rate", "rate", "total_count")


def _given(d: Any) -> Any:
    """Returns a container of the names of the parameters that a distribution was given."""
    return getattr(d, "_given", d.__dict__)


def _zeros(d: Any) -> Tensor | None:
    """Returns where all counts are 0; None for parameters that are logarithms, with which they never are."""
    return next((getattr(d, name) == 0 for name in ("rate", "probs") if name in _given(d)), None)


def _counts(d: Any, dtype: torch.dtype, skipped: Tensor | None = None) -> _Counts:
    """Returns the parameters, without copies in dimensions that were expanded; they broadcast to the batch shape.

    Where they are skipped, others stand in their place.
    """
    given = _given(d)

    def positive(parameter: Tensor) -> Tensor:
        parameter = compact(parameter).to(dtype) if skipped is None else parameter.to(dtype).where(~skipped, 0.5)
        return parameter.where(parameter != 0, parameter + SMALL)

    if "rate" in given or "log_rate" in given:
        if "log_rate" in given:
            log_rate = compact(d.log_rate).to(dtype)
            return _Counts(log_rate.exp(), log_rate, 0.0, None)
        rate = positive(d.rate)
        return _Counts(rate, rate.log(), 0.0, None)
    r = compact(d.total_count).to(dtype)
    if "logits" in given:
        logits = compact(d.logits).to(dtype)
        return _Counts(r * logits.exp(), logits, r.log(), r)
    probs = positive(d.probs)
    return _Counts(r * probs / (1 - probs), torch.logit(probs), r.log(), r)


def _kl(q: _Family, p: _Family) -> Tensor:
    none, empty = _zeros(q), _zeros(p)
    # Where p has no counts, and q has.
    impossible = None if empty is None else empty if none is None else empty & ~none
    dtype = torch.promote_types(_dtype(q), _dtype(p))
    are_logs = all("log_rate" in _given(d) or "logits" in _given(d) for d in (q, p))
    # Differences of logarithms keep the precision of float32; ratios of other parameters do not.
    internal = torch.float32 if are_logs and dtype != torch.float64 else torch.float64
    a, b = _counts(q, internal), _counts(p, internal, impossible)
    shared = _shared(a.total_count, b.total_count)
    if shared and are_logs:
        delta = a.location - b.location
    elif internal == torch.float32:
        delta = (a.location + a.log_size) - (b.location + b.log_size)
    else:
        delta = log_ratio(a.mean, b.mean, a.location + a.log_size, b.location + b.log_size)
    if b.total_count is None:
        kl = poisson_deviance(a.mean, b.mean, delta)
    else:
        kl = negative_binomial_deviance(a.mean, b.total_count, b.location, delta)
    if not shared:
        r, s = (POISSON if d.total_count is None else d.total_count for d in (a, b))
        mean, r, s = broadcast_all(a.mean.expand(kl.shape), r, s)
        kl = kl + dispersion_divergence(mean, r, s, fine=dtype == torch.float64)
    kl = (kl if impossible is None else kl.where(~impossible, math.inf)).to(dtype)
    return kl.expand(torch.broadcast_shapes(q.batch_shape, p.batch_shape))


def _dtype(d: _Family) -> torch.dtype:
    dtype: torch.dtype = getattr(d, next(name for name in PARAMETERS if name in _given(d))).dtype
    return dtype


def _shared(a: Tensor | None, b: Tensor | None) -> bool:
    """Returns whether two total_counts have equal values; the integral and its gradient are then 0.

    On a device other than a CPU only one and the same tensor counts as equal, because comparing values would wait for
    the device.
    """
    if a is None or b is None or transformed():
        return a is b
    a, b = torch.broadcast_tensors(a, b)
    if a.data_ptr() == b.data_ptr() and a.stride() == b.stride():
        return True
    return a.device.type == "cpu" and torch.equal(a, b)


@register_kl(MaskedDistribution, CountDistribution)
def _kl_masked_q(q: MaskedDistribution, p: CountDistribution) -> Tensor:
    return _kl_of_masks(q.base_dist, p, q._mask)


@register_kl(CountDistribution, MaskedDistribution)
def _kl_masked_p(q: CountDistribution, p: MaskedDistribution) -> Tensor:
    return _kl_of_masks(q, p.base_dist, p._mask)


def _kl_of_masks(q: Distribution, p: Distribution, mask: Tensor | bool) -> Tensor:
    """Computes the KL divergence where one of the two distributions is masked.

    Pyro has a rule only for two masked distributions, and falls back to Monte Carlo where one is masked.
    """
    return scale_and_mask(kl_divergence(q, p), mask=mask)


_OURS = (RelaxedPoisson, RelaxedNegativeBinomial)
for _q, _p in product((*_OURS, Poisson, NegativeBinomial), repeat=2):
    if _q in _OURS or _p in _OURS:
        register_kl(_q, _p)(_kl)
