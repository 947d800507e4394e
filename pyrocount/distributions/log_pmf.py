"""Log probability mass functions of counts, continued to real values by the gamma function.

Those of float32 parameters that are logarithms are computed in float32, see ``single``; all others in float64, whatever
the dtype of their arguments: with a rate of 1e8 the rounding of float32 alone would cost an error of 1e-4. Counts from
``STIRLING_FROM`` on are treated as in C. Loader, Fast and Accurate Computation of Binomial Probabilities, 2000: the log
probability is the sum of a Stirling series and a deviance, which measures the distance of the count from the mean.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from . import single
from .deviance import log_ratio, negative_binomial_deviance, poisson_deviance
from .elementwise import compact, finite, in_blocks, select, tabulated
from .overrides import batched, overridable, readable
from .special import (
    HALF_LOG_TWO_PI,
    STIRLING_FROM,
    log_probs,
    log_rising_factorial,
    stirling_error,
    stirling_series,
)


@overridable
def poisson_log_pmf(count: Tensor, rate: Tensor | None = None, log_rate: Tensor | None = None) -> Tensor:
    """Returns log Poisson(count; rate), given the rate or its logarithm; the arguments broadcast."""
    parameter = rate if log_rate is None else log_rate
    count, parameter = torch.broadcast_tensors(count, parameter)
    result: Tensor = _PoissonLogPMF.apply(count, parameter, log_rate is not None)
    return result


@overridable
def negative_binomial_log_pmf(
    count: Tensor, total_count: Tensor, probs: Tensor | None = None, logits: Tensor | None = None
) -> Tensor:
    """Returns log NB(count; total_count, p), given p or its logits; the arguments broadcast."""
    parameter = probs if logits is None else logits
    count, total_count, parameter = torch.broadcast_tensors(count, total_count, parameter)
    result: Tensor = _NegativeBinomialLogPMF.apply(count, total_count, parameter, logits is not None)
    return result


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


class _PoissonLogPMF(Function):
    @staticmethod
    def forward(count: Tensor, parameter: Tensor, is_log: bool) -> Tensor:
        dtype = torch.promote_types(count.dtype, parameter.dtype)
        return _values(partial(_poisson, is_log, dtype), *_operands(is_log, count, parameter))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, bool], output: Tensor) -> None:
        count, parameter, ctx.is_log = inputs
        ctx.save_for_backward(count, parameter)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return *_gradients(partial(_poisson_slopes, ctx.is_log), ctx.is_log, ctx, grad), None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Tensor, int]:
        *tensors, is_log = inputs
        return _PoissonLogPMF.apply(*batched(info, in_dims[:-1], tensors), is_log), 0


def _poisson(is_log: bool, dtype: torch.dtype, k: Tensor, x: Tensor) -> tuple[Tensor]:
    rate, log_rate = (x.exp(), x) if is_log else (x, x.log())
    if k.dtype == torch.float64:
        log_pmf = select(k < STIRLING_FROM, _few_poisson, _many_poisson, k, rate, log_rate)
    else:
        log_pmf = single.poisson_log_pmf(k, log_rate)
    # Where the rate overflows, both formulas give NaN.
    log_pmf = log_pmf.where(rate < math.inf, -rate)
    return (_possible(finite(log_pmf, dtype), k, log_rate),)


def _poisson_slopes(is_log: bool, needed: Sequence[bool], k: Tensor, x: Tensor) -> Iterator[Tensor]:
    if needed[0]:
        yield (x if is_log else x.log()) - _digamma(k + 1)
    if needed[1]:
        yield k - x.exp() if is_log else (k / x).where(k > 0, 0.0) - 1


class _NegativeBinomialLogPMF(Function):
    @staticmethod
    def forward(count: Tensor, total_count: Tensor, parameter: Tensor, is_logits: bool) -> Tensor:
        dtype = torch.promote_types(torch.promote_types(count.dtype, total_count.dtype), parameter.dtype)
        operands = _operands(is_logits, count, total_count, parameter)
        return _values(partial(_negative_binomial, is_logits, dtype), *operands)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, bool], output: Tensor) -> None:
        *tensors, ctx.is_logits = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return *_gradients(partial(_negative_binomial_slopes, ctx.is_logits), ctx.is_logits, ctx, grad), None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Tensor, int]:
        *tensors, is_logits = inputs
        return _NegativeBinomialLogPMF.apply(*batched(info, in_dims[:-1], tensors), is_logits), 0


def _negative_binomial(is_logits: bool, dtype: torch.dtype, k: Tensor, r: Tensor, x: Tensor) -> tuple[Tensor]:
    logits = x if is_logits else torch.logit(x)
    if k.dtype == torch.float64:
        odds = x.exp() if is_logits else x / (1 - x)
        log_pmf = select(k < STIRLING_FROM, _few_negative_binomial, _many_negative_binomial, k, r, logits, odds)
    else:
        log_pmf = single.negative_binomial_log_pmf(k, r, logits)
    return (_possible(finite(log_pmf, dtype), k, logits),)


def _negative_binomial_slopes(
    is_logits: bool, needed: Sequence[bool], k: Tensor, r: Tensor, x: Tensor
) -> Iterator[Tensor]:
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


def _values(log_pmf: Callable[..., tuple[Tensor]], *operands: Tensor) -> Tensor:
    """Returns the log probabilities of a count and its parameters."""
    function, arguments = tabulated(log_pmf, *operands)
    (values,) = in_blocks(function, *arguments)
    return values


def _gradients(slopes: Callable[..., Iterator[Tensor]], is_log: bool, ctx: Any, grad: Tensor) -> list[Tensor | None]:
    """Returns the gradients of a count and its parameters, as far as they are needed.

    A missing count, NaN, has none, so that a mask need not keep it out of the computation.
    """
    tensors, needed = ctx.saved_tensors, ctx.needs_input_grad
    dtypes = [tensor.dtype for tensor, need in zip(tensors, needed, strict=False) if need]
    if not dtypes:
        return [None] * len(tensors)
    of_each, operands = tabulated(partial(slopes, needed), *_operands(is_log, *tensors))

    def scaled(grad: Tensor, k: Tensor, *others: Tensor) -> Iterator[Tensor]:
        missing = not (readable(k) and k.sum() < math.inf)
        for slope, dtype in zip(of_each(k, *others), dtypes, strict=True):
            yield finite(grad * (slope.where(k == k, 0.0) if missing else slope), dtype)

    each = iter(in_blocks(scaled, grad, *operands))
    return [next(each) if need else None for need in needed[: len(tensors)]]


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


def _possible(log_pmf: Tensor, k: Tensor, log_mean: Tensor) -> Tensor:
    """Returns the log probabilities, -inf for counts other than 0 of a mean of 0."""
    if readable(log_mean) and log_mean.amin() > -math.inf:
        return log_pmf
    return log_pmf.where((k == 0) | (log_mean > -math.inf), -math.inf)
