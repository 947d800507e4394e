"""KL divergence between negative binomials of one mean and two dispersions."""

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from pyrocount.numerics.quadrature import CAREFUL, COARSE, FINE, SINGLE, gaussian

from .elementwise import in_blocks
from .overrides import batched, overridable, readable, transformed
from .special import LN_2, LOG2_E, exp, log1p

# The total_count that stands for a Poisson distribution; at this value every term below has reached its limit.
POISSON = 1e30
# Means and differences of total_counts up to which float32 is enough for forms of the integrand that cancel.
LARGEST_SINGLE = 100.0
# Number up to which exponents are far from those of subnormal numbers, as are those of rates up to 1.
MODERATE = 50.0
# Bytes of a block, of which there are some thirty arrays.
BLOCK = 120_000


@overridable
def dispersion_divergence(mean: Tensor, total_count: Tensor, other: Tensor, fine: bool = True) -> Tensor:
    r"""Computes KL(NB(r, m) || NB(s, m)) for a mean m and total_counts r and s, all of one shape.

    By the Malmsten-type integral of log gamma, the divergence is

    .. math::
        \int_0^\infty \frac{e^{-st} - e^{-rt}}{t}\, B(t)\, dt + s \log(1 + m/s) - r \log(1 + m/r), \qquad
        B(t) = \frac{1 - E e^{-zt}}{1 - e^{-t}} - m e^{-mt},

    where z follows NB(r, m). The term :math:`m e^{-mt}`, whose integral has a closed form, leaves an integrand that is
    small where the divergence is small, and that has a limit for Poisson distributions, where r or s is infinite. One
    node is added at a time, so that the memory stays at the size of the arguments. Unless ``fine`` is true, the result
    is only accurate enough for float32, and it is computed in float32 where the arguments allow it, or cannot be read
    without waiting for a device; there the error is up to 1e-6 times the mean.
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
        value, *gradients = (each.to(m.dtype) for each in in_blocks(integrate, m, r, s, block=BLOCK))
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
    simple = not fine and known and bool(torch.maximum(m, (r - s).abs()).amax() < LARGEST_SINGLE)
    single = simple or not (fine or known)
    rule = FINE if fine else SINGLE if simple else COARSE if known else CAREFUL
    m, r, s = (each.to(torch.float32 if single else torch.float64) for each in (m, r, s))
    with torch.no_grad():
        # For t below this scale the integrand is about proportional to t; for large t it falls as the smaller decay.
        slope = 1 + m + m / r
        scale = 1 / (slope + torch.minimum(r + s, rule.largest * slope))
        reach = (1 / (torch.minimum(r, s) * scale)).amax().item() if known else math.inf
        scales = (scale.amin().item(), scale.amax().item()) if simple else None
        moderate = simple and bool(torch.maximum(m, r).amax() < MODERATE)

    odds = m / r
    value, for_m, for_r, of_decay_r, of_decay_s = (torch.zeros_like(m) for _ in range(5))
    # Exponents of powers of 2, which on a CPU are computed in a quarter of the time of those of e.
    rates = [each * (scale * -LOG2_E) for each in (m, r, s)]
    power, minus_m = r * -LOG2_E, -m
    for t, weight in (gaussian(reach) if simple else []) or rule.nodes(reach):
        m_t, r_t, s_t = (each * t for each in rates)
        exp2 = torch.exp2 if moderate and t < MODERATE else _exp2
        decay, of_r, of_s = exp2(m_t), exp2(r_t), exp2(s_t)
        inverse_mass = _inverse_mass(scale, t, scales)
        ratio = odds / inverse_mass
        rounded = 1 + ratio
        inverse = 1 / rounded
        # The logarithm of 1 + ratio, with what the sum has lost.
        log_ratio = torch.addcmul(rounded.log(), ratio - (rounded - 1), inverse)
        log_transform = power * log_ratio
        rest = exp2(log_transform)
        complement = 1 - rest if simple else -torch.expm1(log_transform * LN_2)
        bracket = torch.addcmul(complement * inverse_mass, minus_m, decay)
        difference = of_s - of_r if simple else _difference(of_r, of_s, r_t, s_t)
        value = torch.addcmul(value, difference, bracket, value=weight)
        if differentiate:
            shifted = rest * inverse
            slope = torch.addcmul(decay, decay, m_t, value=LN_2).sub_(shifted)
            for_m = torch.addcmul(for_m, difference, slope, value=-weight)
            slope = torch.addcmul(rest * log_ratio * inverse_mass, shifted, odds, value=-1)
            for_r = torch.addcmul(for_r, difference, slope, value=weight)
            of_decay_r = torch.addcmul(of_decay_r, of_r, bracket, value=weight * t)
            of_decay_s = torch.addcmul(of_decay_s, of_s, bracket, value=-weight * t)

    log_q, log_p = log1p(odds), log1p(m / s)
    results = [value + s * log_p - r * log_q]
    if differentiate:
        results.append(for_m + s / (s + m) - r / (r + m))
        results.append(for_r + of_decay_r * scale - log_q + m / (r + m))
        results.append(of_decay_s * scale + log_p - m / (s + m))
    return results


def _exp2(x: Tensor) -> Tensor:
    """Returns 2^x for x <= 0, in float32 to 1e-26: processors are slow at numbers too small to be normal."""
    return torch.exp2(x) if x.dtype == torch.float64 else x.clamp(min=-86).exp2()


def _inverse_mass(scale: Tensor, t: float, scales: tuple[float, float] | None) -> Tensor:
    """Returns 1 / (1 - exp(-scale t)), with a small relative error; the smallest and largest scale may be known."""
    x = scale * t
    if x.dtype == torch.float64:
        return -1 / torch.expm1(-x)
    smallest, largest = (0.0, math.inf) if scales is None else scales
    if largest * t < 0.5:
        square = x * x
        return torch.addcmul((1 / x).add_(0.5), x, square.mul_(-1 / 720).add_(1 / 12))
    if smallest * t > 0.25:
        return 1 / (1 - exp(-x))
    return 0.5 / torch.tanh(x / 2) + 0.5


def _difference(of_r: Tensor, of_s: Tensor, r_t: Tensor, s_t: Tensor) -> Tensor:
    """Returns 2^s_t - 2^r_t, both decays, with a small relative error."""
    gap = (r_t - s_t).abs() * LN_2
    # The slower of the two decays stands before, so that nothing overflows.
    return torch.maximum(of_r, of_s) * -torch.expm1(-gap) * torch.where(r_t < s_t, 1.0, -1.0)
