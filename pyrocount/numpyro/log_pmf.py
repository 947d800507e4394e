"""Log probability mass functions of counts, continued to real values by the gamma function.

They are computed in the dtype of their arguments. JAX has float64 only if ``jax_enable_x64`` is set; then their
precision is that of the torch backend. Counts from ``STIRLING_FROM`` on are treated as in C. Loader, Fast and Accurate
Computation of Binomial Probabilities, 2000: the log probability is the sum of a Stirling series and a deviance, which
measures the distance of the count from the mean. The gradients are written out, so that a branch that is not taken
cannot make them NaN.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.special import digamma, gammaln

from . import single
from .deviance import log_ratio, negative_binomial_deviance, poisson_deviance
from .special import (
    HALF_LOG_TWO_PI,
    STIRLING_FROM,
    log_probs,
    log_rising_factorial,
    stirling_error,
    stirling_series,
)


@jax.jit
def poisson_log_pmf(count: Array, rate: Array | None = None, log_rate: Array | None = None) -> Array:
    """Returns log Poisson(count; rate), given the rate or its logarithm; the arguments broadcast."""
    parameter, is_log = (rate, False) if log_rate is None else (log_rate, True)
    count, parameter = _floats(count, parameter)
    return _poisson(count, parameter, is_log)


@jax.jit
def negative_binomial_log_pmf(
    count: Array, total_count: Array, probs: Array | None = None, logits: Array | None = None
) -> Array:
    """Returns log NB(count; total_count, p), given p or its logits; the arguments broadcast."""
    parameter, is_logits = (probs, False) if logits is None else (logits, True)
    count, total_count, parameter = _floats(count, total_count, parameter)
    return _negative_binomial(count, total_count, parameter, is_logits)


def _floats(*arguments: Any) -> list[Array]:
    """Returns the arguments in one floating-point dtype and one shape."""
    dtype = jnp.result_type(*arguments)
    if not jnp.issubdtype(dtype, jnp.floating):
        dtype = jnp.result_type(float)
    return jnp.broadcast_arrays(*(jnp.asarray(argument, dtype) for argument in arguments))


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def _poisson(k: Array, parameter: Array, is_log: bool) -> Array:
    rate, log_rate = (jnp.exp(parameter), parameter) if is_log else (parameter, jnp.log(parameter))
    few = jnp.where(k > 0, k * log_rate, 0.0) - rate - gammaln(k + 1)
    many = jnp.maximum(k, STIRLING_FROM)
    log_k = jnp.log(many)
    deviance = poisson_deviance(many, rate, log_ratio(many, rate, log_k, log_rate))
    log_pmf = -deviance - HALF_LOG_TWO_PI - log_k / 2 - stirling_series(many)
    log_pmf = jnp.where(k < STIRLING_FROM, few, log_pmf)
    # Where the rate overflows, both formulas give NaN.
    log_pmf = _finite(jnp.where(rate < jnp.inf, log_pmf, -rate))
    return jnp.where((k == 0) | (log_rate > -jnp.inf), log_pmf, -jnp.inf)


@_poisson.defjvp
def _poisson_jvp(is_log: bool, primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    (k, x), (dk, dx) = primals, tangents
    log_rate = x if is_log else jnp.log(x)
    slope = k - jnp.exp(x) if is_log else jnp.where(k > 0, k / x, 0.0) - 1
    change = _finite(log_rate - digamma(k + 1)) * dk + _finite(slope) * dx
    return _poisson(k, x, is_log), change


@partial(jax.custom_jvp, nondiff_argnums=(3,))
def _negative_binomial(k: Array, r: Array, parameter: Array, is_logits: bool) -> Array:
    logits = parameter if is_logits else _logit(parameter)
    odds = jnp.exp(parameter) if is_logits else parameter / (1 - parameter)
    if _is_single(k, is_logits):
        few, limit = single.negative_binomial_log_pmf(jnp.minimum(k, single.MANY), r, logits), single.MANY
    else:
        few, limit = _few_negative_binomial(jnp.minimum(k, STIRLING_FROM), r, logits), STIRLING_FROM

    def with_many(_: Array, log_pmf: Array) -> Array:
        many = jnp.maximum(k, STIRLING_FROM)
        log_k, log_r = jnp.log(many), jnp.log(r)
        deviance = negative_binomial_deviance(many, r, logits, log_ratio(many, r * odds, log_k, log_r + logits))
        errors = stirling_series(many + r) - stirling_series(many) - stirling_error(r)
        scale = (log_r - log_k - jnp.log(many + r)) / 2
        return jnp.where(k < limit, log_pmf, -deviance - HALF_LOG_TWO_PI + scale + errors)

    # A loop of no turn or one: unlike the branches of a condition, its body is spread over the processors.
    log_pmf = _finite(lax.fori_loop(0, jnp.any(~(k < limit)).astype(int), with_many, few))
    return jnp.where((k == 0) | (logits > -jnp.inf), log_pmf, -jnp.inf)


def _few_negative_binomial(k: Array, r: Array, logits: Array) -> Array:
    log_p, log_1mp = log_probs(logits)
    return jnp.where(k > 0, k * log_p, 0.0) + r * log_1mp + log_rising_factorial(r, k) - gammaln(k + 1)


def _is_single(x: Array, is_log: bool) -> bool:
    """Returns whether the forms for float32 hold, which need parameters that are logarithms."""
    return is_log and x.dtype == jnp.float32


@_negative_binomial.defjvp
def _negative_binomial_jvp(
    is_logits: bool, primals: tuple[Array, Array, Array], tangents: tuple[Array, Array, Array]
) -> tuple[Array, Array]:
    (k, r, x), (dk, dr, dx) = primals, tangents
    logits = x if is_logits else _logit(x)
    log_p, log_1mp = log_probs(logits)
    if _is_single(k, is_logits):
        for_count = single.digamma(k + r) - single.digamma(k + 1) + log_p
        for_total_count = single.digamma_difference(k, r) + log_1mp
    else:
        for_count = digamma(k + r) - digamma(k + 1) + log_p
        for_total_count = jnp.where(k > 0, digamma(k + r) - digamma(r), 0.0) + log_1mp
    for_logits = k * jax.nn.sigmoid(-x) - r * jax.nn.sigmoid(x)
    slope = for_logits if is_logits else jnp.where(k > 0, k / x, 0.0) - r / (1 - x)
    change = _finite(for_count) * dk + _finite(for_total_count) * dr + _finite(slope) * dx
    return _negative_binomial(k, r, x, is_logits), change


def _logit(probs: Array) -> Array:
    return jnp.log(probs) - jnp.log1p(-probs)


def _finite(x: Array) -> Array:
    """Clamps numbers to the finite range of their dtype; NaN stays NaN."""
    limits = jnp.finfo(x.dtype)
    return jnp.clip(x, limits.min, limits.max)
