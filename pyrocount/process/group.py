"""Processes that train one model together, as ``torchrun`` starts them."""

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import distributed


class ProcessLostError(RuntimeError):
    """Error of a process whose partners have ended or cannot be reached."""


def rank() -> int:
    """Returns the number of this process among those that ``torchrun`` started; 0 without it."""
    return int(os.environ.get("RANK", "0"))


def size() -> int:
    """Returns the number of processes that ``torchrun`` started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def joined(device: str, *, jax: bool = False) -> Iterator[None]:
    """Joins the processes that ``torchrun`` started, within the block: by NCCL on CUDA devices, else by Gloo.

    Args:
        device: name of the device on the command line: ``auto``, ``cpu`` or ``cuda``.
        jax: whether JAX is joined too, which must not have computed anything before; torch then joins by Gloo.

    Raises:
        ProcessLostError: if another process ends before its time.
    """
    if size() == 1:
        yield
        return
    cuda = device != "cpu" and torch.cuda.is_available() and not jax
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    try:
        distributed.init_process_group("nccl" if cuda else "gloo")
        with _joined_jax() if jax else nullcontext():
            yield
    except RuntimeError as error:
        # NCCL's errors have a class; Gloo's are known by their words.
        words = ("gloo", "Connection", "Timed out", "store")
        if isinstance(error, distributed.DistError) or any(word in str(error) for word in words):
            raise ProcessLostError("another process of the training ended or cannot be reached") from error
        raise
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()


@contextmanager
def _joined_jax() -> Iterator[None]:
    """Joins JAX in the processes, by a service of the first one on a free port of its machine."""
    from jax import distributed as joining

    address: list[Any] = [None]
    if rank() == 0:
        host = os.environ["MASTER_ADDR"]
        with socket.create_server((host, 0)) as free:
            address[0] = f"{host}:{free.getsockname()[1]}"
    distributed.broadcast_object_list(address, 0)
    joining.initialize(
        address[0],
        size(),
        rank(),
        local_device_ids=int(os.environ.get("LOCAL_RANK", "0")),
        # By default it would listen at all addresses of the machine.
        coordinator_bind_address=address[0] if rank() == 0 else None,
    )
    try:
        yield
    finally:
        joining.shutdown()


def gathered(values: Sequence[Any]) -> list[Any]:
    """Returns the values of all processes that are joined, of which the first has places 0, P, 2 P, ... of P processes.

    All of them call it; alone it returns the values.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return list(values)
    parts: list[Any] = [None] * size()
    distributed.all_gather_object(parts, list(values))
    return [part[place] for place in range(max(map(len, parts))) for part in parts if place < len(part)]
