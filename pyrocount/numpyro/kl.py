"""Kullback-Leibler divergences between count distributions, in nats, registered with NumPyro.

For every relaxation they are the divergences between the exact counts. At least one of the two distributions is
relaxed; the other may be NumPyro's Poisson or negative binomial. For a q of mean m and total_count r, and a p of
total_count s,

    KL(q || p) = KL(NB(r, m) || NB(s, m)) + KL(NB(s, m) || p),

since NB(s, m) is the member of p's exponential family that is closest to q. The second term is half a deviance, in
closed form. The first term vanishes where r and s are equal, and is an integral elsewhere. A Poisson distribution is
the limit of an infinite total_count.
"""

from dataclasses import dataclass
from itertools import product
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer
from jax.typing import ArrayLike
from numpyro.distributions import Distribution, GammaPoisson, MaskedDistribution, Poisson
from numpyro.distributions.kl import kl_divergence
from numpyro.distributions.util import scale_and_mask

from .count_distribution import CountDistribution
from .deviance import log_ratio, negative_binomial_deviance, poisson_deviance
from .dispersion import POISSON, dispersion_divergence
from .relaxed_negative_binomial import RelaxedNegativeBinomial
from .relaxed_poisson import RelaxedPoisson


@dataclass(frozen=True)
class _Counts:
    """Parameters of a count distribution.

    The log mean is ``location + log_size``, which is log_rate + 0 or logits + log(total_count).
    """

    mean: Array
    location: Array
    log_size: Array | float
    total_count: Array | None
    is_log: bool


def _zeros(d: Any) -> Array | None:
    """Returns where all counts are 0; None for parameters that are logarithms, with which they never are."""
    given = d.parameters if isinstance(d, CountDistribution) else vars(d)
    return next((jnp.asarray(given[name]) == 0 for name in ("rate", "probs") if name in given), None)


def _counts(d: Any, skipped: Array | None = None) -> _Counts:
    """Returns the parameters; where they are skipped, others stand in their place."""

    def positive(parameter: ArrayLike) -> Array:
        parameter = jnp.asarray(parameter, jnp.result_type(parameter, float))
        if skipped is not None:
            parameter = jnp.where(skipped, 0.5, parameter)
        # Stands for 0, whose logarithm has no gradient; products of its inverse are finite.
        small = float(jnp.finfo(parameter.dtype).tiny) ** 0.5
        return jnp.where(parameter == 0, parameter + small, parameter)

    if isinstance(d, GammaPoisson):
        r, logits = jnp.asarray(d.concentration), -jnp.log(d.rate)
        return _Counts(r / d.rate, logits, jnp.log(r), d.concentration, is_log=True)
    given = d.parameters if isinstance(d, CountDistribution) else {"rate": d.rate}
    if "log_rate" in given:
        return _Counts(jnp.exp(given["log_rate"]), jnp.asarray(given["log_rate"]), 0.0, None, is_log=True)
    if "rate" in given:
        rate = positive(given["rate"])
        return _Counts(rate, jnp.log(rate), 0.0, None, is_log=False)
    r = given["total_count"]
    if "logits" in given:
        logits = given["logits"]
        return _Counts(r * jnp.exp(logits), logits, jnp.log(r), r, is_log=True)
    probs = positive(given["probs"])
    odds = probs / (1 - probs)
    return _Counts(r * odds, jnp.log(odds), jnp.log(r), r, is_log=False)


def _kl(q: Distribution, p: Distribution) -> Array:
    none, empty = (None if isinstance(d, GammaPoisson) else _zeros(d) for d in (q, p))
    # Where p has no counts, and q has.
    impossible = None if empty is None else empty if none is None else empty & ~none
    a, b = _counts(q), _counts(p, impossible)
    shared = _shared(a.total_count, b.total_count)
    if shared and a.is_log and b.is_log:
        delta = a.location - b.location
    else:
        delta = log_ratio(a.mean, b.mean, a.location + a.log_size, b.location + b.log_size)
    if b.total_count is None:
        kl = poisson_deviance(a.mean, b.mean, delta)
    else:
        kl = negative_binomial_deviance(a.mean, b.total_count, b.location, delta)
    if not shared:
        r, s = (POISSON[kl.dtype.name] if d.total_count is None else d.total_count for d in (a, b))
        mean, r, s = jnp.broadcast_arrays(*(jnp.asarray(value, kl.dtype) for value in (a.mean, r, s)))
        kl = kl + dispersion_divergence(mean, r, s)
    if impossible is not None:
        kl = jnp.where(impossible, jnp.inf, kl)
    return jnp.broadcast_to(kl, jnp.broadcast_shapes(q.batch_shape, p.batch_shape))


def _shared(a: Any, b: Any) -> bool:
    """Returns whether two total_counts are one array, or have equal values that are not traced."""
    if a is b:
        return True
    if a is None or b is None or isinstance(a, Tracer) or isinstance(b, Tracer):
        return False
    return bool(np.all(np.asarray(a) == np.asarray(b)))


def _masked_q(q: MaskedDistribution, p: CountDistribution) -> Array:
    return scale_and_mask(kl_divergence(q.base_dist, p), mask=q._mask)


def _masked_p(q: CountDistribution, p: MaskedDistribution) -> Array:
    return scale_and_mask(kl_divergence(q, p.base_dist), mask=p._mask)


# NumPyro has a rule only for two masked distributions, and falls back to Monte Carlo where one is masked.
kl_divergence.add((MaskedDistribution, CountDistribution), _masked_q)
kl_divergence.add((CountDistribution, MaskedDistribution), _masked_p)

_OURS = (RelaxedPoisson, RelaxedNegativeBinomial)
for _q, _p in product((*_OURS, Poisson, GammaPoisson), repeat=2):
    if _q in _OURS or _p in _OURS:
        kl_divergence.add((_q, _p), _kl)
