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

from .elementwise import compact, finite, in_blocks, weight
from .overrides import batched, overridable
from .special import exp, expm1_residual, log1p_residual


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
    def forward(mean: Tensor, other: Tensor, delta: Tensor) -> tuple[Tensor, ...]:
        return in_blocks(_poisson, mean, compact(other), delta)

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
        return grad * finite(delta), grad * for_other, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Tensor) -> tuple[tuple[Tensor, ...], Any]:
        return _PoissonDeviance.apply(*batched(info, in_dims, inputs)), (0, 0)


def _poisson(mean: Tensor, other: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
    fall = (-delta).clamp_(-1, 1)
    residual = expm1_residual(fall)
    fall.add_(residual)
    # Where the means are far apart, differences are as precise.
    far = weight(delta.abs().sub_(1))
    value = finite((mean * finite(delta)).sub_(mean).add_(other))
    return residual.mul_(mean).lerp_(value, far), (fall / (1 + fall)).lerp_(finite(1 - mean / other), far)


class _NegativeBinomialDeviance(Function):
    """Half the deviance, followed by its derivatives with respect to the mean, total_count and logits."""

    @staticmethod
    def forward(mean: Tensor, r: Tensor, logits: Tensor, delta: Tensor) -> tuple[Tensor, ...]:
        return in_blocks(_negative_binomial, mean, compact(r), compact(logits), delta)

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


def _negative_binomial(mean: Tensor, r: Tensor, logits: Tensor, delta: Tensor) -> tuple[Tensor, ...]:
    """Computes the deviance, -(a g + b h), and its derivatives.

    Where m >= o, g = log((m + r) / (o + r)), h = g - log(m / o), a = r and b = m. Where m < o, g and h are the other
    way round, and so are a and b: g rises with the distance of the means, h falls.
    """
    limits = torch.finfo(delta.dtype)
    distance = delta.abs().clamp_(max=limits.max)
    above = weight(delta)
    p, q = torch.sigmoid(logits), torch.sigmoid(-logits)
    u, v = torch.lerp(q, p, above), torch.lerp(p, q, above)
    a, b = torch.lerp(mean, r, above), torch.lerp(r, mean, above)
    far = weight(distance - 1)
    near = distance.clamp(max=1)
    decay = exp(-distance)
    lost = (near - expm1_residual(-near)).lerp_(1 - decay, far)
    # The series of the residuals are for close means, where the rise is below e - 1 and the fall below 1 - 1 / e.
    rise = (u * lost).div_(decay.clamp(min=limits.tiny)).clamp_(max=2)
    fall = (v * lost).clamp_(max=0.9)
    of_rise, of_fall = log1p_residual(rise), log1p_residual(-fall)
    h = (-fall - of_fall).lerp_((v * decay).add_(u).clamp_(min=limits.tiny).log_(), weight(fall - 0.5))
    g = (rise - of_rise).lerp_(distance + h, weight(rise - 1))
    value = finite((a * of_rise).add_(b * of_fall)).lerp_(finite(-(a * g) - b * h), far)
    for_logits = torch.lerp(fall * r, -rise * r, above).lerp_(finite(r * p - mean * q), far)
    return value, -torch.lerp(g, h, above), -torch.lerp(h, g, above), for_logits
