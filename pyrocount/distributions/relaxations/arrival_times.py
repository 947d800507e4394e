"""Relaxation that softly counts the arrivals of a Poisson process."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from pyrocount.errors import InputError

from ..poisson_sampler import poisson
from .base import Relaxation, positive_temperature, positive_temperatures

# Expected number of arrivals in the window from which a count is drawn by strata, and the number of strata.
MANY, STRATA = 256, 16
# Number of counts whose arrivals are in memory at a time; an arrival takes about 40 bytes.
BLOCK = {"cpu": 2**15, "cuda": 2**20}
# Nodes and weights of Gauss's rule on the interval from 0 to 1.
NODES, WEIGHTS = (np.polynomial.legendre.leggauss(12)[0] + 1) / 2, np.polynomial.legendre.leggauss(12)[1] / 2


@dataclass(frozen=True)
class ArrivalTimes(Relaxation):
    r"""Soft counts of the arrivals of a Poisson process in the unit window.

    :math:`z = \sum_n h((1 - S_n)/\tau)` over the arrival times :math:`S_n` of a process of rate :math:`\lambda`, where
    the indicator h rises from 0 to 1: ``"cubic"`` is :math:`1/2 + 3y/4 - y^3/4` on [-1, 1], whose mean is exactly
    :math:`\lambda` for :math:`\tau \le 1`; ``"sigmoid"`` is the logistic function. The gradient is pathwise: with the
    unit exponentials behind :math:`S_n` held fixed, :math:`dz / d\log\lambda = \sum_n S_n h'((1 - S_n)/\tau) / \tau`.

    Arrivals before the window in which h is neither 0 nor 1 are only counted; those inside it are drawn uniformly. This
    gives the exact joint distribution of value and derivative. Where more than 256 arrivals are expected inside the
    window, it is cut into 16 strata. The number of arrivals in each stratum is exact; the sums of their heights and
    slopes, given this number, have their exact means and covariances and are normal, which holds to the precision of
    the dtype. So the time and the memory of a count are bounded, however large its rate.

    References:
        Vafaii, Galor and Yates, Poisson Variational Autoencoder, NeurIPS 2024, algorithm 1 (arrival times, sigmoid).
        A Hitchhiker's Guide to Poisson Gradient Estimation, arXiv 2602.03896 (cubic indicator, moments).

    Args:
        temperature: width of the indicator in units of the window, positive; a tensor broadcasts with the rates and
            gets no gradient.
        indicator: ``"cubic"`` or ``"sigmoid"``.
        hard: whether the values are the integer numbers of arrivals in the window; the gradient stays that of the
            soft counts.

    Raises:
        InputError: if the temperature is not positive and finite, or the indicator is unknown.

    >>> ArrivalTimes(0.1).is_discrete, ArrivalTimes(0.1, hard=True).is_discrete
    (False, True)
    """

    temperature: Tensor | float
    indicator: Literal["cubic", "sigmoid"] = "cubic"
    hard: bool = False

    def __post_init__(self) -> None:
        positive_temperature(self.temperature)
        if self.indicator not in _INDICATORS:
            raise InputError("indicator", repr(self.indicator), f"one of {', '.join(_INDICATORS)}")

    @property
    def is_discrete(self) -> bool:
        """Returns whether the values are integers, which is the case if ``hard`` is true."""
        return self.hard

    @property
    def batch_shape(self) -> torch.Size:
        """Returns the shape of the temperature."""
        return self.temperature.shape if isinstance(self.temperature, Tensor) else torch.Size()

    def check(self, rate: Tensor) -> None:
        """Checks the values of the rates and of the temperature; see ``Relaxation.check``."""
        super().check(rate)
        positive_temperatures(self.temperature)

    def contribution(self, times: Tensor, temperature: Tensor | float) -> tuple[Tensor, Tensor]:
        """Computes what arrivals at these times add to a value and to its derivative with respect to the log rate."""
        height, steepness = _INDICATORS[self.indicator]((1 - times) / temperature)
        value = (times <= 1).to(times.dtype) if self.hard else height
        return value, times * steepness / temperature

    def _draw(self, rate: Tensor) -> tuple[Tensor, Tensor]:
        tau: Any = self.temperature
        if isinstance(tau, Tensor):
            tau = tau.to(rate).expand(rate.shape).flatten()
        start, length = self._window(tau, rate.dtype)
        flat = rate.flatten()
        expected = flat * length
        many = expected > MANY
        before = poisson((flat * start).where(~many, 0.0))
        value, slope = torch.zeros_like(flat), torch.zeros_like(flat)
        # Arrivals are drawn a block of counts at a time, so that they never fill the memory.
        rows = max(1, len(flat)) if torch.compiler.is_compiling() else BLOCK.get(rate.device.type, BLOCK["cuda"])
        for block in range(0, len(flat), rows):
            part = slice(block, block + rows)
            inside = poisson(expected[part].where(~many[part], 0.0)).long()
            owner = torch.arange(block, block + len(inside), device=rate.device).repeat_interleave(inside)
            at = (tau, start, length) if not isinstance(tau, Tensor) else (tau[owner], start[owner], length[owner])
            times = at[1] + at[2] * torch.rand(owner.shape, dtype=rate.dtype, device=rate.device)
            more, steeper = self.contribution(times, at[0])
            value.index_add_(0, owner, more)
            slope.index_add_(0, owner, steeper)
        # Added at the end, as small numbers would be lost one by one beside many earlier arrivals.
        value += before
        (dense,) = many.nonzero(as_tuple=True)
        if len(dense):
            more, steeper = self._draw_dense(flat[dense].double(), tau[dense] if isinstance(tau, Tensor) else tau)
            value[dense], slope[dense] = more.to(rate), steeper.to(rate)
        return value.view(rate.shape), slope.view(rate.shape)

    def _window(self, tau: Any, dtype: torch.dtype) -> tuple[Any, Any]:
        """Returns start and length of the window beyond which the indicator is 0 or 1 to the resolution of a dtype."""
        half = tau * (1.0 if self.indicator == "cubic" else -math.log(torch.finfo(dtype).eps))
        start = (1 - half).clamp(min=0.0) if isinstance(half, Tensor) else max(0.0, 1 - half)
        return start, 1 + half - start

    def _draw_dense(self, rate: Tensor, tau: Tensor | float) -> tuple[Tensor, Tensor]:
        """Draws values and derivatives of many arrivals from the number of arrivals in each stratum, (n,) each."""
        tau = torch.as_tensor(tau, dtype=rate.dtype, device=rate.device).expand(len(rate))[:, None]
        start, length = self._window(tau, rate.dtype)
        # The strata of each half of the window have one length, so that the end of the count at 1 is between two.
        share = torch.arange(STRATA // 2, dtype=rate.dtype, device=rate.device) / (STRATA // 2)
        before, after = 1 - start, start + length - 1
        first = torch.cat([start + before * share, 1 + after * share], -1)
        lengths = torch.cat([before.expand(-1, STRATA // 2), after.expand(-1, STRATA // 2)], -1) / (STRATA // 2)
        nodes, weights = (torch.as_tensor(each).to(rate) for each in (NODES, WEIGHTS))
        height, steepness = self.contribution(first[..., None] + lengths[..., None] * nodes, tau[..., None])
        # A hard height is the same 0 or 1 at all nodes, and an average of it would be whole but for rounding.
        means = (height[..., 0] if self.hard else height @ weights), steepness @ weights
        gaps = height - means[0][..., None], steepness - means[1][..., None]
        spread = (gaps[0].square() @ weights).sqrt()
        shared = (gaps[0] * gaps[1]) @ weights / spread.where(spread > 0, 1.0)
        own = (gaps[1].square() @ weights - shared.square()).clamp(min=0.0).sqrt()

        earlier = poisson(rate * start.squeeze(-1))
        inside = poisson(rate[:, None] * lengths)
        noise = torch.randn(2, *inside.shape, dtype=rate.dtype, device=rate.device) * inside.sqrt()
        value = earlier + (inside * means[0] + noise[0] * spread).sum(-1)
        return value, (inside * means[1] + noise[0] * shared + noise[1] * own).sum(-1)

    def moment_factors(self) -> tuple[Tensor | float, Tensor | float]:
        """Returns the mean and the variance of a value per unit of rate: the integrals of h and h^2 (Campbell)."""
        if self.hard:
            return 1.0, 1.0
        tau = torch.as_tensor(self.temperature, dtype=torch.float64)
        if self.indicator == "sigmoid":
            mean = 1 + tau * torch.log1p(torch.exp(-1 / tau))
            return mean, mean - tau * torch.sigmoid(1 / tau)
        y = (1 / tau).clamp(max=1.0)
        first = (3 + 8 * y + 6 * y**2 - y**4) / 16
        second = 33 / 560 + y / 4 + 3 * y**2 / 8 + 3 * y**3 / 16 - y**4 / 16 - 3 * y**5 / 40 + y**7 / 112
        # For tau <= 1 the mean is 1 by symmetry; spelling that out avoids a rounding error.
        return (tau * first).where(tau > 1, 1.0), (1 - tau).clamp(min=0.0) + tau * second


def _cubic(y: Tensor) -> tuple[Tensor, Tensor]:
    return 0.5 + y * (3 - y * y) / 4, 0.75 * (1 - y * y)


def _sigmoid(y: Tensor) -> tuple[Tensor, Tensor]:
    height = torch.sigmoid(y)
    return height, height * (1 - height)


# Indicators by name, as functions that return the indicator and its derivative.
_INDICATORS: dict[str, Callable[[Tensor], tuple[Tensor, Tensor]]] = {"cubic": _cubic, "sigmoid": _sigmoid}
