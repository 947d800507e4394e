"""Processes that train one model together, as ``torchrun`` starts them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

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
def joined(device: str) -> Iterator[None]:
    """Joins the processes that ``torchrun`` started, within the block: by NCCL on CUDA devices, else by Gloo.

    Args:
        device: name of the device on the command line: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        ProcessLostError: if another process ends before its time.
    """
    if size() == 1:
        yield
        return
    cuda = device != "cpu" and torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    try:
        distributed.init_process_group("nccl" if cuda else "gloo")
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
