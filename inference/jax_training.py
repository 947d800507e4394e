"""The training of models in JAX: a step of an optimiser of optax, and the loop."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from numpy.typing import NDArray

from .loop import Row, run_epochs
from .schedules import cosine
from .sharding import over_devices

# Scalings of the gradient; the learning rate comes from the schedule.
OPTIMIZERS: dict[str, Callable[[], optax.GradientTransformation]] = {
    "adam": optax.scale_by_adam,
    "adamax": optax.scale_by_adamax,
    "adamw": lambda: optax.chain(optax.scale_by_adam(), optax.add_decayed_weights(0.01)),
}


class Progress(NamedTuple):
    """What a step of the optimiser leaves behind.

    Attributes:
        parameters: a pytree of arrays.
        optimizer_state: of the optimiser.
        loss: before the step, averaged over the batch.
        gradient_norm: of the gradient before it was clipped.
    """

    parameters: Any
    optimizer_state: Any
    loss: Array
    gradient_norm: Array


def optimizer_step(
    loss: Callable[..., Array],
    optimizer: optax.GradientTransformation,
    parameters: Any,
    optimizer_state: Any,
    learning_rate: Array | float,
    largest_norm: Array | float,
    *arguments: Any,
) -> Progress:
    """One step down the gradient of a loss, which is left out where loss or gradient are not finite.

    A pure function: ``jax.vmap`` trains several models at once, over seeds or weights of the divergence.

    Args:
        loss: of the parameters and the arguments, a number.
        optimizer: of optax, without its learning rate.
        parameters: a pytree of arrays.
        optimizer_state: of the optimiser.
        learning_rate: factor on its updates.
        largest_norm: to which the gradient is clipped.
        arguments: of the loss.
    """
    value, gradient = jax.value_and_grad(loss)(parameters, *arguments)
    norm = jnp.sqrt(sum(jnp.square(part).sum() for part in jax.tree.leaves(gradient)))
    finite = jnp.isfinite(value) & jnp.isfinite(norm)
    factor = jnp.where(norm > largest_norm, largest_norm / norm, 1.0)
    gradient = jax.tree.map(lambda part: factor * part, gradient)
    updates, moved = optimizer.update(gradient, optimizer_state, parameters)
    following = jax.tree.map(lambda old, update: old - learning_rate * update, parameters, updates)
    following, moved = jax.tree.map(
        lambda new, old: jnp.where(finite, new, old), (following, moved), (parameters, optimizer_state)
    )
    return Progress(following, moved, value, norm)


def train(
    loss: Callable[..., Array],
    parameters: Any,
    optimizer: str,
    data: Sequence[NDArray[Any]],
    *,
    epochs: int,
    batch_size: int,
    peak: float,
    max_gradient_norm: float,
    seed: int,
    anneal: Callable[[float], Mapping[str, float]],
    monitor: Callable[[Any], Mapping[str, float]],
    save: Callable[[dict[str, Any]], None],
    learning_rate: Callable[[float], float] = cosine,
    checkpoint: dict[str, Any] | None = None,
    progress: bool = True,
) -> tuple[Any, list[Row]]:
    """Minimises a loss over minibatches, which are spread over all devices of JAX where their size divides by them.

    Randomness follows from the seed and the number of the step or epoch, so that training that goes on from a
    checkpoint takes the very steps that it would have taken without the interruption.

    Args:
        loss: of the parameters, a random key, what is annealed, and a batch of each of the data; gives that of each
            observation of the batch, shape (N,).
        parameters: a pytree of arrays.
        optimizer: a key of ``OPTIMIZERS``.
        data: observations, shape (N, \\*shape), and what else the loss takes of each, shapes (N, ...).
        epochs: passes over the data, in all.
        batch_size: observations a step.
        peak: learning rate.
        max_gradient_norm: to which the gradient is clipped.
        seed: of batches and samples.
        anneal: called before each step with the progress of training, from 0 to 1; gives what is annealed.
        monitor: takes the parameters at the start and after each epoch; gives figures for the history, among them
            ``mean_rate``.
        save: called with a checkpoint, of arrays, before the first epoch and after every epoch.
        learning_rate: factor on the peak by the progress of training.
        checkpoint: one that ``save`` was given, to go on from there.
        progress: whether to show a progress bar.

    Returns:
        The parameters, and the history, a row an epoch. Its ``elbo`` is minus the annealed loss.

    Raises:
        NonFiniteLossError: if the loss or its gradient is not finite, before the parameters are changed.
    """
    number_of_data = len(data[0])
    steps = epochs * math.ceil(number_of_data / batch_size)
    size = min(batch_size, number_of_data)
    rule = OPTIMIZERS[optimizer]()
    state = (parameters, rule.init(parameters))
    structure = jax.tree.structure(state)
    history: list[Row] = []
    key = jax.random.key(seed)
    one_step = jax.jit(partial(_batch_step, loss, rule))

    def save_now() -> None:
        save({"leaves": [np.asarray(leaf) for leaf in jax.tree.leaves(state)], "history": history})

    def step(number: int, batch: NDArray[Any], annealed: Mapping[str, float]) -> tuple[float, float, float]:
        nonlocal state
        rate = peak * learning_rate(number / steps)
        # The last batch of an epoch is filled up, so that all have one shape and compile once.
        full, weight = np.resize(batch, size), np.arange(size) < len(batch)
        sample = jax.random.fold_in(key, number)
        taken = [over_devices(part[full]) for part in data]
        done = one_step(*state, rate, max_gradient_norm, sample, dict(annealed), over_devices(weight), *taken)
        state = done.parameters, done.optimizer_state
        return float(done.loss), float(done.gradient_norm), rate

    def shuffled(epoch: int) -> Sequence[NDArray[Any]]:
        order = np.random.default_rng((seed, epoch)).permutation(number_of_data)
        return [order[first : first + batch_size] for first in range(0, number_of_data, batch_size)]

    if checkpoint is None:
        save_now()
    else:
        state = jax.tree.unflatten(structure, [jnp.asarray(leaf) for leaf in checkpoint["leaves"]])
        history.extend(checkpoint["history"])
    run_epochs(
        step,
        history,
        number_of_data=number_of_data,
        epochs=epochs,
        batch_size=batch_size,
        shuffled=shuffled,
        anneal=anneal,
        monitor=lambda: monitor(state[0]),
        save=save_now,
        progress=progress,
    )
    return state[0], history


def _batch_step(
    loss: Callable[..., Array],
    optimizer: optax.GradientTransformation,
    parameters: Any,
    optimizer_state: Any,
    learning_rate: Array,
    largest_norm: Array,
    key: Array,
    annealed: Mapping[str, Array],
    weight: Array,
    *data: Array,
) -> Progress:
    def mean_loss(parameters: Any, *arguments: Any) -> Array:
        losses = loss(parameters, *arguments)
        return jnp.where(weight, losses, 0.0).sum() / weight.sum()

    return optimizer_step(
        mean_loss, optimizer, parameters, optimizer_state, learning_rate, largest_norm, key, annealed, *data
    )
