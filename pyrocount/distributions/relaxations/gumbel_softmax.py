"""Relaxation that draws soft counts by the Gumbel-softmax trick on a capped support."""

import warnings
from dataclasses import dataclass
from typing import NoReturn

import torch
from torch import Tensor

from pyrocount.errors import largest_count

from .base import Relaxation, positive_temperature, positive_temperatures

# Number of entries of a block of counts x support: it fits the cache of a CPU core, and fills a CUDA device.
BLOCK = {"cpu": 2**17, "cuda": 2**24}
# Largest probability of counts above the cap that brings no warning when validation is on.
TAIL = 1e-3


@dataclass(frozen=True)
class GumbelSoftmax(Relaxation):
    r"""Soft counts, averages of 0, ..., ``max_count`` under a relaxed one-hot sample of the Poisson distribution.

    A value is :math:`z = \sum_k k w_k` with :math:`w = \mathrm{softmax}[(k \log\lambda - \log k! + g_k)/\tau]`, where g
    is Gumbel noise. The gradient is pathwise: :math:`dz / d\log\lambda = \mathrm{Var}_w(k) / \tau`. Counts are
    processed in blocks, so that the memory does not depend on ``max_count``. The cap makes counts too small where the
    rate is close to the cap. With validation on, a warning is given where counts exceed the cap with a probability of
    more than 0.001. ``mean`` and ``variance`` have no closed form.

    Reference:
        Zhang et al., Negative Binomial Variational Autoencoders, arXiv 2508.05423, section 4.

    Args:
        temperature: temperature of the softmax, positive; a tensor broadcasts with the rates and gets no gradient.
        max_count: largest count, at least 1.

    Raises:
        InputError: if the temperature is not positive and finite, or ``max_count`` is less than 1.

    >>> GumbelSoftmax(0.5, max_count=20).is_discrete
    False
    """

    temperature: Tensor | float
    max_count: int

    def __post_init__(self) -> None:
        positive_temperature(self.temperature)
        largest_count(self.max_count)

    @property
    def is_discrete(self) -> bool:
        """Returns False, as the values are not integers."""
        return False

    @property
    def batch_shape(self) -> torch.Size:
        """Returns the shape of the temperature."""
        return self.temperature.shape if isinstance(self.temperature, Tensor) else torch.Size()

    def soft(self, rate: Tensor, gumbel: Tensor, temperature: Tensor | float) -> tuple[Tensor, Tensor]:
        """Computes the values and their derivatives with respect to the log rate from Gumbel noise.

        Args:
            rate: expected counts, shape (n,).
            gumbel: noise for each count from 0 to ``max_count``, shape (n, max_count + 1); it is overwritten.
            temperature: temperature of the softmax, a number or a tensor of shape (n,).

        Returns:
            The values and their derivatives, both of shape (n,).
        """
        support = torch.arange(self.max_count + 1, dtype=rate.dtype, device=rate.device)
        log_rate = rate.clamp(min=torch.finfo(rate.dtype).tiny).log()
        scores = gumbel.sub_(torch.lgamma(support + 1)).addcmul_(log_rate[:, None], support)
        scores.div_(temperature[:, None] if isinstance(temperature, Tensor) else temperature)
        weights = torch.softmax(scores, 1)
        value = torch.mv(weights, support)
        spread = torch.sub(support, value[:, None], out=scores).square_().mul_(weights).sum(1)
        return value, spread / temperature

    def _draw(self, rate: Tensor) -> tuple[Tensor, Tensor]:
        flat, size = rate.flatten(), self.max_count + 1
        tau = self.temperature
        if isinstance(tau, Tensor):
            tau = tau.to(rate).expand(rate.shape).flatten()
        value, slope = torch.empty_like(flat), torch.empty_like(flat)
        rows = max(1, BLOCK.get(rate.device.type, BLOCK["cuda"]) // size)
        for start in range(0, len(flat), rows):
            block = slice(start, start + rows)
            # The uniform numbers are moved by half a step of their grid: the largest noise stands for the rest of the
            # tail.
            noise = torch.empty(len(flat[block]), size, dtype=rate.dtype, device=rate.device).uniform_()
            noise.add_(torch.finfo(rate.dtype).eps / 4).neg_().log1p_().neg_().log_().neg_()
            value[block], slope[block] = self.soft(flat[block], noise, tau[block] if isinstance(tau, Tensor) else tau)
        return value.view(rate.shape), slope.view(rate.shape)

    def moment_factors(self) -> NoReturn:
        """Raises NotImplementedError, because the mean and the variance have no closed form."""
        problem = "the mean and the variance of Gumbel-softmax counts have no closed form"
        raise NotImplementedError(f"{problem}; use those of the exact counts in .counts")

    def check(self, rate: Tensor) -> None:
        """Checks the rates as ``Relaxation.check`` does, and warns of rates whose counts the cap cuts off."""
        super().check(rate)
        positive_temperatures(self.temperature)
        above = torch.special.gammainc(torch.full_like(rate, self.max_count + 1.0), rate)
        if (above > TAIL).any():
            warnings.warn(
                f"max_count: got {self.max_count}, which counts of rate {rate.max().item():.3g} exceed with "
                f"probability {above.max().item():.2g}, expected a probability of at most {TAIL}",
                stacklevel=4,
            )
