"""Exact counts whose gradient takes the loss at neighbouring counts into account."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from pyro.distributions.torch import Independent
from pyro.distributions.torch_distribution import MaskedDistribution
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyrocount.distributions import Discrete, SteinChen
from pyrocount.distributions.count_distribution import CountDistribution
from pyrocount.distributions.relaxations import with_log_derivative


class Counts:
    r"""Counts of units, some of whose latents have a neighbour: the same counts with one more there.

    The derivative of the counts is a blend of the first-order and the second-order rule, with weights 1 - c and c, less
    the part at the neighbours' latents that their corrections take the place of, see ``UnbiasedCount_ELBO``. With
    ``correction`` it gives an unbiased gradient for every c. The spread of the second-order rule falls with c, that of
    the corrections rises; with n counts expected in a unit the two are of about one size at c = n / (n + 2 neighbours).

    Args:
        distribution: count distribution, of the shape of the counts.
        plates: number of leftmost dimensions of the counts that are plates; the others hold the latents of a unit.
        neighbours: number of neighbours of each unit.
        share: expected part of the corrections that are made. Below 1, c is 1, which leaves least to correct.
        corrected: whether these corrections will be made.

    Attributes:
        value: the counts, shape (\*plates, \*event), with a gradient to the parameters of the distribution.
    """

    def __init__(
        self,
        distribution: CountDistribution,
        plates: int,
        neighbours: int = 1,
        share: float = 1.0,
        corrected: bool = True,
    ) -> None:
        rate = distribution.draw_rate()
        drawn, _ = Discrete().draw(rate)
        self._shape = rate.shape
        self._rate = rate.reshape(*rate.shape[:plates], -1)
        self._drawn = drawn.reshape(self._rate.shape)
        with torch.no_grad():
            expected = self._rate.sum(-1, keepdim=True)
            self._blend = expected / (expected + 2 * neighbours) if share == 1 else torch.ones_like(expected)
            slope = self._rate + self._blend * (self._drawn - self._rate) / 2
            if corrected:
                self._index, chance = self._places(neighbours)
                self._weight = self._rate.gather(-1, self._index) / (share * chance)
                slope.scatter_add_(-1, self._index, -self._weight * (1 - self._blend / 2))
        self.value: Tensor = with_log_derivative(drawn, rate, slope.reshape(self._shape))

    def neighbour(self, number: int) -> Tensor:
        """Returns the counts of a neighbour of each unit, as a leaf that takes a gradient."""
        place = self._index[..., number : number + 1]
        return self._drawn.scatter_add(-1, place, torch.ones_like(self._drawn)).reshape(self._shape).requires_grad_()

    def correction(self, number: int, difference: Tensor, gradient: Tensor) -> Tensor:
        """Returns 0 with a gradient, which corrects that of the counts if it is added to the loss.

        Args:
            number: number of the neighbour.
            difference: loss of each unit at the neighbour, less that at the counts, shape (\\*plates).
            gradient: gradient of the loss at the neighbour, of the shape of the counts.
        """
        place = self._index[..., number : number + 1]
        there = gradient.reshape(self._rate.shape).gather(-1, place)
        rate = self._rate.gather(-1, place)
        rest = self._weight[..., number : number + 1] * (difference.unsqueeze(-1) - self._blend / 2 * there)
        return with_log_derivative(torch.zeros_like(rest), rate, rest).sum()

    def _places(self, number: int) -> tuple[Tensor, Tensor]:
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


class ExactCounts(Messenger):
    """Draws the counts of a guide exactly, and keeps them.

    Args:
        make: function that draws counts of a distribution with a number of plates, such as ``Counts``.

    Attributes:
        counts: the counts by the name of the site.
    """

    def __init__(self, make: Callable[[CountDistribution, int], Counts]) -> None:
        super().__init__()
        self.make = make
        self.counts: dict[str, Counts] = {}

    def _pyro_sample(self, msg: Any) -> None:
        if msg["is_observed"] or msg["done"]:
            return
        base = msg["fn"]
        while isinstance(base, Independent | MaskedDistribution):
            base = base.base_dist
        if isinstance(base, CountDistribution):
            msg["fn"] = _exact(msg["fn"])
            counts = self.make(base, len(msg["fn"].batch_shape))
            self.counts[msg["name"]] = counts
            msg["value"], msg["done"] = counts.value, True


def _exact(distribution: Any) -> Any:
    """Returns a distribution of counts with the relaxation that these are drawn with."""
    new = copy.copy(distribution)
    if isinstance(distribution, CountDistribution):
        new.relaxation = SteinChen()
    else:
        new.base_dist = _exact(distribution.base_dist)
    return new
