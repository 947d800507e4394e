"""Standardisation of the inputs of encoders."""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

# Deviation, in units of the size of the values, under which a feature is constant apart from rounding.
CONSTANT = 1e-6


class Standardization(nn.Module):
    """Subtracts the mean of training data and divides by their standard deviation.

    Tables are standardised feature by feature, images (channels, height, width) channel by channel. What is constant in
    the training data is divided by 1. Before ``fit``, inputs stay as they are. Missing values (NaN) become 0, the mean.

    Args:
        shape: shape of one observation, (D,) or (channels, height, width).

    Attributes:
        mean: means that are subtracted, shape (D,) or (channels, 1, 1).
        deviation: standard deviations, of the same shape.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        sizes = (shape[0], 1, 1) if len(shape) == 3 else tuple(shape)
        self.register_buffer("mean", torch.zeros(sizes))
        self.register_buffer("deviation", torch.ones(sizes))

    @torch.no_grad()
    def fit(self, batches: Iterable[Tensor]) -> None:
        """Sets means and deviations to those of all batches (N, \\*shape) together, missing values left out."""
        number = first = second = torch.zeros(self.mean.shape, dtype=torch.float64)
        shift = None
        for batch in batches:
            values = batch.to("cpu", torch.float64)
            known = ~values.isnan()
            # Sums of squares of values near 0 keep their digits.
            shift = self._sum(values.nan_to_num()) / len(values) if shift is None else shift
            centred = (values - shift).where(known, 0.0)
            number = number + self._sum(known)
            first, second = first + self._sum(centred), second + self._sum(centred.square())
        if shift is None:
            return
        offset = first / number.clamp(min=1)
        deviation = (second / number.clamp(min=1) - offset.square()).clamp(min=0).sqrt()
        self.mean.copy_(shift + offset)
        self.deviation.copy_(deviation.where(deviation > CONSTANT * (shift + offset).abs(), 1.0))

    def forward(self, x: Tensor) -> Tensor:
        """Returns standardised inputs of the same shape as ``x``."""
        standardized = (x - self.mean) / self.deviation
        return standardized.nan_to_num(0.0, math.inf, -math.inf)

    def _sum(self, values: Tensor) -> Tensor:
        """Returns sums over observations; of images, sums of the means of their channels."""
        if self.mean.dim() == 3:
            values = values.double().mean((2, 3), keepdim=True)
        return values.sum(0, dtype=torch.float64)
