"""The expected ELBO of an observation, which makes score-function gradients less noisy."""

import math
from collections.abc import Sequence

from torch import Tensor, nn

HIDDEN_UNITS = 100
# The squared error of the baseline is added to the loss. Adam does not feel the scale of a gradient, but clipping by
# the norm of all would.
GRADIENT_SCALE = 1e-6


class Baseline(nn.Module):
    """A small perceptron from data (N, \\*shape) to a number each, shape (N,).

    Args:
        shape: shape of one observation.

    Reference:
        Mnih and Gregor, Neural Variational Inference and Learning in Belief Networks, ICML 2014.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.size = math.prod(shape)
        self.network = nn.Sequential(
            nn.Flatten(), nn.Linear(self.size, HIDDEN_UNITS), nn.SiLU(), nn.Linear(HIDDEN_UNITS, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """The expected ELBO, for which the network gives the share of one value of the data."""
        expected = self.size * self.network(x).squeeze(-1)
        return expected.detach() + GRADIENT_SCALE * (expected - expected.detach())
