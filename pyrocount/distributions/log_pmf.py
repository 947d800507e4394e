"""Log probability mass functions of counts, continued to real values by the gamma function.

They are computed in float64, whatever the dtype of their arguments: with a log rate of 18 the rounding of float32 alone
would cost an error of 1e-4. Counts from ``STIRLING_FROM`` on are treated as in C. Loader, Fast and Accurate Computation
of Binomial Probabilities, 2000: the log probability is the sum of a Stirling series and a deviance, which measures the
distance of the count from the mean.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn.functional import logsigmoid

from .deviance import log_ratio, negative_binomial_deviance, poisson_deviance
from .overrides import batched, overridable
from .special import (
    HALF_LOG_TWO_PI,
    STIRLING_FROM,
    log_probs,
    log_rising_factorial,
    select,
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
        k, parameter = count.double(), parameter.double()
        rate, log_rate = (parameter.exp(), parameter) if is_log else (parameter, parameter.log())
        log_pmf = select(k < STIRLING_FROM, _few_poisson, _many_poisson, k, rate, log_rate)
        # Where the rate overflows, both formulas give NaN.
        log_pmf = log_pmf.where(rate < math.inf, -rate)
        return _finite(log_pmf, dtype).where((k == 0) | (log_rate > -math.inf), -math.inf)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, bool], output: Tensor) -> None:
        count, parameter, ctx.is_log = inputs
        ctx.save_for_backward(count, parameter)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        count, parameter = ctx.saved_tensors
        k, x = count.double(), parameter.double()
        for_count = for_parameter = None
        if ctx.needs_input_grad[0]:
            log_rate = x if ctx.is_log else x.log()
            for_count = _scaled(grad, log_rate - torch.digamma(k + 1), k, count.dtype)
        if ctx.needs_input_grad[1]:
            slope = k - x.exp() if ctx.is_log else (k / x).where(k > 0, 0.0) - 1
            for_parameter = _scaled(grad, slope, k, parameter.dtype)
        return for_count, for_parameter, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Tensor, int]:
        *tensors, is_log = inputs
        return _PoissonLogPMF.apply(*batched(info, in_dims[:-1], tensors), is_log), 0


class _NegativeBinomialLogPMF(Function):
    @staticmethod
    def forward(count: Tensor, total_count: Tensor, parameter: Tensor, is_logits: bool) -> Tensor:
        dtype = torch.promote_types(torch.promote_types(count.dtype, total_count.dtype), parameter.dtype)
        k, r, parameter = count.double(), total_count.double(), parameter.double()
        logits = parameter if is_logits else torch.logit(parameter)
        odds = parameter.exp() if is_logits else parameter / (1 - parameter)
        log_pmf = select(k < STIRLING_FROM, _few_negative_binomial, _many_negative_binomial, k, r, logits, odds)
        return _finite(log_pmf, dtype).where((k == 0) | (logits > -math.inf), -math.inf)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, bool], output: Tensor) -> None:
        *tensors, ctx.is_logits = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        count, total_count, parameter = ctx.saved_tensors
        k, r, x = count.double(), total_count.double(), parameter.double()
        logits = x if ctx.is_logits else torch.logit(x)
        for_count = for_total_count = for_parameter = None
        rising = torch.digamma(k + r) if any(ctx.needs_input_grad[:2]) else k
        if ctx.needs_input_grad[0]:
            slope = rising - torch.digamma(k + 1) + logsigmoid(logits)
            for_count = _scaled(grad, slope, k, count.dtype)
        if ctx.needs_input_grad[1]:
            slope = (rising - torch.digamma(r)).where(k > 0, 0.0) + logsigmoid(-logits)
            for_total_count = _scaled(grad, slope, k, total_count.dtype)
        if ctx.needs_input_grad[2]:
            if ctx.is_logits:
                slope = k * torch.sigmoid(-x) - r * torch.sigmoid(x)
            else:
                slope = (k / x).where(k > 0, 0.0) - r / (1 - x)
            for_parameter = _scaled(grad, slope, k, parameter.dtype)
        return for_count, for_total_count, for_parameter, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Tensor, int]:
        *tensors, is_logits = inputs
        return _NegativeBinomialLogPMF.apply(*batched(info, in_dims[:-1], tensors), is_logits), 0


def _scaled(grad: Tensor, slope: Tensor, count: Tensor, dtype: torch.dtype) -> Tensor:
    """Returns a gradient; a missing count, NaN, has none, so that a mask need not keep it out of the computation."""
    return _finite(grad * slope.where(count == count, 0.0), dtype)


def _finite(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Converts numbers to a dtype, clamped to the finite range of this dtype; NaN stays NaN."""
    limits = torch.finfo(dtype)
    return x.clamp(limits.min, limits.max).to(dtype)
