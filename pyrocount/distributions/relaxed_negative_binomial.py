"""Negative binomial distribution with a choice of how gradients flow through its counts."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.utils import broadcast_all, lazy_property

from pyrocount.errors import exactly_one

from . import negative_binomial_sampler
from .count_distribution import CountDistribution
from .elementwise import compact
from .gamma_sampler import standard_gamma
from .inversion import worthwhile
from .log_pmf import negative_binomial_log_pmf
from .overrides import transformed
from .relaxations import ArrivalTimes, Relaxation, SteinChen
from .relaxations.base import drawn_under_transforms, with_derivative


class RelaxedNegativeBinomial(CountDistribution):
    r"""Overdispersed, negative-binomial counts that carry a gradient, with the parameters of torch.

    .. math::
        p(z) = \frac{\Gamma(z + r)}{\Gamma(r)\,\Gamma(z + 1)}\, (1 - p)^r p^z, \qquad
        E z = r p / (1 - p) = r e^{\mathrm{logits}}, \qquad \mathrm{Var}\, z = E z\, (1 + E z / r)

    with r = ``total_count`` and p = ``probs`` (one minus the p of the NegBio-VAE paper and of SciPy). Counts are drawn
    as a mixture, :math:`\lambda \sim \mathrm{Gamma}(r, \mathrm{rate}=e^{-\mathrm{logits}})` by implicit
    reparameterisation and then a Poisson count of rate :math:`\lambda` through the relaxation, so that gradients reach
    both parameters; ``SteinChen`` has derivatives of its own, see ``rsample``.

    ``log_prob`` and ``kl_divergence`` are those of the underlying counts, ``log_prob`` continued to real values by the
    gamma function; ``mean`` and ``variance`` are those of the values that ``rsample`` draws. ``support`` is the
    nonnegative reals for a soft relaxation, and the nonnegative integers for a relaxation whose values are exact
    counts.

    References:
        Zhang et al., Negative Binomial Variational Autoencoders, arXiv 2508.05423, section 4.
        Figurnov, Mohamed and Mnih, Implicit Reparameterization Gradients, NeurIPS 2018 (the Gamma).

    Args:
        total_count: dispersion r, positive, any shape; the larger it is, the closer are the counts to Poisson counts.
        probs: probability p, in [0, 1), broadcast with ``total_count``.
        logits: log odds log(p / (1 - p)), in place of ``probs``.
        relaxation: relaxation that samples and differentiates the counts.
        validate_args: whether arguments and values are checked; None follows the global setting.

    Raises:
        ValueError: if not exactly one of ``probs`` and ``logits`` is given, or a value breaks its constraint.
        TypeError: if a parameter is an integer tensor, or ``relaxation`` is not a relaxation.

    >>> d = RelaxedNegativeBinomial(2.0, logits=torch.zeros(3))
    >>> d.rsample((5,)).shape
    torch.Size([5, 3])
    >>> d.mean
    tensor([2., 2., 2.])
    >>> d.counts.variance
    tensor([4., 4., 4.])
    """

    arg_constraints = {
        "total_count": constraints.positive,
        "probs": constraints.half_open_interval(0.0, 1.0),
        "logits": constraints.real,
    }

    def __init__(
        self,
        total_count: Tensor | float,
        probs: Tensor | float | None = None,
        logits: Tensor | float | None = None,
        relaxation: Relaxation = ArrivalTimes(0.1),
        validate_args: bool | None = None,
    ) -> None:
        parameters: dict[str, Tensor | float] = {"total_count": total_count, **exactly_one(probs=probs, logits=logits)}
        super().__init__(parameters, relaxation, validate_args)

    @classmethod
    def from_mean(
        cls,
        mean: Tensor | float,
        total_count: Tensor | float,
        relaxation: Relaxation = ArrivalTimes(0.1),
        validate_args: bool | None = None,
    ) -> "RelaxedNegativeBinomial":
        """Builds the distribution with this mean (counts per observation window, positive) and dispersion.

        >>> RelaxedNegativeBinomial.from_mean(3.0, 2.0).counts.variance
        tensor(7.5000)
        """
        mean, total_count = broadcast_all(mean, total_count)
        logits = mean.log() - total_count.log()
        return cls(total_count, logits=logits, relaxation=relaxation, validate_args=validate_args)

    @lazy_property
    def probs(self) -> Tensor:
        """Returns the probability p, computed from the logits if those were given."""
        return torch.sigmoid(self.logits)

    @lazy_property
    def logits(self) -> Tensor:
        """Returns the logits log(p / (1 - p)), computed from p if that was given."""
        return torch.logit(self.probs)

    @property
    def _odds(self) -> Tensor:
        """Returns the odds p / (1 - p), which are the scale of the Gamma mixture."""
        return self.logits.exp() if "logits" in self._given else self.probs / (1 - self.probs)

    @property
    def mean(self) -> Tensor:
        """Returns the mean of the relaxed counts."""
        factor, _ = self.relaxation.moment_factors()
        return (self.total_count * self._odds * factor).to(self.total_count.dtype)

    @property
    def variance(self) -> Tensor:
        """Returns the variance of the relaxed counts, E Var(z | lambda) + Var E(z | lambda)."""
        mean_factor, variance_factor = self.relaxation.moment_factors()
        per_count = variance_factor + mean_factor**2 * self._odds
        return (self.total_count * self._odds * per_count).to(self.total_count.dtype)

    def _draw_rate(self, shape: torch.Size) -> Tensor:
        total_count = self.total_count.expand(shape)
        # No sampler of Gamma variables takes half precision on a CPU.
        single = total_count.to(torch.promote_types(total_count.dtype, torch.float32))
        if transformed():
            value, slope = drawn_under_transforms(_gamma, single)
            gamma = with_derivative(value, single, slope)
        elif torch.is_grad_enabled() and single.requires_grad:
            gamma = torch._standard_gamma(single)
        else:
            gamma = standard_gamma(single.detach())
        return gamma.to(total_count.dtype) * self._odds

    def _draw_count(self, sample_shape: Sequence[int], odds: Tensor) -> Tensor:
        if not worthwhile(self.total_count * odds, negative_binomial_sampler.LARGE):
            return self.relaxation.draw(self._checked_rate(sample_shape))[0]
        shape = self._extended_shape(torch.Size(sample_shape))
        return negative_binomial_sampler.negative_binomial(self.total_count.expand(shape), odds.expand(shape))

    def rsample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        r"""Draws counts, as for every count distribution; with ``SteinChen`` no gradient goes through the Gamma.

        With the mean :math:`\mu`, counts N have the derivatives :math:`(N + p (N + r)) / 2` in the logits and
        :math:`(N + \mu) / (2 r)` in r. As for Poisson counts, they make the gradient of every quadratic function
        unbiased. The first is the trapezoid rule for the exact derivative in the mean at a fixed r,
        :math:`E[(N + r) (f(N + 1) - f(N))] / (\mu + r)` (Cong et al., GO Gradient, ICLR 2019). The second adds to it
        the derivative :math:`-\mu (N - \mu) / (2 r (r + \mu))` in r at a fixed mean, which is exact for the variance.
        """
        if not isinstance(self.relaxation, SteinChen):
            return super().rsample(sample_shape)
        with torch.no_grad():
            odds = self._odds
            count = self._draw_count(sample_shape, odds)
            r, p = self.total_count, self.probs
            # An expanded parameter is one number for many counts.
            for_logits = (count + compact(r)).mul_(compact(p)).add_(count).div_(2)
            for_total_count = (count + compact(r * odds)).div_(compact(2 * r))
        total_count, parameter = (value.expand(count.shape) for value in self._parameters.values())
        slope = for_logits
        if "probs" in self._given:
            slope = for_logits / (p * (1 - p)).clamp(min=torch.finfo(p.dtype).tiny)
        return with_derivative(count, total_count, for_total_count, parameter, slope)

    def log_prob(self, value: Tensor) -> Tensor:
        """Returns the log probability of counts, in nats; for real values, its continuation by the gamma function."""
        if self._validate_args:
            self._validate_sample(value)
        return negative_binomial_log_pmf(value, **self._parameters)


def _gamma(concentration: Tensor) -> tuple[Tensor, Tensor]:
    """Draws Gamma variables of scale 1, with their implicit derivatives in the concentration."""
    value = torch._standard_gamma(concentration)
    return value, torch._standard_gamma_grad(concentration, value)
