"""Distributions of an observation given the decoder's output."""

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
from pyro.distributions import Bernoulli, Normal, TorchDistribution
from torch import Tensor, nn

from pyrocount.distributions import Discrete, RelaxedNegativeBinomial, RelaxedPoisson
from pyrocount.errors import InputError

# Dispersions of the data stay within e^-7 and e^12, where a negative binomial is a Poisson to float32.
LOG_TOTAL_COUNT_RANGE = (-7.0, 12.0)
# An exponential alone lets a single large count of a latent make the loss overflow in the first steps of training.
LINEAR_FROM = 3.0


class Likelihood(nn.Module):
    """A law of the data, elementwise, given a prediction of their shape.

    Attributes:
        support: what values it takes, in words.
        is_count: whether they are counts.
    """

    support = "numbers"
    is_count = False

    @abstractmethod
    def forward(self, prediction: Tensor, exposure: Tensor | None = None) -> TorchDistribution:
        """Returns the distribution of the data.

        Args:
            prediction: the decoder's output, shape (..., N, \\*shape).
            exposure: length of each observation's window, shape (N,); by default 1.
        """

    def inputs(self, x: Tensor, exposure: Tensor | None = None) -> Tensor:
        """What the encoder sees of data (N, \\*shape)."""
        return x

    def accepts(self, x: Tensor) -> bool:
        """Whether all values can be observed."""
        return True


class GaussianLikelihood(Likelihood):
    """Independent Gaussian noise of one scale around the decoder's output.

    Args:
        scale: standard deviation, in the units of the data, positive. At the default, sqrt(1/2), the negative log
            likelihood is the sum of squared errors plus a constant.
        learned: whether the scale is a parameter that starts there.

    Raises:
        InputError: if the scale is not positive and finite.
    """

    log_scale: Tensor

    def __init__(self, scale: float = math.sqrt(0.5), learned: bool = False) -> None:
        super().__init__()
        if not 0 < scale < math.inf:
            raise InputError("scale", scale, "a positive number")
        log_scale = torch.tensor(math.log(scale))
        if learned:
            self.log_scale = nn.Parameter(log_scale)
        else:
            self.register_buffer("log_scale", log_scale)

    @property
    def scale(self) -> Tensor:
        """The standard deviation."""
        return self.log_scale.exp()

    def forward(self, prediction: Tensor, exposure: Tensor | None = None) -> Normal:
        """Returns the distribution of the data around a prediction; an exposure does not matter."""
        return Normal(prediction, self.scale)


class BernoulliLikelihood(Likelihood):
    """Independent pixels between 0 and 1 whose logits are the decoder's output.

    Values between 0 and 1, as of grey pixels, have the cross-entropy for their log likelihood.
    """

    support = "values between 0 and 1"

    def forward(self, prediction: Tensor, exposure: Tensor | None = None) -> Bernoulli:
        """Returns the distribution of the data given logits; an exposure does not matter."""
        return Bernoulli(logits=prediction, validate_args=False)

    def accepts(self, x: Tensor) -> bool:
        """Whether all values are between 0 and 1."""
        return bool(((x >= 0) & (x <= 1)).all())


class _CountLikelihood(Likelihood):
    support = "nonnegative whole numbers"
    is_count = True

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.dims = len(shape)

    def inputs(self, x: Tensor, exposure: Tensor | None = None) -> Tensor:
        """What the encoder sees of counts: log(1 + rate), which keeps large counts in the range of small ones."""
        return torch.log1p(x if exposure is None else x / _along(exposure, x.ndim - 1))

    def accepts(self, x: Tensor) -> bool:
        """Whether all values are nonnegative whole numbers."""
        return bool(((x >= 0) & (x == x.round())).all())


class PoissonLikelihood(_CountLikelihood):
    """Poisson counts whose rate, per unit of exposure, is the exponential of the decoder's output, linear above e^3.

    Args:
        shape: shape of one observation.
    """

    def forward(self, prediction: Tensor, exposure: Tensor | None = None) -> RelaxedPoisson:
        """Returns the distribution of counts in windows of this length."""
        log_rate = _log_rate(prediction, exposure, self.dims)
        return RelaxedPoisson(log_rate=log_rate, relaxation=Discrete(), validate_args=False)


class NegativeBinomialLikelihood(_CountLikelihood):
    """Negative-binomial counts whose mean, per unit of exposure, is the exponential of the decoder's output.

    It is linear above e^3. Each feature has a total_count of its own, learned from 10; the variance is
    mean + mean^2 / total_count.

    Args:
        shape: shape of one observation.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__(shape)
        self.log_total_count = nn.Parameter(torch.full(tuple(shape), math.log(10.0)))

    def forward(self, prediction: Tensor, exposure: Tensor | None = None) -> RelaxedNegativeBinomial:
        """Returns the distribution of counts in windows of this length."""
        log_total_count = self.log_total_count.clamp(*LOG_TOTAL_COUNT_RANGE)
        logits = _log_rate(prediction, exposure, self.dims) - log_total_count
        total_count = log_total_count.exp()
        return RelaxedNegativeBinomial(total_count, logits=logits, relaxation=Discrete(), validate_args=False)


def _log_rate(prediction: Tensor, exposure: Tensor | None, dims: int) -> Tensor:
    """The rate is the exponential of the prediction up to ``LINEAR_FROM`` and grows linearly beyond."""
    beyond = (prediction - LINEAR_FROM).clamp(min=0)
    log_rate = prediction.clamp(max=LINEAR_FROM) + beyond.log1p()
    return log_rate if exposure is None else log_rate + _along(exposure, dims).log()


def _along(exposure: Tensor, dims: int) -> Tensor:
    """An exposure (N,) that broadcasts against (..., N, \\*shape), for a shape of so many dimensions."""
    return exposure.reshape(-1, *(1,) * dims)
