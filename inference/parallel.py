"""Training of one model by several processes, each with its part of every batch."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel


class _Loss(nn.Module):
    """A loss and the module that it is of, in one module."""

    def __init__(self, loss: Callable[..., Tensor], module: nn.Module) -> None:
        super().__init__()
        self.loss, self.module = loss, module

    def forward(self, *batch: Any) -> Tensor:
        return self.loss(*batch)


class Alone:
    """One process, which has all of every batch."""

    rank, size = 0, 1

    def loss(self, loss: Callable[..., Tensor], module: nn.Module) -> Callable[..., Tensor]:
        """Returns the loss of a part of a batch, whose gradients are those of all parts together."""
        return loss

    def seed(self, step: int) -> None:
        """Gives the process random numbers of its own, from a step on."""

    def order(self, number: int, device: torch.device) -> Tensor:
        """Returns a random order of observations, the same in all processes."""
        return torch.randperm(number)

    def part(self, batch: Tensor) -> Tensor:
        """Returns the observations of a batch that this process has."""
        return batch

    def mean(self, values: Tensor) -> Tensor:
        """Returns the mean of values over the processes."""
        return values


class Together(Alone):
    """Processes of ``torch.distributed``, which divide every batch among them."""

    def __init__(self) -> None:
        self.rank, self.size = distributed.get_rank(), distributed.get_world_size()

    def loss(self, loss: Callable[..., Tensor], module: nn.Module) -> Callable[..., Tensor]:
        """Returns the loss of a part of a batch, whose gradients are averaged over the processes."""
        # The same parameters have a part in each step; some losses have parameters without one.
        return DistributedDataParallel(_Loss(loss, module), static_graph=True)

    def seed(self, step: int) -> None:
        """Gives the processes but the first, whose random numbers are in checkpoints, random numbers of their own."""
        if self.rank:
            known = torch.initial_seed()
            torch.manual_seed(hash((known, step, self.rank)) % 2**63)

    def order(self, number: int, device: torch.device) -> Tensor:
        """Returns the random order of the first process."""
        order = torch.randperm(number).to(device if device.type == "cuda" else "cpu")
        distributed.broadcast(order, 0)
        return order.cpu()

    def part(self, batch: Tensor) -> Tensor:
        """Returns the observations that this process has; all, of a batch with fewer than there are processes."""
        return batch.tensor_split(self.size)[self.rank] if len(batch) >= self.size else batch

    def mean(self, values: Tensor) -> Tensor:
        """Returns the mean of values over the processes."""
        distributed.all_reduce(values)
        return values / self.size


def processes() -> Alone:
    """Returns the processes that train together: those of ``torch.distributed`` where there are several."""
    several = distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
    return Together() if several else Alone()
