"""Distributions of an observation given the decoder's output."""

import math

import torch
from pyro.distributions import Normal
from torch import Tensor, nn

from pyrocount.errors import InputError


class GaussianLikelihood(nn.Module):
    """Independent Gaussian noise of a fixed scale around the decoder's output.

    Args:
        scale: standard deviation, in the units of the data, positive. At the default, sqrt(1/2), the negative log
            likelihood is the sum of squared errors plus a constant.

    Raises:
        InputError: if the scale is not positive and finite.
    """

    scale: Tensor

    def __init__(self, scale: float = math.sqrt(0.5)) -> None:
        super().__init__()
        if not 0 < scale < math.inf:
            raise InputError("scale", scale, "a positive number")
        self.register_buffer("scale", torch.tensor(float(scale)))

    def forward(self, prediction: Tensor) -> Normal:
        """Returns the distribution of the data, elementwise, of the shape of ``prediction``."""
        return Normal(prediction, self.scale)
