"""Log probability mass functions of counts, continued to real values by the gamma function.

Those of float32 parameters that are logarithms are computed in float32, see ``single``; all others in float64, whatever
the dtype of their arguments: with a rate of 1e8 the rounding of float32 alone would cost an error of 1e-4. Counts from
``STIRLING_FROM`` on are treated as in C. Loader, Fast and Accurate Computation of Binomial Probabilities, 2000: the log
probability is the sum of a Stirling series and a deviance, which measures the distance of the count from the mean.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from . import recurrence, single
from .deviance import log_ratio, negative_binomial_deviance, poisson_deviance
from .elementwise import compact, finite, in_blocks, places, select, tabulated
from .overrides import batched, overridable, readable, transformed
from .special import (
    HALF_LOG_TWO_PI,
    STIRLING_FROM,
    log_probs,
    log_rising_factorial,
    stirling_error,
    stirling_series,
)

# Whether the derivative in each argument is needed.
Needed = tuple[bool, ...]


@overridable
def poisson_log_pmf(count: Tensor, rate: Tensor | None = None, log_rate: Tensor | None = None) -> Tensor:
    """Returns log Poisson(count; rate), given the rate or its logarithm; the arguments broadcast."""
    if log_rate is not None:
        return _log_pmf(POISSON, True, count, log_rate)
    assert rate is not None
    return _log_pmf(POISSON, False, count, rate)


@overridable
def negative_binomial_log_pmf(
    count: Tensor, total_count: Tensor, probs: Tensor | None = None, logits: Tensor | None = None
) -> Tensor:
    """Returns log NB(count; total_count, p), given p or its logits; the arguments broadcast."""
    if logits is not None:
        return _log_pmf(NEGATIVE_BINOMIAL, True, count, total_count, logits)
    assert probs is not None
    return _log_pmf(NEGATIVE_BINOMIAL, False, count, total_count, probs)


def _few_poisson(k: Tensor, rate: Tensor, log_rate: Tensor) -> Tensor:
    return (k * log_rate).where(k > 0, 0.0) - rate - torch.lgamma(k + 1)


def _many_poisson(k: Tensor, rate: Tensor, log_rate: Tensor) -> Tensor:
    log_k = k.log()
    deviance = poisson_deviance(k, rate, log_ratio(k, rate, log_k, log_rate))
    return -deviance - HALF_LOG_TWO_PI - log_k / 2 - stirling_series(k)


def _few_negative_binomial(k: Tensor, r: Tensor, logits: Tensor, odds: Tensor) -> Tensor:
    log_p, log_1mp = log_probs(logits)
    linear = (k * log_p).where(k > 0, 0.0) + r * log_1mp
    return linear + log_rising_factorial(r, k) - torch.lgamma(k + 1)


def _many_negative_binomial(k: Tensor, r: Tensor, logits: Tensor, odds: Tensor) -> Tensor:
    log_k, log_r = k.log(), r.log()
    deviance = negative_binomial_deviance(k, r, logits, log_ratio(k, r * odds, log_k, log_r + logits))
    errors = stirling_series(k + r) - stirling_series(k) - stirling_error(r)
    return -deviance - HALF_LOG_TWO_PI + (log_r - log_k - torch.log(k + r)) / 2 + errors


class _LogPMF(Function):
    """The log probability, followed by the derivatives that are needed, which the backward pass uses."""

    @staticmethod
    def forward(family: "_Family", is_log: bool, needed: Needed, *tensors: Tensor) -> tuple[Tensor, ...]:
        dtype = reduce(torch.promote_types, (tensor.dtype for tensor in tensors))
        function, operands = tabulated(partial(_evaluate, family, is_log, dtype, needed), *_operands(is_log, *tensors))
        return in_blocks(function, *operands)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.family, ctx.is_log, ctx.needed, *tensors = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(*tensors, *output[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *unused: Tensor) -> tuple[Tensor | None, ...]:
        number, needed, slopes = len(ctx.needed), ctx.needed, ctx.saved_tensors[len(ctx.needed) :]
        tensors = ctx.saved_tensors[:number]
        if torch.is_grad_enabled() or not any(needed):
            # A second derivative may be needed, or a transform did not say before what is needed.
            needed = ctx.needs_input_grad[-number:]
            slopes = _slopes(ctx.family, ctx.is_log, needed, *_operands(ctx.is_log, *tensors))
        each = iter(slopes)
        gradients = [
            finite(grad * next(each), x.dtype) if need else None for x, need in zip(tensors, needed, strict=True)
        ]
        return None, None, None, *gradients

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        results = _LogPMF.apply(*inputs[:3], *batched(info, in_dims[3:], inputs[3:]))
        return results, (0,) * len(results)


@dataclass(frozen=True)
class _Family:
    """Functions of whether a parameter is a logarithm, a count and its parameters.

    Args:
        log_pmf: returns the log probability.
        slopes: yields the derivatives that are needed; they are differentiable.
        recurrence: yields the log probability and the derivatives that are needed, of small float32 counts.
    """

    log_pmf: Callable[..., Tensor]
    slopes: Callable[..., Iterator[Tensor]]
    recurrence: Callable[..., Iterator[Tensor]] | None = None


def _log_pmf(family: _Family, is_log: bool, *arguments: Tensor) -> Tensor:
    tensors = torch.broadcast_tensors(*arguments)
    known = torch.is_grad_enabled() and not transformed()
    needed = tuple(known and tensor.requires_grad for tensor in tensors)
    result: Tensor = _LogPMF.apply(family, is_log, needed, *tensors)[0]
    return result


def _evaluate(
    family: _Family, is_log: bool, dtype: torch.dtype, needed: Needed, k: Tensor, *parameters: Tensor
) -> Iterator[Tensor]:
    """Yields the log probability in a dtype, and the derivatives that are needed."""
    if family.recurrence and recurrence.worthwhile(k):
        log_pmf, *slopes = _of_most(family, is_log, needed, k, *parameters)
    else:
        log_pmf = family.log_pmf(is_log, k, *parameters)
        slopes = list(_slopes(family, is_log, needed, k, *parameters))
    yield _possible(finite(log_pmf, dtype), k, parameters[-1], -math.inf if is_log else 0.0)
    yield from slopes


def _of_most(family: _Family, is_log: bool, needed: Needed, k: Tensor, *parameters: Tensor) -> list[Tensor]:
    """Returns what the recurrence yields, and for counts that are larger what the other functions do."""
    assert family.recurrence
    results = list(family.recurrence(needed, k.clamp(max=recurrence.LAST), *parameters))
    large = places((k > recurrence.LAST).expand(results[0].shape))
    if len(large):
        some = [each.expand(results[0].shape).flatten().index_select(0, large) for each in (k, *parameters)]
        values = family.log_pmf(is_log, *some), *_slopes(family, is_log, needed, *some)
        for result, of_large in zip(results, values, strict=True):
            result.view(-1).index_copy_(0, large, of_large)
    return results


def _slopes(family: _Family, is_log: bool, needed: Needed, k: Tensor, *parameters: Tensor) -> Iterator[Tensor]:
    """Yields the derivatives that are needed.

    A missing count, NaN, has none, so that a mask need not keep it out of the computation.
    """
    missing = not (readable(k) and k.sum() < math.inf)
    for slope in family.slopes(is_log, needed, k, *parameters):
        yield slope.where(k == k, 0.0) if missing else slope


def _poisson(is_log: bool, k: Tensor, x: Tensor) -> Tensor:
    rate, log_rate = (x.exp(), x) if is_log else (x, x.log())
    if k.dtype == torch.float64:
        log_pmf = select(k < STIRLING_FROM, _few_poisson, _many_poisson, k, rate, log_rate)
    else:
        log_pmf = single.poisson_log_pmf(k, log_rate)
    # Where the rate overflows, both formulas give NaN.
    return log_pmf.where(rate < math.inf, -rate)


def _poisson_slopes(is_log: bool, needed: Needed, k: Tensor, x: Tensor) -> Iterator[Tensor]:
    if needed[0]:
        yield (x if is_log else x.log()) - _digamma(k + 1)
    if needed[1]:
        yield k - x.exp() if is_log else (k / x).where(k > 0, 0.0) - 1


def _negative_binomial(is_logits: bool, k: Tensor, r: Tensor, x: Tensor) -> Tensor:
    logits = x if is_logits else torch.logit(x)
    if k.dtype == torch.float64:
        odds = x.exp() if is_logits else x / (1 - x)
        return select(k < STIRLING_FROM, _few_negative_binomial, _many_negative_binomial, k, r, logits, odds)
    return single.negative_binomial_log_pmf(k, r, logits)


def _negative_binomial_slopes(is_logits: bool, needed: Needed, k: Tensor, r: Tensor, x: Tensor) -> Iterator[Tensor]:
    log_p, log_1mp = log_probs(x if is_logits else torch.logit(x))
    if needed[0]:
        yield _digamma(k + r) - _digamma(k + 1) + log_p
    if needed[1]:
        yield _digamma_difference(k, r) + log_1mp
    if needed[2]:
        if is_logits:
            yield k * torch.sigmoid(-x) - r * torch.sigmoid(x)
        else:
            yield (k / x).where(k > 0, 0.0) - r / (1 - x)


POISSON = _Family(_poisson, _poisson_slopes)
NEGATIVE_BINOMIAL = _Family(_negative_binomial, _negative_binomial_slopes, recurrence.negative_binomial)


def _operands(is_log: bool, count: Tensor, *parameters: Tensor) -> list[Tensor]:
    """Returns a count and its parameters in the dtype to compute in; the parameters broadcast to the count."""
    double = not is_log or torch.float64 in (tensor.dtype for tensor in (count, *parameters))
    dtype = torch.float64 if double else torch.float32
    return [count.to(dtype), *(compact(parameter).to(dtype) for parameter in parameters)]


def _digamma(x: Tensor) -> Tensor:
    return torch.digamma(x) if x.dtype == torch.float64 else single.digamma(x)


def _digamma_difference(k: Tensor, r: Tensor) -> Tensor:
    if k.dtype == torch.float64:
        return (torch.digamma(k + r) - torch.digamma(r)).where(k > 0, 0.0)
    return single.digamma_difference(k, r)


def _possible(log_pmf: Tensor, k: Tensor, parameter: Tensor, of_no_mean: float) -> Tensor:
    """Returns the log probabilities, -inf for counts other than 0 where the parameter is that of a mean of 0."""
    if readable(parameter) and parameter.amin() > of_no_mean:
        return log_pmf
    return log_pmf.where((k == 0) | (parameter > of_no_mean), -math.inf)
