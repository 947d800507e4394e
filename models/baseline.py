"""Baseline for the score function: the expected ELBO of an observation, which reduces the gradient's variance."""

import math
from collections.abc import Sequence

from torch import Tensor, nn

HIDDEN_UNITS = 100
# Factor on the gradient of the baseline's squared error, which is added to the loss. Adam is insensitive to the scale
# of a gradient, but clipping by the norm of all gradients together is not.
GRADIENT_SCALE = 1e-6


class Baseline(nn.Module):
    """Small perceptron from data (N, \\*shape) to one number for each observation, shape (N,).

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
        """Returns the expected ELBO: the number of values in an observation times the output of the network.

        Its shape is (N,), and () of one observation, as Pyro leaves out plates of size 1.
        """
        expected = self.size * self.network(x).squeeze(-1)
        expected = expected[0] if len(x) == 1 else expected
        return expected.detach() + GRADIENT_SCALE * (expected - expected.detach())
