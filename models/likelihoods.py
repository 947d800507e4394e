"""Observation distributions given the decoder's output."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import torch
from pyro.distributions import Bernoulli, Normal, TorchDistribution
from torch import Tensor, nn

from pyrocount.distributions import Discrete, RelaxedNegativeBinomial, RelaxedPoisson
from pyrocount.distributions.elementwise import compact
from pyrocount.distributions.special import HALF_LOG_TWO_PI
from pyrocount.errors import InputError

# Bounds of the log total_count of the data. At e^12 a negative binomial equals a Poisson to float32 precision.
LOG_TOTAL_COUNT_RANGE = (-7.0, 12.0)
# Prediction up to which the rate of counts is its exponential; beyond, the rate grows linearly. With the exponential
# alone, a single large count of a latent can make the loss overflow in the first steps of training.
LINEAR_FROM = 3.0


class Likelihood(nn.Module):
    """Observation distribution, independent for each value, given a prediction of the data's shape.

    Attributes:
        support: values that an observation can take, in words.
        is_count: whether observations are counts.
    """

    support = "numbers"
    is_count = False

    @classmethod
    def build(cls, shape: Sequence[int], scale: float, learned: bool) -> Self:
        """Builds the likelihood of data of a shape; a scale matters to Gaussian noise alone."""
        return cls()

    @abstractmethod
    def forward(self, prediction: Tensor, exposure: Tensor | None = None) -> TorchDistribution:
        """Returns the distribution of the data.

        Args:
            prediction: the decoder's output, shape (..., N, \\*shape).
            exposure: length of each observation's window, shape (N,); by default 1.
        """

    def inputs(self, x: Tensor, exposure: Tensor | None = None) -> Tensor:
        """Returns the input of the encoder for data (N, \\*shape), of the same shape."""
        return x

    def accepts(self, x: Tensor) -> bool:
        """Returns whether the distribution can produce all these values."""
        return True

    def prediction_of_mean(self, total: Tensor, number: Tensor) -> Tensor:
        """Returns the prediction at which the mean of the data is that of training data.

        Args:
            total: sum of the training data, shape (\\*shape).
            number: number of the data in each sum, or the length of all their windows together, shape (\\*shape).
        """
        return total / number


def known_part(distribution: Any, x: Tensor) -> tuple[Any, Tensor]:
    """Returns a distribution and data (N, \\*shape) such that the log-likelihood of missing values (NaN) is 0."""
    known = ~x.isnan()
    return distribution.mask(known), x.where(known, 0.0)


def pointwise_log_likelihood(distribution: Any, x: Tensor) -> Tensor:
    """Returns the log-likelihood of each datum, in nats, shape (..., N, \\*shape); 0 where it is missing (NaN)."""
    masked, known = known_part(distribution, x)
    log_likelihood: Tensor = masked.log_prob(known)
    return log_likelihood


class _Normal(Normal):
    """Normal distribution whose log probability takes the scale as it was given, not one for each value."""

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        scale = compact(self.scale)
        log_prob: Tensor = -((value - self.loc) / scale).square() / 2 - (scale.log() + HALF_LOG_TWO_PI)
        return log_prob


class GaussianLikelihood(Likelihood):
    """Independent Gaussian noise of one scale around the decoder's output.

    Args:
        scale: standard deviation, in the units of the data, positive. At the default, sqrt(1/2), the negative
            log-likelihood is the sum of squared errors plus a constant.
        learned: whether the scale is a learned parameter, which then starts at ``scale``.

    Raises:
        InputError: if the scale is not positive and finite.
    """

    log_scale: Tensor

    @classmethod
    def build(cls, shape: Sequence[int], scale: float, learned: bool) -> Self:
        """Builds the likelihood from a scale and whether it is learned."""
        return cls(scale, learned)

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
        """Returns the standard deviation of the noise."""
        return self.log_scale.exp()

    def forward(self, prediction: Tensor, exposure: Tensor | None = None) -> Normal:
        """Returns the distribution of the data around a prediction; an exposure has no effect."""
        return _Normal(prediction, self.scale)


class BernoulliLikelihood(Likelihood):
    """Independent pixels between 0 and 1 whose logits are the decoder's output.

    The negative log-likelihood of values between 0 and 1, such as grey pixels, is the cross-entropy.
    """

    support = "values between 0 and 1"

    def forward(self, prediction: Tensor, exposure: Tensor | None = None) -> Bernoulli:
        """Returns the distribution of the data given logits; an exposure has no effect."""
        return Bernoulli(logits=prediction, validate_args=False)

    def accepts(self, x: Tensor) -> bool:
        """Returns whether all values are between 0 and 1."""
        return bool(((x >= 0) & (x <= 1)).all())

    def prediction_of_mean(self, total: Tensor, number: Tensor) -> Tensor:
        """Returns the logits at which the mean is that of training data, with half an event at least of either kind."""
        half = number.clamp(max=1) / 2
        return (total.clamp(half, number - half) / number).logit()


class _CountLikelihood(Likelihood):
    support = "nonnegative whole numbers"
    is_count = True

    @classmethod
    def build(cls, shape: Sequence[int], scale: float, learned: bool) -> Self:
        """Builds the likelihood of counts of a shape."""
        return cls(shape)

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.dims = len(shape)

    def inputs(self, x: Tensor, exposure: Tensor | None = None) -> Tensor:
        """Returns the input of the encoder: the mean of the roots of r and of r + 1, with r = count / exposure.

        The noise of such inputs hardly depends on the rate. Linear codes of them predict hidden channels of busy
        recordings better than those of logarithms do, and of sparse ones better than those of sqrt(r + 3/8).

        Reference:
            Freeman and Tukey, Transformations Related to the Angular and the Square Root, Annals of Mathematical
            Statistics 1950.
        """
        rate = x if exposure is None else x / _along(exposure, x.ndim - 1)
        return (rate.sqrt() + (rate + 1).sqrt()) / 2

    def accepts(self, x: Tensor) -> bool:
        """Returns whether all values are nonnegative whole numbers."""
        return bool(((x >= 0) & (x == x.round())).all())

    def prediction_of_mean(self, total: Tensor, number: Tensor) -> Tensor:
        """Returns the prediction at which the rate is that of training data, with half an event at least."""
        log_rate = (total.clamp(min=0.5) / number).log()
        return log_rate.where(log_rate < LINEAR_FROM, LINEAR_FROM + torch.expm1(log_rate - LINEAR_FROM))


class PoissonLikelihood(_CountLikelihood):
    """Poisson counts whose rate, per unit of exposure, is the exponential of the decoder's output.

    Above e^3 the rate grows linearly with the decoder's output.

    Args:
        shape: shape of one observation.
    """

    def forward(self, prediction: Tensor, exposure: Tensor | None = None) -> RelaxedPoisson:
        """Returns the distribution of the counts in windows of length ``exposure``."""
        log_rate = _log_rate(prediction, exposure, self.dims)
        return RelaxedPoisson(log_rate=log_rate, relaxation=Discrete(), validate_args=False)


class NegativeBinomialLikelihood(_CountLikelihood):
    """Negative-binomial counts whose mean, per unit of exposure, is the exponential of the decoder's output.

    Above e^3 the mean grows linearly with the decoder's output. Each feature has its own learned total_count, which
    starts at 10. The variance is mean + mean^2 / total_count.

    Args:
        shape: shape of one observation.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__(shape)
        self.log_total_count = nn.Parameter(torch.full(tuple(shape), math.log(10.0)))

    def forward(self, prediction: Tensor, exposure: Tensor | None = None) -> RelaxedNegativeBinomial:
        """Returns the distribution of the counts in windows of length ``exposure``."""
        log_total_count = self.log_total_count.clamp(*LOG_TOTAL_COUNT_RANGE)
        logits = _log_rate(prediction, exposure, self.dims) - log_total_count
        total_count = log_total_count.exp()
        return RelaxedNegativeBinomial(total_count, logits=logits, relaxation=Discrete(), validate_args=False)


def _log_rate(prediction: Tensor, exposure: Tensor | None, dims: int) -> Tensor:
    """Returns the log of a rate that is exponential in the prediction up to ``LINEAR_FROM`` and linear beyond."""
    beyond = (prediction - LINEAR_FROM).clamp(min=0)
    log_rate = prediction.clamp(max=LINEAR_FROM) + beyond.log1p()
    return log_rate if exposure is None else log_rate + _along(exposure, dims).log()


def _along(exposure: Tensor, dims: int) -> Tensor:
    """Returns an exposure (N,) that broadcasts against (..., N, \\*shape), where shape has ``dims`` dimensions."""
    return exposure.reshape(-1, *(1,) * dims)
