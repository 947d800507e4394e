"""Batches spread over the devices of JAX."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def over_devices(x: Any) -> Array:
    """An array whose leading axis is spread over all devices, where it divides by their number; else as it is.

    Computations on it run on all of them, and give the numbers that one device gives, up to rounding. A default device
    (``jax.default_device``) is not left.
    """
    devices = jax.devices()
    pinned = jax.config.jax_default_device is not None  # type: ignore[attr-defined]
    if pinned or len(devices) == 1 or len(x) % len(devices):
        return jnp.asarray(x)
    mesh = Mesh(np.array(devices), ("data",))
    spread: Array = jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
    return spread
