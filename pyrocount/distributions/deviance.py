"""Half the deviance of count families, in nats and without cancellation, for float64 tensors.

Half the deviance is the Kullback-Leibler divergence between two members of a family that differ only in their means. It
is also the part of a log probability that depends on the distance of the count from the mean. The KL divergences and
the log probabilities of this package are built on it.
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from .special import log1p_residual


def log_ratio(a: Tensor, b: Tensor, log_a: Tensor, log_b: Tensor) -> Tensor:
    """Returns log(a / b) of positive numbers, precisely also where a and b almost coincide."""
    near = (a - b).abs() < b / 2
    return torch.log1p(((a - b) / b).where(near, 0.0)).where(near, log_a - log_b)


def poisson_deviance(mean: Tensor, other: Tensor, delta: Tensor, fine: bool = True) -> Tensor:
    """Returns m log(m / o) - m + o for the means m and o.

    The argument ``delta`` is log(m / o), and ``fine`` is that of ``log1p_residual``.
    """
    near = delta.abs() < 1
    step = delta.where(near, 0.0)
    close = mean * (log1p_residual(torch.expm1(-step)) if fine else torch.expm1(-step) + step)
    far = mean * delta.where(mean > 0, 0.0) - mean + other
    return close.where(near, far)


def negative_binomial_deviance(
    mean: Tensor, total_count: Tensor, logits: Tensor, delta: Tensor, fine: bool = True
) -> Tensor:
    """Returns m log(m / o) - (m + r) log((m + r) / (o + r)) for the means m and o = r exp(logits).

    The argument ``delta`` is log(m / o), and r is ``total_count``.
    """
    log_p, log_1mp = logsigmoid(logits), logsigmoid(-logits)
    near = delta.abs() < 1
    step = delta.where(near, 0.0)
    close = total_count * log1p_residual(log_p.exp() * torch.expm1(step), fine)
    close = close + mean * log1p_residual(log_1mp.exp() * torch.expm1(-step), fine)
    # The linear parts of the two terms cancel, so that they may be left out where the means are far apart.
    step = delta.where(~near & (mean > 0), 2.0)
    far = (mean * _log_mixture(log_1mp, log_p, -step)).where(mean > 0, 0.0)
    far = far + total_count * _log_mixture(log_p, log_1mp, step).where(mean > 0, log_1mp)
    return close.where(near, -far)


def _log_mixture(log_weight: Tensor, log_rest: Tensor, step: Tensor) -> Tensor:
    """Returns log(1 - w + w exp(step)) for the weight w = exp(log_weight)."""
    excess = torch.exp(log_weight + step) - torch.exp(log_weight)
    near = excess.abs() < 0.5
    return torch.log1p(excess.where(near, 0.0)).where(near, torch.logaddexp(log_rest, log_weight + step))
