"""Sampler of Gamma variables, faster on a CPU than torch's, which draws one after the other."""

import torch
from torch import Tensor

from .elementwise import compact, in_blocks
from .special import log1p_residual

# Number of variables from which it is faster to draw them together.
LARGE = 32_768


def standard_gamma(concentration: Tensor) -> Tensor:
    """Draws Gamma variables of scale 1, of the shape and dtype of their positive concentrations, without a gradient.

    On a CPU many are drawn together by the rejection method of Marsaglia and Tsang (A Simple Method for Generating
    Gamma Variables, 2000) for the concentration plus 1, and multiplied by a power of a uniform variable. On other
    devices, and for a few, torch draws them.
    """
    few = concentration.numel() < LARGE
    if few or concentration.device.type != "cpu" or torch.compiler.is_compiling():
        return torch._standard_gamma(concentration)
    return in_blocks(_together, concentration)[0]


def _together(concentration: Tensor) -> tuple[Tensor]:
    shape = concentration.shape
    concentration = compact(concentration)
    value, accepted = _proposal(concentration, shape)
    index = (~accepted).flatten().nonzero().squeeze(1)
    flat = value.view(-1)
    while len(index):
        again = concentration.expand(shape).flatten()[index]
        flat[index], accepted = _proposal(again, again.shape)
        index = index[~accepted]
    power = torch.rand(shape, dtype=value.dtype).log_().div_(concentration).exp_()
    return (value.mul_(power).clamp_(min=torch.finfo(value.dtype).tiny),)


def _proposal(concentration: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor]:
    """Proposes variables of a concentration that is larger by 1; returns them, and which are accepted."""
    d = concentration + 2 / 3
    y = torch.randn(shape, dtype=d.dtype).mul_((9 * d).rsqrt_())
    uniform = torch.rand(shape, dtype=d.dtype)
    # Marsaglia and Tsang's bound, whose terms of order d y^2 are taken together. It is NaN for y < -1, and rejected.
    bound = log1p_residual(y).mul_(-3).add_((1.5 - y).mul_(y).mul_(y)).mul_(d)
    cube = y.add_(1)
    return (cube * cube).mul_(cube).mul_(d), uniform.log_() < bound
