"""KL divergence between negative binomials of one mean and two dispersions."""

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from .elementwise import in_blocks
from .overrides import batched, overridable, readable, transformed
from .special import log1p

# The total_count that stands for a Poisson distribution; at this value every term below has reached its limit.
POISSON = 1e30


@dataclass(frozen=True)
class _Rule:
    """Nodes of the integral: the step between them, where they start, and the last exponent of a decay.

    Where a total_count is larger than ``largest`` times the other scales, its decay may be over before the start.
    """

    step: float
    start: float
    decay: float
    largest: float


# For means from 1e-4 to 1e4 and total_counts from 1e-3 to 1e6, the errors of the value are 1e-8 with the first rule and
# 1e-5 with the second. In float32 the third, with simple forms of the integrand, is as good as the second for means and
# differences of total_counts up to ``LARGEST_SINGLE``, and for smaller means so are larger steps.
FINE = _Rule(0.34, -3.4, 40.0, largest=1e6)
COARSE = _Rule(0.42, -2.6, 18.0, largest=1e4)
SINGLE = _Rule(0.6, -2.0, 13.0, largest=1e3)
# The same in float32 for all arguments, with forms of the integrand that cancel less.
CAREFUL = _Rule(0.55, -2.2, 14.0, largest=1e3)
LARGEST_SINGLE = 100.0
# Steps of the third rule by the largest mean.
STEPS = {5.0: 0.78, 20.0: 0.7}
# Largest x where the values are not read because that would wait for the device, enough for the range above; and where
# they are read.
LONGEST, MOST = 30.0, 350.0


@overridable
def dispersion_divergence(mean: Tensor, total_count: Tensor, other: Tensor, fine: bool = True) -> Tensor:
    r"""Computes KL(NB(r, m) || NB(s, m)) for a mean m and total_counts r and s, all of one shape.

    By the Malmsten-type integral of log gamma, the divergence is

    .. math::
        \int_0^\infty \frac{e^{-st} - e^{-rt}}{t}\, B(t)\, dt + s \log(1 + m/s) - r \log(1 + m/r), \qquad
        B(t) = \frac{1 - E e^{-zt}}{1 - e^{-t}} - m e^{-mt},

    where z follows NB(r, m). The term :math:`m e^{-mt}`, whose integral has a closed form, leaves an integrand that is
    small where the divergence is small, and that has a limit for Poisson distributions, where r or s is infinite. The
    double exponential rule of the trapezoid in x, with :math:`t \propto e^{x - e^{-x}}`, adds one node at a time, so
    that the memory stays at the size of the arguments. Unless ``fine`` is true, the result is only accurate enough for
    float32, and it is computed in float32 where the arguments allow it, or cannot be read without waiting for a device;
    there the error is up to 1e-6 times the mean.

    Reference:
        Takahasi and Mori, Double Exponential Formulas for Numerical Integration, Publications of RIMS 1974.
    """
    differentiate = transformed() or (
        torch.is_grad_enabled() and any(each.requires_grad for each in (mean, total_count, other))
    )
    value: Tensor = _DispersionDivergence.apply(mean, total_count, other, fine, differentiate)[0]
    return value


