"""Sharding of minibatches over the devices of JAX, of one process or of several that were joined."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def shard_over_devices(x: Any) -> Array:
    """Returns the array with its leading axis spread over all devices of this process, if it divides into equal parts.

    Otherwise the array stays on one device. Computations on a spread array run on all devices, and give the same
    numbers as on one device, up to rounding. If a default device (``jax.default_device``) is set, the array stays on
    it.
    """
    devices = jax.local_devices()
    pinned = jax.config.jax_default_device is not None  # type: ignore[attr-defined]
    if pinned or len(devices) == 1 or len(x) % len(devices):
        return jnp.asarray(x)
    spread: Array = jax.device_put(x, NamedSharding(Mesh(np.array(devices), ("data",)), PartitionSpec("data")))
    return spread


def rows_over_processes(x: Any, rows: Any) -> Array:
    """Returns rows of an array, spread over the devices of all processes, each of which reads its part alone.

    Every process calls it with the same rows. Rows that do not divide into equal parts are on every device, whole. In
    one process it is ``shard_over_devices``.

    Args:
        x: array (N, ...), or what is read as one.
        rows: numbers of the rows, shape (B,).
    """
    if jax.process_count() == 1:
        return shard_over_devices(x[rows])
    spec = PartitionSpec("data") if len(rows) % jax.device_count() == 0 else PartitionSpec()
    sharding = NamedSharding(_mesh(), spec)
    shape = (len(rows), *x.shape[1:])

    def own(index: Any) -> Any:
        return np.asarray(x[rows[index[0]]])

    return jax.make_array_from_callback(shape, sharding, own)


def on_all_processes(tree: Any) -> Any:
    """Returns arrays that all processes hold alike as arrays of all processes together; in one process as they are."""
    if jax.process_count() == 1:
        return tree
    return jax.device_put(jax.tree.map(np.asarray, tree), NamedSharding(_mesh(), PartitionSpec()))


def on_this_process(tree: Any) -> Any:
    """Returns arrays of all processes, of which each holds the whole, as arrays of this process alone."""
    return tree if jax.process_count() == 1 else jax.tree.map(lambda each: jnp.asarray(np.asarray(each)), tree)


def _mesh() -> Mesh:
    return Mesh(np.array(jax.devices()), ("data",))
