"""Sharding of minibatches over the devices of JAX."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def shard_over_devices(x: Any) -> Array:
    """Returns the array with its leading axis spread over all devices, if its length is divisible by their number.

    Otherwise the array stays on one device. Computations on a spread array run on all devices, and give the same
    numbers as on one device, up to rounding. If a default device (``jax.default_device``) is set, the array stays on
    it.
    """
    devices = jax.devices()
    pinned = jax.config.jax_default_device is not None  # type: ignore[attr-defined]
    if pinned or len(devices) == 1 or len(x) % len(devices):
        return jnp.asarray(x)
    mesh = Mesh(np.array(devices), ("data",))
    spread: Array = jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
    return spread
