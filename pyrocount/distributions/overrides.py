"""Functions with an autograd rule of their own as functions that subclasses of tensors can override."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

Arguments = ParamSpec("Arguments")


def overridable(function: Callable[Arguments, Tensor]) -> Callable[Arguments, Tensor]:
    """Lets a function honour ``__torch_function__``.

    A ``torch.autograd.Function`` does not. Pyro's ``TraceGraph_ELBO`` follows samples through the model in tensors of a
    class of its own, and would lose the gradient of what such a function makes of them without a word.
    """

    @wraps(function)
    def call(*arguments: Arguments.args, **options: Arguments.kwargs) -> Tensor:
        tensors = tuple(value for value in (*arguments, *options.values()) if isinstance(value, Tensor))
        if has_torch_function(tensors):
            overridden: Tensor = handle_torch_function(call, tensors, *arguments, **options)
            return overridden
        return function(*arguments, **options)

    return call
