"""Base class of the relaxations, with the functions that they share."""

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import nullcontext
from itertools import chain
from numbers import Real
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from pyrocount import errors
from pyrocount.errors import LARGEST_RATE, InputError, drawable_rate

from ..overrides import batched, overridable, transformed
from ..sites import at_site


class Relaxation(ABC):
    """Base class of the relaxations, which sample Poisson counts and their derivatives with respect to the log rate."""

    @property
    def is_discrete(self) -> bool:
        """Returns whether the values are integers."""
        return True

    @property
    def has_rsample(self) -> bool:
        """Returns whether a gradient flows through the values."""
        return True

    @property
    def batch_shape(self) -> torch.Size:
        """Returns the shape of the relaxation's parameter, which broadcasts to the batch shape of the distribution."""
        return torch.Size()

    def draw(self, rate: Tensor) -> tuple[Tensor, Tensor]:
        """Draws a value for each rate.

        Args:
            rate: expected counts per observation window, any shape.

        Returns:
            The values and their derivatives with respect to the log rate, both of the shape of ``rate``. Both are NaN
            where the rate is NaN, or above ``LARGEST_RATE``. Neither carries an autograd graph.

        Raises:
            InputError: on a CPU, naming the site, if a finite rate is above ``LARGEST_RATE``.
        """
        if transformed():
            return drawn_under_transforms(self.draw, rate)
        with torch.no_grad():
            # On a CPU, reading the largest rate does not wait for a device; it is NaN if one is.
            if rate.device.type == "cpu" and not torch.compiler.is_compiling() and rate.numel():
                largest = rate.max().item()
                if largest < math.inf:
                    drawable_rate(largest, at_site)
                if largest <= LARGEST_RATE:
                    return self._draw(rate)
            possible = rate <= LARGEST_RATE
            value, slope = self._draw(rate.where(possible, 0.0))
            return value.where(possible, math.nan), slope.where(possible, math.nan)

    @abstractmethod
    def _draw(self, rate: Tensor) -> tuple[Tensor, Tensor]:
        """Draws values as ``draw`` does, for finite rates; autograd is off when it is called."""

    def moment_factors(self) -> tuple[Tensor | float, Tensor | float]:
        """Returns the mean and the variance of a value per unit of rate; for an exact count they are (1, 1).

        Raises:
            NotImplementedError: if the mean and the variance have no closed form.
        """
        return 1.0, 1.0

    def check(self, rate: Tensor) -> None:
        """Checks the values of the rates; with validation on, this comes before each draw.

        Raises:
            InputError: naming the site, if a rate is NaN, infinite, or above ``LARGEST_RATE``.

        Warns:
            UserWarning: if counts will not be exact integers in the dtype.
        """
        if not rate.isfinite().all():
            problem = f"NaN or infinite values for {int((~rate.isfinite()).sum())} of {rate.numel()} rates{at_site()}"
            raise InputError("rate", problem, "finite rates")
        if rate.numel():
            drawable_rate(rate.max().item(), at_site)
        exact = 2 / torch.finfo(rate.dtype).eps
        if self.is_discrete and (rate > exact).any():
            warnings.warn(
                f"rate: got rates up to {rate.max().item():.3g}, "
                f"but counts above {exact:.0f} are rounded in {rate.dtype}",
                stacklevel=4,
            )


def positive_temperature(temperature: Tensor | float) -> None:
    """Checks a temperature, except for the values of a tensor.

    These may be on a device; ``Relaxation.check`` looks at them.

    Raises:
        InputError: if the temperature is neither a number nor a tensor, or a number that is not positive and finite.
    """
    if isinstance(temperature, Tensor):
        return
    if not isinstance(temperature, Real):
        raise InputError("temperature", repr(temperature), "a positive number or a tensor of positive numbers")
    errors.positive_temperature(temperature)


def positive_temperatures(temperature: Tensor | float) -> None:
    """Checks the values of a tensor of temperatures.

    Raises:
        InputError: if a temperature is not positive and finite.
    """
    if isinstance(temperature, Tensor) and not ((temperature > 0) & temperature.isfinite()).all():
        raise InputError("temperature", temperature.tolist(), "positive numbers; exact counts are Discrete()")


def drawn_under_transforms(draw: Callable[[Tensor], tuple[Tensor, Tensor]], parameter: Tensor) -> tuple[Tensor, Tensor]:
    """Draws values and their derivatives under ``torch.func``'s transforms, where a draw sees plain tensors alone.

    Args:
        draw: function that draws a value for each parameter, with its derivative.
        parameter: parameters of the values.
    """
    # The random number makes vmap take part in all that is random: it raises, or gives each row its own.
    random = parameter + 0 * torch.rand((), dtype=parameter.dtype, device=parameter.device)
    drawn: tuple[Tensor, Tensor] = _Draw.apply(draw, random)
    return drawn


class _Draw(Function):
    @staticmethod
    def forward(draw: Callable[[Tensor], tuple[Tensor, Tensor]], parameter: Tensor) -> tuple[Tensor, Tensor]:
        return draw(parameter)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, Tensor], output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(*output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, None]:
        return None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[None, int], draw: Any, parameter: Tensor) -> tuple[Any, tuple[int, int]]:
        parameter = parameter.movedim(in_dims[1], 0)
        if info.randomness == "different":
            return _Draw.apply(draw, parameter), (0, 0)
        # The same random numbers for all rows.
        cuda = [parameter.device] if parameter.device.type == "cuda" else []
        rows = []
        for number, row in enumerate(parameter):
            with torch.random.fork_rng(cuda) if number < len(parameter) - 1 else nullcontext():
                rows.append(_Draw.apply(draw, row))
        return tuple(torch.stack(part) for part in zip(*rows, strict=True)), (0, 0)


class _WithDerivatives(Function):
    """A value, of which the parameters and the derivatives with respect to them are the other inputs, in turn."""

    @staticmethod
    def forward(value: Tensor, *inputs: Tensor) -> Tensor:
        # The output is a copy, because an output that is also an input could not be modified in place.
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[2::2])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        needed = ctx.needs_input_grad[1::2]
        pairs = [(grad * each if need else None, None) for need, each in zip(needed, ctx.saved_tensors, strict=True)]
        return None, *chain.from_iterable(pairs)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Tensor) -> tuple[Tensor, int]:
        return _WithDerivatives.apply(*batched(info, in_dims, inputs)), 0


@overridable
def with_derivative(value: Tensor, parameter: Tensor, derivative: Tensor, *others: Tensor) -> Tensor:
    """Returns ``value`` with the given derivative with respect to ``parameter``; the arguments have one shape.

    Further parameters may follow, each with its derivative.
    """
    result: Tensor = _WithDerivatives.apply(value, parameter, derivative, *others)
    return result


def with_log_derivative(value: Tensor, rate: Tensor, slope: Tensor) -> Tensor:
    """Returns ``value`` with the given derivative with respect to the log rate; the arguments have one shape."""
    # Where the rate underflows to 0, so does the slope. The clamp keeps their ratio from being NaN.
    return with_derivative(value, rate, slope / rate.detach().clamp(min=torch.finfo(rate.dtype).tiny))
