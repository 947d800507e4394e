"""Poisson distribution with a choice of how gradients flow through its counts."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.utils import lazy_property

from pyrocount.errors import exactly_one

from .count_distribution import CountDistribution
from .log_pmf import poisson_log_pmf
from .relaxations import ArrivalTimes, Relaxation
from .relaxations.base import with_derivative


class RelaxedPoisson(CountDistribution):
    r"""Poisson counts that carry a gradient.

    .. math:: p(z) = \lambda^z e^{-\lambda} / \Gamma(z + 1)

    ``log_prob`` and ``kl_divergence`` are those of the underlying counts, ``log_prob`` continued to real values by the
    gamma function; ``mean`` and ``variance`` are those of the values that ``rsample`` draws. ``support`` is the
    nonnegative reals for a soft relaxation, and the nonnegative integers for a relaxation whose values are exact
    counts.

    References:
        Vafaii, Galor and Yates, Poisson Variational Autoencoder, NeurIPS 2024.

    Args:
        rate: expected counts per observation window, nonnegative, any shape.
        log_rate: logarithm of the rate, in place of ``rate``.
        relaxation: relaxation that samples and differentiates the counts.
        validate_args: whether arguments and values are checked; None follows the global setting.

    Raises:
        ValueError: if not exactly one of ``rate`` and ``log_rate`` is given, or a value breaks its constraint.
        TypeError: if a parameter is an integer tensor, or ``relaxation`` is not a relaxation.

    >>> d = RelaxedPoisson(torch.tensor([0.5, 2.0]))
    >>> d.rsample((3,)).shape
    torch.Size([3, 2])
    >>> d.mean
    tensor([0.5000, 2.0000])
    >>> d.counts.variance
    tensor([0.5000, 2.0000])
    """

    arg_constraints = {"rate": constraints.nonnegative, "log_rate": constraints.real}

    def __init__(
        self,
        rate: Tensor | float | None = None,
        log_rate: Tensor | float | None = None,
        relaxation: Relaxation = ArrivalTimes(0.1),
        validate_args: bool | None = None,
    ) -> None:
        super().__init__(exactly_one(rate=rate, log_rate=log_rate), relaxation, validate_args)

    @lazy_property
    def rate(self) -> Tensor:
        """Returns the expected counts, computed from the log rate if that was given."""
        return self.log_rate.exp()

    @lazy_property
    def log_rate(self) -> Tensor:
        """Returns the logarithm of the expected counts, computed from the rate if that was given."""
        return self.rate.log()

    @property
    def mean(self) -> Tensor:
        """Returns the mean of the relaxed counts."""
        return (self.rate * self.relaxation.moment_factors()[0]).to(self.rate.dtype)

    @property
    def variance(self) -> Tensor:
        """Returns the variance of the relaxed counts."""
        return (self.rate * self.relaxation.moment_factors()[1]).to(self.rate.dtype)

    def _draw_rate(self, shape: torch.Size) -> Tensor:
        return self.rate.expand(shape)

    def rsample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Draws values of shape (\\*sample_shape, \\*batch_shape), with the gradient of the relaxation.

        Raises:
            NotImplementedError: if the relaxation has no gradient.
        """
        if "log_rate" not in self._given or not self.has_rsample:
            return super().rsample(sample_shape)
        # The gradient goes straight to the log rate, with respect to which the derivative is known.
        rate = self._checked_rate(sample_shape).detach()
        value, slope = self.relaxation.draw(rate)
        return with_derivative(value, self.log_rate.expand(rate.shape), slope)

    def log_prob(self, value: Tensor) -> Tensor:
        """Returns the log probability of counts, in nats; for real values, its continuation by the gamma function."""
        if self._validate_args:
            self._validate_sample(value)
        return poisson_log_pmf(value, **self._parameters)
