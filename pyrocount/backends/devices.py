"""Devices that models compute on, by the names of the command line: ``"auto"``, ``"cpu"`` and ``"cuda"``."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from pyrocount.errors import InputError

if TYPE_CHECKING:
    import jax

DEVICES = ("auto", "cpu", "cuda")


def torch_device(name: str) -> torch.device:
    """Returns the device of torch; ``"auto"`` is CUDA where there is a CUDA device.

    Raises:
        InputError: naming ``device``, if CUDA is asked for where there is no CUDA device.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device", "cuda, but torch finds no CUDA device", "cpu or auto")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def check_precision(precision: str, device: torch.device) -> None:
    """Checks that a device has the arithmetic of a precision.

    Raises:
        InputError: naming ``precision``, if it is ``"bf16"`` and the device has none.
    """
    if precision != "bf16":
        return
    if device.type == "cuda":
        supported = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # Older torch cannot tell.
        capabilities: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
        supported = any(has for name, has in capabilities.items() if name.endswith("bf16"))
    if not supported:
        raise InputError("precision", f"bf16 on a {device.type} without this arithmetic", "float32")


def jax_device(name: str) -> "jax.Device | None":
    """Returns the device that ``jax.default_device`` takes; None leaves the choice to JAX.

    Raises:
        InputError: naming ``device``, if CUDA is asked for where there is no CUDA device.
    """
    import jax

    if name == "cuda" and jax.default_backend() != "gpu":
        raise InputError("device", "cuda, but JAX finds no CUDA device", "cpu or auto")
    return jax.devices("cpu")[0] if name == "cpu" and jax.default_backend() != "cpu" else None
