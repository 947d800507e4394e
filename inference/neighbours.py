"""Exact counts whose gradient takes the loss at neighbouring counts into account."""

import copy
from typing import Any

import torch
from pyro.distributions.torch import Independent
from pyro.distributions.torch_distribution import MaskedDistribution
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from pyrocount.distributions import SteinChen
from pyrocount.distributions.count_distribution import CountDistribution


class Counts:
    """Counts drawn at a site, and the corrections of their gradient.

    Args:
        distribution: count distribution, of the shape of the counts.
        plates: number of leftmost dimensions of the counts that are plates; the others hold the latents of a unit.

    Attributes:
        value: the counts, shape (\\*plates, \\*event), with a gradient to the parameters of the distribution.
    """

    def __init__(self, distribution: CountDistribution, plates: int) -> None:
        rate = distribution.draw_rate()
        drawn, slope = SteinChen().draw(rate)
        self._shape = rate.shape
        self._units = (*rate.shape[:plates], -1)
        self._rate = rate.detach().reshape(self._units)
        self._drawn = drawn.reshape(self._units)
        self._corrections: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        self.factor: Tensor | float = 1.0
        self.value: Tensor = _Corrected.apply(rate, drawn, slope, self)

    def places(self, number: int) -> tuple[Tensor, Tensor]:
        """Draws latents of each unit, half of them in proportion to the rates and half uniformly.

        Returns:
            Their indices, and the expected number of times that each is drawn, both of shape (\\*plates, number).
        """
        share = self._rate / self._rate.sum(-1, keepdim=True).clamp(min=torch.finfo(self._rate.dtype).tiny)
        ends = (share + 1 / share.shape[-1]).cumsum(-1)
        # Points at equal distances, with one random start: the same latent is rarely drawn twice.
        start = torch.rand((*share.shape[:-1], 1), dtype=share.dtype, device=share.device)
        points = (torch.arange(number, device=share.device) + start) / number * ends[..., -1:]
        index = torch.searchsorted(ends, points, right=True).clamp(max=share.shape[-1] - 1)
        lengths = torch.diff(ends, dim=-1, prepend=torch.zeros_like(ends[..., :1]))
        return index, number * (lengths / ends[..., -1:]).gather(-1, index)

    def neighbour(self, index: Tensor) -> Tensor:
        """Returns the counts with one more at an index (\\*plates, 1) of each unit, as a leaf that takes a gradient."""
        return self._drawn.scatter_add(-1, index, torch.ones_like(self._drawn)).reshape(self._shape).requires_grad_()

    def correct(self, index: Tensor, weight: Tensor, difference: Tensor, gradient: Tensor) -> None:
        """Adds the correction of one latent of each unit to the gradient of the counts.

        Args:
            index: index of the latent, shape (\\*plates, 1).
            weight: inverse of its probability, of this shape.
            difference: change of the loss of each unit with one more count there, shape (\\*plates).
            gradient: gradient of the loss there, of the shape of the counts.
        """
        slope = gradient.reshape(self._units).gather(-1, index)
        self._corrections.append((index, weight * self._rate.gather(-1, index), difference.unsqueeze(-1), slope))

    def remainder(self, gradient: Tensor) -> Tensor:
        """Returns what the corrections add to the gradient with respect to the log rates, given that of the counts."""
        here = gradient.reshape(self._units)
        total = torch.zeros_like(here)
        for index, weight, difference, slope in self._corrections:
            rest = self.factor * difference - (here.gather(-1, index) + self.factor * slope) / 2
            total.scatter_add_(-1, index, weight * rest)
        return total.reshape(self._shape)


class ExactCounts(Messenger):
    """Draws the counts of a guide exactly, and keeps them.

    Attributes:
        counts: the counts by the name of the site.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[str, Counts] = {}

    def _pyro_sample(self, msg: Any) -> None:
        if msg["is_observed"] or msg["done"]:
            return
        base = msg["fn"]
        while isinstance(base, Independent | MaskedDistribution):
            base = base.base_dist
        if isinstance(base, CountDistribution):
            msg["fn"] = _exact(msg["fn"])
            counts = Counts(base, len(msg["fn"].batch_shape))
            self.counts[msg["name"]] = counts
            msg["value"], msg["done"] = counts.value, True


def scaled(loss: Tensor, counts: list[Counts]) -> Tensor:
    """Returns a loss that tells counts the factor by which it is multiplied before it is differentiated."""
    result: Tensor = _Scaled.apply(loss, counts)
    return result


def _exact(distribution: Any) -> Any:
    """Returns a distribution of counts with the relaxation that these are drawn with."""
    new = copy.copy(distribution)
    if isinstance(distribution, CountDistribution):
        new.relaxation = SteinChen()
    else:
        new.base_dist = _exact(distribution.base_dist)
    return new


class _Corrected(Function):
    @staticmethod
    def forward(ctx: Any, rate: Tensor, value: Tensor, slope: Tensor, counts: Counts) -> Tensor:
        ctx.save_for_backward(rate, slope)
        ctx.counts = counts
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        rate, slope = ctx.saved_tensors
        of_log_rate = gradient * slope + ctx.counts.remainder(gradient)
        return of_log_rate / rate.clamp(min=torch.finfo(rate.dtype).tiny), None, None, None


class _Scaled(Function):
    @staticmethod
    def forward(ctx: Any, loss: Tensor, counts: list[Counts]) -> Tensor:
        ctx.counts = counts
        return loss.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        for each in ctx.counts:
            each.factor = gradient
        return gradient, None
