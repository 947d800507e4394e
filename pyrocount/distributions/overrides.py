"""Decorator that lets tensor subclasses override functions with an autograd rule of their own."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

Arguments = ParamSpec("Arguments")


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
