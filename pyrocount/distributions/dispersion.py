"""KL divergence between negative binomials of one mean and two dispersions, for float64 tensors."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from .overrides import batched, overridable, transformed

# The total_count that stands for a Poisson distribution; at this value every term below has reached its limit.
POISSON = 1e200
# Largest step in log t, and the parts of the integral that are left out below the first node and beyond the last. The
# absolute errors are 1e-9 and 1e-5 for means from 1e-4 to 1e4 and total_counts from 1e-3 to 1e6.
FINE = 0.34, 1e-11, math.exp(-40)
COARSE = 0.58, 1e-6, math.exp(-18)
# Number of nodes where the values are not read because that would wait for the device; enough for the range above.
NODES = 128
# Largest number of nodes where the values are read.
MOST_NODES = 1024


@overridable
def dispersion_divergence(mean: Tensor, total_count: Tensor, other: Tensor, fine: bool = True) -> Tensor:
    r"""Computes KL(NB(r, m) || NB(s, m)) for a mean m and total_counts r and s, all of one shape.

    By the Malmsten-type integral of log gamma, the divergence is

    .. math::
        \int_0^\infty \frac{e^{-st} - e^{-rt}}{t}\, B(t)\, dt + s \log(1 + m/s) - r \log(1 + m/r), \qquad
        B(t) = \frac{1 - E e^{-zt}}{1 - e^{-t}} - m e^{-mt},

    where z follows NB(r, m). The term :math:`m e^{-mt}`, whose integral has a closed form, leaves an integrand that is
    small where the divergence is small, and that has a limit for Poisson distributions, where r or s is infinite. The
    trapezoid rule in log t adds one node at a time, so that the memory stays at the size of the arguments. Unless
    ``fine`` is true, the result is only accurate enough for float32.
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
        value, *gradients = _integrate(m, r, s, fine, differentiate=differentiate)
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
            _, *gradients = _integrate(m, r, s, ctx.fine, differentiate=True)
        return *(grad * gradient for gradient in gradients), None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[tuple[Tensor, ...], int]:
        *tensors, fine, differentiate = inputs
        return _DispersionDivergence.apply(*batched(info, in_dims[:-2], tensors), fine, differentiate), 0


def _integrate(m: Tensor, r: Tensor, s: Tensor, fine: bool, differentiate: bool) -> list[Tensor]:
    """Computes the divergence and, if ``differentiate`` is true, its derivatives with respect to m, r and s."""
    longest, below, beyond = FINE if fine else COARSE
    sign = torch.where(r < s, -1.0, 1.0).to(m)
    gap = sign * (r - s)
    smaller = torch.minimum(r, s)
    # Near t = 0 the integrand is about slope * t * min(1, gap * t); for large t it is at most exp(-smaller * t).
    slope = m * (m * (1 + 1 / r) + 1)
    start = torch.maximum(below / slope, torch.sqrt(below / slope / gap.clamp(min=1e-300))).log()
    start = torch.minimum(start, -smaller.log())
    length = math.log(-math.log(beyond)) - smaller.log() - start
    nodes = NODES
    readable = m.device.type == "cpu" and m.numel() > 0 and not transformed()
    if readable and length.isfinite().all():
        nodes = min(MOST_NODES, math.ceil(length.max().item() / longest) + 1)
    step = length / (nodes - 1)

    value, for_m, for_r, for_s = (torch.zeros_like(m) for _ in range(4))
    t, growth = start.exp(), step.exp()
    for _ in range(nodes):
        mass = -torch.expm1(-t)
        ratio = m * mass / r
        log_transform = r * torch.log1p(ratio)
        complement = -torch.expm1(-log_transform)
        decay = torch.exp(-m * t)
        bracket = complement / mass - m * decay
        slow = torch.exp(-smaller * t)
        faster = torch.expm1(-gap * t)
        difference = -sign * slow * faster
        value = value + difference * bracket
        if differentiate:
            fast = slow * (1 + faster)
            shifted = (1 - complement) / (1 + ratio)
            for_m = for_m + difference * (shifted - decay * (1 - m * t))
            for_r = for_r + torch.where(r <= s, slow, fast) * t * bracket
            for_r = for_r + difference * ((1 - complement) * log_transform / r - shifted * ratio) / mass
            for_s = for_s - torch.where(s < r, slow, fast) * t * bracket
        t = t * growth

    log_q, log_p = torch.log1p(m / r), torch.log1p(m / s)
    results = [value * step + s * log_p - r * log_q]
    if differentiate:
        results.append(for_m * step + s / (s + m) - r / (r + m))
        results.append(for_r * step - log_q + m / (r + m))
        results.append(for_s * step + log_p - m / (s + m))
    return results
