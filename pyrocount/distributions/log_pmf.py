"""Log probability mass functions of counts, continued to real values by the gamma function."""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def poisson_log_pmf(count: Tensor, rate: Tensor, log_rate: Tensor) -> Tensor:
    """log Poisson(count; rate), broadcast over its arguments."""
    linear = (count * log_rate).where(count != 0, 0.0)
    return linear - rate - torch.lgamma(count + 1)


def negative_binomial_log_pmf(count: Tensor, total_count: Tensor, logits: Tensor) -> Tensor:
    """log NB(count; total_count, logits) with mean total_count * exp(logits), broadcast over its arguments."""
    linear = (count * logsigmoid(logits)).where(count != 0, 0.0) + total_count * logsigmoid(-logits)
    return linear + torch.lgamma(count + total_count) - torch.lgamma(total_count) - torch.lgamma(count + 1)
