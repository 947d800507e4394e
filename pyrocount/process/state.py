"""State of the process while a model is fitted or used: one at a time, with the settings that models need."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch.distributions import Distribution

_lock = threading.RLock()


@contextmanager
def own_state() -> Iterator[None]:
    """Gives the block the process alone, as far as this package goes, with the settings that models need.

    Whatever a caller has set, in the block new tensors are in single precision and on the CPU, gradients are recorded,
    algorithms need not be deterministic, nothing is cast automatically, and JAX, where it is imported, computes in
    single precision. At the end, also after an error, the caller's settings and random generators are as they were.
    Blocks of several threads run one after the other, since the parameters and handlers of Pyro and the generators of
    torch are global. A block within a block of the same thread goes on.

    >>> torch.set_default_dtype(torch.float64)
    >>> with own_state():
    ...     torch.zeros(()).dtype
    torch.float32
    >>> torch.set_default_dtype(torch.float32)
    """
    with _lock, ExitStack() as stack:
        stack.callback(torch.set_default_dtype, torch.get_default_dtype())
        torch.set_default_dtype(torch.float32)
        if torch.are_deterministic_algorithms_enabled():
            warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
            stack.callback(torch.use_deterministic_algorithms, True, warn_only=warn_only)
            torch.use_deterministic_algorithms(False)
        stack.callback(Distribution.set_default_validate_args, Distribution._validate_args)
        cuda = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
        stack.enter_context(torch.random.fork_rng(cuda))
        # A device that is set costs time in each call of torch.
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        if (jax := sys.modules.get("jax")) is not None:
            stack.enter_context(jax.enable_x64(False))
        yield


def _new_lock() -> None:
    global _lock
    _lock = threading.RLock()


# A process may be forked while another thread has the lock.
os.register_at_fork(after_in_child=_new_lock)
