"""Ways to compute elementwise functions in little time and memory, for use within an autograd function."""

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import zip_longest

import numpy as np
import torch
from torch import Tensor

from .overrides import readable

Elementwise = Callable[..., Iterable[Tensor]]

# Bytes of a block of a function with tens of intermediate results, which then stay in the cache.
BLOCK = 480_000
# Number of elements for each value of a table from which on the table is faster.
LARGER = 4


def select(condition: Tensor, yes: Callable[..., Tensor], no: Callable[..., Tensor], *arguments: Tensor) -> Tensor:
    """Returns ``yes(*arguments)`` where the condition holds and ``no(*arguments)`` elsewhere.

    Both functions are elementwise, and the arguments broadcast. On a CPU the function that is needed less often is
    computed only where it is needed; autograd and vmap do not support this.
    """
    if condition.device.type != "cpu" or torch.compiler.is_compiling():
        return torch.where(condition, yes(*arguments), no(*arguments))
    number = int(condition.count_nonzero())
    if 2 * number > condition.numel():
        condition, number, yes, no = ~condition, condition.numel() - number, no, yes
    result = no(*arguments)
    if not number:
        return result
    shape = common_shape(condition, *arguments)
    result = result.expand(shape).contiguous()
    index = places(condition.expand(shape))
    result.view(-1)[index] = yes(*(argument.expand(shape).flatten()[index] for argument in arguments))
    return result


def common_shape(*tensors: Tensor) -> torch.Size:
    """Returns the shape to which tensors broadcast; ``torch.broadcast_shapes`` takes several times as long."""
    sizes = zip_longest(*(reversed(x.shape) for x in tensors), fillvalue=1)
    return torch.Size(reversed([0 if 0 in each else max(each) for each in sizes]))


def places(condition: Tensor) -> Tensor:
    """Returns where a condition holds on a CPU, as indices of the flattened tensor.

    NumPy takes a fraction of the time of ``torch.nonzero`` where the truth values follow no pattern.
    """
    return torch.from_numpy(np.flatnonzero(condition.numpy()))


def weight(x: Tensor) -> Tensor:
    """Returns 1 where x >= 0 and 0 elsewhere, by which ``lerp`` selects faster than ``where`` by truth values."""
    return x.sign().add_(1).clamp_(max=1)


def finite(x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Converts numbers to a dtype, clamped to the finite range of this dtype; NaN stays NaN."""
    dtype = x.dtype if dtype is None else dtype
    limits = torch.finfo(dtype)
    return x.clamp(limits.min, limits.max).to(dtype)


def compact(x: Tensor) -> Tensor:
    """Returns a tensor without the copies that ``expand`` made of it; it broadcasts to the shape that it had."""
    if 0 not in x.stride():
        return x
    return x[tuple(slice(0, 1) if stride == 0 else slice(None) for stride in x.stride())]


def in_blocks(function: Elementwise, *arguments: Tensor, block: int = BLOCK) -> tuple[Tensor, ...]:
    """Returns results of an elementwise function of arguments that broadcast and have as many dimensions.

    On a CPU many elements are computed in blocks, whose intermediate results stay in the cache, and in memory that the
    process keeps.
    """
    shape = common_shape(*arguments)
    number, most = math.prod(shape), block // max(argument.element_size() for argument in arguments)
    if number <= most or not readable(arguments[0]):
        return tuple(function(*arguments))
    dim = next(place for place, size in enumerate(shape) if size > 1)
    rows = max(1, most * shape[dim] // number)
    parts = []
    for first in range(0, shape[dim], rows):
        last = min(first + rows, shape[dim])
        own = [each if each.shape[dim] == 1 else each.narrow(dim, first, last - first) for each in arguments]
        parts.append(in_blocks(function, *own, block=block) if rows == 1 else tuple(function(*own)))
    return tuple(torch.cat(each, dim) for each in zip(*parts, strict=True))


def tabulated(function: Elementwise, count: Tensor, *parameters: Tensor) -> tuple[Elementwise, list[Tensor]]:
    """Returns an elementwise function and its arguments, or a table of its values and the places in the table.

    With a table each value is computed once, so that small counts of few parameters, as of one prior for many
    observations, cost little. The results of the function and of the table are equal.

    Args:
        function: function of counts and parameters that broadcast.
        count: counts, any shape.
        parameters: parameters, with as many dimensions as the counts, that broadcast to their shape.
    """
    shape = common_shape(*parameters)
    number = math.prod(shape)
    most = count.numel() / (LARGER * number) if number and readable(count) else 0
    if most < 1 or not -1 < count.amin() <= count.amax() < most or not torch.equal(count, count.round()):
        return function, [count, *parameters]
    rows = torch.arange(float(count.amax()) + 1, dtype=count.dtype).view(-1, *(1,) * count.dim())
    values = [each.expand(-1, *shape).flatten() for each in function(rows, *parameters)]

    def look_up(count: Tensor, column: Tensor) -> Iterator[Tensor]:
        place = count.to(torch.int32).mul_(number).add_(column).flatten()
        return (each.index_select(0, place).view(count.shape) for each in values)

    return look_up, [count, torch.arange(number, dtype=torch.int32).view(shape)]
