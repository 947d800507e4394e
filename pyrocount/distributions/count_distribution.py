"""Base class of the count distributions: a Poisson count of a fixed or a random rate, drawn through a relaxation."""

from abc import abstractmethod
from collections.abc import Sequence
from functools import reduce

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.utils import broadcast_all

from pyrocount.errors import InputError, broadcasts

from .overrides import transformed
from .relaxations import Discrete, Relaxation, with_log_derivative
from .support import relaxed_counts

Parameter = Tensor | float


class CountDistribution(TorchDistribution):
    """Base class of the relaxed count distributions, which add their parameters, moments and ``log_prob``."""

    def __init__(self, parameters: dict[str, Parameter], relaxation: Relaxation, validate_args: bool | None) -> None:
        for name, value in parameters.items():
            if isinstance(value, Tensor) and not value.is_floating_point():
                raise TypeError(f"{name}: got a tensor of dtype {value.dtype}, expected a floating-point dtype")
        if not isinstance(relaxation, Relaxation):
            raise TypeError(f"relaxation: got {relaxation!r}, expected a relaxation such as ArrivalTimes(0.1)")
        self.relaxation = relaxation
        self._given = tuple(parameters)
        tensors = broadcast_all(*parameters.values())
        dtype = reduce(torch.promote_types, (tensor.dtype for tensor in tensors))
        for name, tensor in zip(parameters, tensors, strict=True):
            setattr(self, name, tensor.to(dtype))
        shape = tensors[0].shape
        if not broadcasts(relaxation.batch_shape, shape):
            problem = f"a tensor of shape {tuple(relaxation.batch_shape)}"
            raise InputError("temperature", problem, f"a shape that broadcasts to the batch shape {tuple(shape)}")
        super().__init__(shape, validate_args=validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: "CountDistribution | None" = None) -> "CountDistribution":
        """Returns the distribution with a wider batch shape; its class, and with it the KL divergence, stays."""
        new: CountDistribution = self._get_checked_instance(type(self), _instance)
        new.relaxation = self.relaxation
        new._given = self._given
        for name in self._given:
            setattr(new, name, getattr(self, name).expand(batch_shape))
        TorchDistribution.__init__(new, torch.Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, relaxation: {self.relaxation})"

    @property
    def _parameters(self) -> dict[str, Tensor]:
        return {name: getattr(self, name) for name in self._given}

    @property
    def counts(self) -> "CountDistribution":
        """Returns the same distribution with exact counts, without a gradient; its moments are those of the counts."""
        new = self.expand(self.batch_shape)
        new.relaxation = Discrete()
        return new

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """Returns whether gradients flow through samples."""
        return self.relaxation.has_rsample

    @constraints.dependent_property(event_dim=0)
    def support(self) -> constraints.Constraint:
        """Returns the nonnegative integers for hard relaxations, the nonnegative reals for soft relaxations."""
        return constraints.nonnegative_integer if self.relaxation.is_discrete else relaxed_counts

    @abstractmethod
    def _draw_rate(self, shape: torch.Size) -> Tensor:
        """Draws the Poisson rates of samples of this shape, with gradients to the parameters."""

    def draw_rate(self) -> Tensor:
        """Draws the Poisson rates of one sample, shape ``batch_shape``, with gradients to the parameters."""
        return self._checked_rate(torch.Size())

    def _checked_rate(self, sample_shape: Sequence[int]) -> Tensor:
        rate = self._draw_rate(self._extended_shape(torch.Size(sample_shape)))
        if self._validate_args and not transformed():
            self.relaxation.check(rate.detach())
        return rate

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Draws values of shape (\\*sample_shape, \\*batch_shape), without a gradient."""
        with torch.no_grad():
            return self.relaxation.draw(self._checked_rate(sample_shape))[0]

    def rsample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Draws values of shape (\\*sample_shape, \\*batch_shape), with the gradient of the relaxation.

        Raises:
            NotImplementedError: if the relaxation has no gradient.
        """
        if not self.has_rsample:
            raise NotImplementedError(f"{self.relaxation} draws samples without a gradient; call sample()")
        rate = self._checked_rate(sample_shape)
        value, slope = self.relaxation.draw(rate)
        return with_log_derivative(value, rate, slope)
