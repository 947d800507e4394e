"""Tensor subclasses and ``torch.func``'s transforms, for functions with an autograd rule of their own."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

Arguments = ParamSpec("Arguments")


def transformed() -> bool:
    """Returns whether a transform of ``torch.func``, such as vmap, is at work, under which no value can be read."""
    active: bool = torch._C._are_functorch_transforms_active()
    return active


def readable(x: Tensor) -> bool:
    """Returns whether there are values, which can be read in little time."""
    return x.device.type == "cpu" and x.numel() > 0 and not torch.compiler.is_compiling() and not transformed()


def batched(info: Any, in_dims: Sequence[int | None], tensors: Sequence[Tensor]) -> list[Tensor]:
    """Returns the inputs of an elementwise function, with the dimension that vmap hides moved to the front."""
    return [
        tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
        for tensor, dim in zip(tensors, in_dims, strict=True)
    ]


def overridable(function: Callable[Arguments, Tensor]) -> Callable[Arguments, Tensor]:
    """Makes a function honour ``__torch_function__``.

    A ``torch.autograd.Function`` alone does not honour it. Pyro's ``TraceGraph_ELBO`` follows samples through the model
    in a tensor subclass of its own, and would silently lose the gradient through such a function.
    """

    @wraps(function)
    def call(*arguments: Arguments.args, **options: Arguments.kwargs) -> Tensor:
        tensors = tuple(value for value in (*arguments, *options.values()) if isinstance(value, Tensor))
        if has_torch_function(tensors):
            overridden: Tensor = handle_torch_function(call, tensors, *arguments, **options)
            return overridden
        return function(*arguments, **options)

    return call
