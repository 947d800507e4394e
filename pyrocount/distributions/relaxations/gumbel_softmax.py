"""Soft counts by the Gumbel-softmax trick on a capped support."""

import warnings
from dataclasses import dataclass
from typing import NoReturn

import torch
from torch import Tensor

from pyrocount.errors import InputError

from .base import Relaxation, positive_temperature, positive_temperatures

# Entries of a block of counts x support: in a core's cache on a CPU, and large enough to fill a CUDA device.
BLOCK = {"cpu": 2**17, "cuda": 2**24}
# Under validation a larger probability above the cap brings a warning.
TAIL = 1e-3


@dataclass(frozen=True)
class GumbelSoftmax(Relaxation):
    r"""Soft counts, averages of 0, ..., ``max_count`` under a relaxed one-hot sample of the Poisson distribution.

    :math:`z = \sum_k k w_k` with :math:`w = \mathrm{softmax}[(k \log\lambda - \log k! + g_k)/\tau]`, g Gumbel noise.
    The gradient is pathwise: :math:`dz / d\log\lambda = \mathrm{Var}_w(k) / \tau`. Counts are worked through in blocks,
    so that the memory does not depend on ``max_count``. The cap makes the counts of rates near it too small; under
    validation, a probability above the cap of more than 0.001 brings a warning. ``mean`` and ``variance`` have no
    closed form.

    Reference:
        Zhang et al., Negative Binomial Variational Autoencoders, arXiv 2508.05423, section 4.

    Args:
        temperature: of the softmax, positive; a tensor broadcasts with the rates and gets no gradient.
        max_count: the largest count, at least 1.

    Raises:
        InputError: if the temperature is not positive and finite, or ``max_count`` is less than 1.

    >>> GumbelSoftmax(0.5, max_count=20).is_discrete
    False
    """

    temperature: Tensor | float
    max_count: int

    def __post_init__(self) -> None:
        positive_temperature(self.temperature)
        if self.max_count != int(self.max_count) or self.max_count < 1:
            raise InputError("max_count", self.max_count, "a positive whole number")

    @property
    def is_discrete(self) -> bool:
        """Always False."""
        return False

    @property
    def batch_shape(self) -> torch.Size:
        """Shape of the temperature."""
        return self.temperature.shape if isinstance(self.temperature, Tensor) else torch.Size()

    def _draw(self, rate: Tensor) -> tuple[Tensor, Tensor]:
        support = torch.arange(self.max_count + 1, dtype=rate.dtype, device=rate.device)
        log_factorial = torch.lgamma(support + 1)
        tiny = torch.finfo(rate.dtype).tiny
        log_rate = rate.clamp(min=tiny).log().flatten()
        tau = self.temperature
        if isinstance(tau, Tensor):
            tau = tau.to(rate).expand(rate.shape).flatten()[:, None]

        value, slope = torch.empty_like(log_rate), torch.empty_like(log_rate)
        rows = max(1, BLOCK.get(rate.device.type, BLOCK["cuda"]) // len(support))
        for start in range(0, len(log_rate), rows):
            block = slice(start, start + rows)
            width = tau[block] if isinstance(tau, Tensor) else tau
            # Minus the Gumbel noise is the logarithm of an exponential.
            scores = torch.empty(len(log_rate[block]), len(support), dtype=rate.dtype, device=rate.device)
            scores.exponential_().clamp_(min=tiny).log_().add_(log_factorial).neg_()
            scores.addcmul_(log_rate[block, None], support).div_(width)
            weights = torch.softmax(scores, 1)
            value[block] = torch.mv(weights, support)
            spread = torch.sub(support, value[block, None], out=scores).square_().mul_(weights).sum(1)
            slope[block] = spread / (width.squeeze(1) if isinstance(width, Tensor) else width)
        return value.view(rate.shape), slope.view(rate.shape)

    def moment_factors(self) -> NoReturn:
        """There is no closed form."""
        raise NotImplementedError("Gumbel-softmax counts have no closed mean and variance; see .counts")

    def check(self, rate: Tensor) -> None:
        """Warns of rates whose counts the cap cuts off; see ``Relaxation.check``."""
        super().check(rate)
        positive_temperatures(self.temperature)
        above = torch.special.gammainc(torch.full_like(rate, self.max_count + 1.0), rate)
        if (above > TAIL).any():
            warnings.warn(
                f"max_count: got {self.max_count}, above which the counts of rate {rate.max().item():.3g} are with "
                f"probability {above.max().item():.2g}, expected at most {TAIL}",
                stacklevel=4,
            )
