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

from pyrocount.distributions import Discrete, SteinChen
from pyrocount.distributions.count_distribution import CountDistribution


class Counts:
    """Counts drawn at a site, and the corrections of their gradient.

    The gradient alone, without corrections, is a blend of the first-order rule, lambda_k d_k f(z), and of the
    second-order rule of ``SteinChen``, which has a weight c in it. Corrected, it is unbiased for every c. The spread of
    the second-order rule falls with c, that of the corrections rises, and with E n counts expected in a unit the two
    are of about one size at c = E n / (E n + 2 neighbours).

    Args:
        distribution: count distribution, of the shape of the counts.
        plates: number of leftmost dimensions of the counts that are plates; the others hold the latents of a unit.
        neighbours: number of latents of a unit that will be corrected.
        blended: whether c is that; if not, c is 1, which leaves least to correct.

    Attributes:
        value: the counts, shape (\\*plates, \\*event), with a gradient to the parameters of the distribution.
    """

    def __init__(self, distribution: CountDistribution, plates: int, neighbours: int, blended: bool = True) -> None:
        rate = distribution.draw_rate()
        drawn, _ = Discrete().draw(rate)
        self._neighbours = neighbours
        self._shape = rate.shape
        self._units = (*rate.shape[:plates], -1)
        self._rate = rate.detach().reshape(self._units)
        self._drawn = drawn.reshape(self._units)
        expected = self._rate.sum(-1, keepdim=True)
        self._blend = expected / (expected + 2 * neighbours) if blended else torch.ones_like(expected)
        slope = (self._rate + self._blend * (self._drawn - self._rate) / 2).reshape(self._shape)
        self._corrections: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        self.factor: Tensor | float = 1.0
        self.value: Tensor = _Corrected.apply(rate, drawn, slope, self)

    def places(self) -> tuple[Tensor, Tensor]:
        """Draws latents of each unit, half of them in proportion to the rates and half uniformly.

        Returns:
            Their indices, and the expected number of times that each is drawn, both of shape (\\*plates, neighbours).
        """
        share = self._rate / self._rate.sum(-1, keepdim=True).clamp(min=torch.finfo(self._rate.dtype).tiny)
        ends = (share + 1 / share.shape[-1]).cumsum(-1)
        # Points at equal distances, with one random start: the same latent is rarely drawn twice.
        number = self._neighbours
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
            rule = here.gather(-1, index).lerp(self.factor * slope, self._blend / 2)
            rest = self.factor * difference - rule
            total.scatter_add_(-1, index, weight * rest)
        return total.reshape(self._shape)


class ExactCounts(Messenger):
    """Draws the counts of a guide exactly, and keeps them.

    Args:
        neighbours: number of latents of a unit that will be corrected.
        blended: see ``Counts``.

    Attributes:
        counts: the counts by the name of the site.
    """

    def __init__(self, neighbours: int, blended: bool) -> None:
        super().__init__()
        self.neighbours = neighbours
        self.blended = blended
        self.counts: dict[str, Counts] = {}

    def _pyro_sample(self, msg: Any) -> None:
        if msg["is_observed"] or msg["done"]:
            return
        base = msg["fn"]
        while isinstance(base, Independent | MaskedDistribution):
            base = base.base_dist
        if isinstance(base, CountDistribution):
            msg["fn"] = _exact(msg["fn"])
            counts = Counts(base, len(msg["fn"].batch_shape), self.neighbours, self.blended)
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
