"""Half the deviance of count families, in nats and without cancellation.

Half the deviance is the Kullback-Leibler divergence between two members of a family that differ only in their means. It
is also the part of a log probability that depends on the distance of the count from the mean. The KL divergences and
the log probabilities of this package are built on it. It is computed in the dtype of its arguments, float32 or float64.
Its derivatives come from the same evaluation.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn.functional import logsigmoid

from .overrides import batched, overridable
from .special import compact, expm1_residual, log1p, log1p_residual, log_probs, select_each


def log_ratio(a: Tensor, b: Tensor, log_a: Tensor, log_b: Tensor) -> Tensor:
    """Returns log(a / b) of positive numbers, precisely also where a and b almost coincide."""
    near = (a - b).abs() < b / 2
    return torch.log1p(((a - b) / b).where(near, 0.0)).where(near, log_a - log_b)


@overridable
def poisson_deviance(mean: Tensor, other: Tensor, delta: Tensor) -> Tensor:
    """Returns m log(m / o) - m + o for the means m and o.

    The argument ``delta`` is log(m / o); the derivatives are those with respect to m and o.
    """
    value: Tensor = _PoissonDeviance.apply(*torch.broadcast_tensors(mean, other, delta))[0]
    return value


@overridable
def negative_binomial_deviance(mean: Tensor, total_count: Tensor, logits: Tensor, delta: Tensor) -> Tensor:
    """Returns m log(m / o) - (m + r) log((m + r) / (o + r)) for the means m and o = r exp(logits).

    The argument ``delta`` is log(m / o), and r is ``total_count``; the derivatives are those with respect to m, r and
    the logits.
    """
    arguments = torch.broadcast_tensors(mean, total_count, logits, delta)
    value: Tensor = _NegativeBinomialDeviance.apply(*arguments)[0]
    return value


class _PoissonDeviance(Function):
    """Half the deviance, followed by its derivative with respect to the other mean."""

    @staticmethod
    def forward(mean: Tensor, other: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
        value, for_other = select_each(delta.abs() < 1, _near_poisson, _far_poisson, mean, compact(other), delta)
        return value, for_other

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        mean, other, delta = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(mean, other, delta, output[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, unused: Tensor) -> tuple[Tensor | None, ...]:
        mean, other, delta, for_other = ctx.saved_tensors
        if torch.is_grad_enabled():
            # A second derivative may be needed.
            delta, for_other = mean.log() - other.log(), 1 - mean / other
        return grad * delta.where(mean > 0, 0.0), grad * for_other, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Tensor) -> tuple[tuple[Tensor, ...], Any]:
        return _PoissonDeviance.apply(*batched(info, in_dims, inputs)), (0, 0)


def _near_poisson(mean: Tensor, other: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
    fall = (-delta).clamp_(-1, 1)
    residual = expm1_residual(fall)
    fall.add_(residual)
    return residual.mul_(mean), fall / (1 + fall)


def _far_poisson(mean: Tensor, other: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
    return mean * delta.where(mean > 0, 0.0) - mean + other, 1 - mean / other


class _NegativeBinomialDeviance(Function):
    """Half the deviance, followed by its derivatives with respect to the mean, total_count and logits."""

    @staticmethod
    def forward(mean: Tensor, r: Tensor, logits: Tensor, delta: Tensor) -> tuple[Tensor, ...]:
        arguments = mean, compact(r), compact(logits), delta
        return select_each(delta.abs() < 1, _near_negative_binomial, _far_negative_binomial, *arguments)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(*inputs[:3], *output[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *unused: Tensor) -> tuple[Tensor | None, ...]:
        mean, r, logits, *slopes = ctx.saved_tensors
        if torch.is_grad_enabled():
            # A second derivative may be needed.
            log_p, log_1mp = logsigmoid(logits), logsigmoid(-logits)
            log_sums = torch.log1p(mean / r) + log_1mp
            slopes = [mean.log() - r.log() - logits - log_sums, -log_sums, r * log_p.exp() - mean * log_1mp.exp()]
        return *(grad * slope for slope in slopes), None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Tensor) -> tuple[tuple[Tensor, ...], Any]:
        return _NegativeBinomialDeviance.apply(*batched(info, in_dims, inputs)), (0, 0, 0, 0)


def _near_negative_binomial(mean: Tensor, r: Tensor, logits: Tensor, delta: Tensor) -> tuple[Tensor, ...]:
    delta = delta.clamp(-1, 1)
    rise = expm1_residual(delta).add_(delta)
    fall = torch.sigmoid(-logits) * (rise / (1 + rise)).neg_()
    rise.mul_(torch.sigmoid(logits))
    # The residuals hold the logarithms of the two ratios: of the means and of the sums m + r and o + r.
    of_rise, of_fall = log1p_residual(rise), log1p_residual(fall)
    return of_rise * r + of_fall * mean, of_fall - fall, of_rise - rise, -rise * r


def _far_negative_binomial(mean: Tensor, r: Tensor, logits: Tensor, delta: Tensor) -> tuple[Tensor, ...]:
    log_p, log_1mp = log_probs(logits)
    # The linear parts of the residuals cancel.
    step = delta.where(mean > 0, 2.0)
    for_mean = -_log_mixture(log_1mp, log_p, -step)
    log_sums = _log_mixture(log_p, log_1mp, step).where(mean > 0, log_1mp)
    value = (mean * for_mean).where(mean > 0, 0.0) - r * log_sums
    return value, for_mean, -log_sums, r * log_p.exp() - mean * log_1mp.exp()


def _log_mixture(log_weight: Tensor, log_rest: Tensor, step: Tensor) -> Tensor:
    """Returns log(1 - w + w exp(step)) for the weight w = exp(log_weight)."""
    excess = torch.exp(log_weight + step) - torch.exp(log_weight)
    near = excess.abs() < 0.5
    return log1p(excess.where(near, 0.0)).where(near, torch.logaddexp(log_rest, log_weight + step))