class _DispersionDivergence(Function):
    """The divergence, followed by its derivatives, which the backward pass uses."""

    @staticmethod
    def forward(m: Tensor, r: Tensor, s: Tensor, fine: bool, differentiate: bool) -> tuple[Tensor, ...]:
        integrate = partial(_integrate, fine=fine, differentiate=differentiate)
        value, *gradients = (each.to(m.dtype) for each in in_blocks(integrate, m, r, s))
        return value.clamp(min=0), *gradients

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        m, r, s, ctx.fine, _ = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(m, r, s, *output[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *unused: Tensor) -> tuple[Tensor | None, ...]:
        m, r, s, *gradients = ctx.saved_tensors
        if torch.is_grad_enabled():
            # A second derivative is needed: autograd goes through all nodes and takes the memory of all nodes.
            _, *gradients = (each.to(m.dtype) for each in _integrate(m, r, s, ctx.fine, True))
        return *(grad * gradient for gradient in gradients), None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[tuple[Tensor, ...], int]:
        *tensors, fine, differentiate = inputs
        return _DispersionDivergence.apply(*batched(info, in_dims[:-2], tensors), fine, differentiate), 0


def _integrate(m: Tensor, r: Tensor, s: Tensor, fine: bool, differentiate: bool) -> list[Tensor]:
    """Computes the divergence and, if ``differentiate`` is true, its derivatives with respect to m, r and s."""
    known = readable(m)
    rule = FINE if fine else COARSE if known else CAREFUL
    simple = not fine and known and bool(torch.maximum(m, (r - s).abs()).amax() < LARGEST_SINGLE)
    if simple:
        largest = m.amax().item()
        rule = replace(SINGLE, step=next((step for mean, step in STEPS.items() if largest < mean), SINGLE.step))
    single = simple or not (fine or known)
    m, r, s = (each.to(torch.float32 if single else torch.float64) for each in (m, r, s))
    with torch.no_grad():
        # For t below this scale the integrand is about proportional to t; for large t it falls as the smaller decay.
        slope = 1 + m + m / r
        scale = 1 / (slope + torch.minimum(r + s, rule.largest * slope))
        longest = LONGEST
        if known:
            needed = torch.log(rule.decay / (torch.minimum(r, s) * scale)).amax().item()
            longest = min(needed, MOST) if needed > 0 else 0.0

    odds = m / r
    value, for_m, for_r, for_s = (torch.zeros_like(m) for _ in range(4))
    exponents = [-each * scale for each in (m, r, s)]
    for number in range(math.ceil((longest - rule.start) / rule.step) + 1):
        x = rule.start + number * rule.step
        weight, t = rule.step * (1 + math.exp(-x)), math.exp(x - math.exp(-x))
        m_t, r_t, s_t = (each * t for each in exponents)
        decay, of_r, of_s = _exp(m_t), _exp(r_t), _exp(s_t)
        inverse_mass = _inverse_mass(scale * t)
        ratio = odds / inverse_mass
        log_ratio = log1p(ratio)
        log_transform = -r * log_ratio
        rest = _exp(log_transform)
        complement = 1 - rest if simple else -torch.expm1(log_transform)
        bracket = (complement * inverse_mass).sub_(m * decay)
        difference = of_s - of_r if simple else _difference(of_r, of_s, r_t, s_t)
        value = torch.addcmul(value, difference, bracket, value=weight)
        if differentiate:
            shifted = rest / (1 + ratio)
            slope = (decay * (1 + m_t)).sub_(shifted)
            for_m = torch.addcmul(for_m, difference, slope, value=-weight)
            slope = (rest * log_ratio * inverse_mass).sub_(shifted * odds)
            for_r = torch.addcmul(for_r, difference, slope, value=weight)
            bracket = bracket * scale
            for_r = torch.addcmul(for_r, of_r, bracket, value=weight * t)
            for_s = torch.addcmul(for_s, of_s, bracket, value=-weight * t)

    log_q, log_p = log1p(odds), log1p(m / s)
    results = [value + s * log_p - r * log_q]
    if differentiate:
        results.append(for_m + s / (s + m) - r / (r + m))
        results.append(for_r - log_q + m / (r + m))
        results.append(for_s + log_p - m / (s + m))
    return results


def _exp(x: Tensor) -> Tensor:
    """Returns exp(x) for x <= 0, in float32 to 1e-26: processors are slow at numbers too small to be normal."""
    return torch.exp(x) if x.dtype == torch.float64 else x.clamp(min=-60).exp_()


def _inverse_mass(t: Tensor) -> Tensor:
    """Returns 1 / (1 - exp(-t)) for t > 0, with a small relative error."""
    if t.dtype == torch.float64:
        return -1 / torch.expm1(-t)
    return 0.5 / torch.tanh(t / 2) + 0.5


def _difference(of_r: Tensor, of_s: Tensor, r_t: Tensor, s_t: Tensor) -> Tensor:
    """Returns exp(s_t) - exp(r_t), both decays, with a small relative error."""
    gap = (r_t - s_t).abs()
    # The slower of the two decays stands before, so that nothing overflows.
    return torch.maximum(of_r, of_s) * -torch.expm1(-gap) * torch.where(r_t < s_t, 1.0, -1.0)
