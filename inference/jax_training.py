"""Training of models in JAX: one step of an optax optimiser, and the training loop."""

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
from .sharding import on_all_processes, on_this_process, rows_over_processes

# Optimisers of optax by name, without a learning rate, which comes from the schedule.
OPTIMIZERS: dict[str, Callable[[], optax.GradientTransformation]] = {
    "adam": optax.scale_by_adam,
    "adamax": optax.scale_by_adamax,
    "adamw": optax.scale_by_adam,
}


class Progress(NamedTuple):
    """Result of one optimiser step.

    Attributes:
        parameters: parameters after the step, a pytree of arrays.
        optimizer_state: state of the optimiser after the step.
        loss: loss before the step, averaged over the batch.
        gradient_norm: norm of the gradient before it was clipped.
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
    max_gradient_norm: Array | float,
    *arguments: Any,
) -> Progress:
    """Takes one step down the gradient of a loss, unless the loss or its gradient is not finite.

    This function is pure, so that ``jax.vmap`` can train several models at once, for example over seeds or KL weights.

    Args:
        loss: function of the parameters and the arguments that returns a number.
        optimizer: optimiser of optax, without its learning rate.
        parameters: parameters to train, a pytree of arrays.
        optimizer_state: state of the optimiser before the step.
        learning_rate: factor on the updates of the optimiser.
        max_gradient_norm: norm to which a larger gradient is clipped.
        arguments: arguments of the loss after the parameters.
    """
    value, gradient = jax.value_and_grad(loss)(parameters, *arguments)
    norm = jnp.sqrt(sum(jnp.square(part).sum() for part in jax.tree.leaves(gradient)))
    finite = jnp.isfinite(value) & jnp.isfinite(norm)
    factor = jnp.where(norm > max_gradient_norm, max_gradient_norm / norm, 1.0)
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
    data: Sequence[Any],
    *,
    epochs: int,
    batch_size: int,
    peak: float,
    max_gradient_norm: float,
    weight_decay: float = 0.0,
    seed: int,
    anneal: Callable[[float], Mapping[str, float]],
    monitor: Callable[[Any], Mapping[str, float]],
    save: Callable[[dict[str, Any]], None],
    learning_rate: Callable[[float], float] = cosine,
    checkpoint: dict[str, Any] | None = None,
    progress: bool = True,
) -> tuple[Any, list[Row]]:
    """Minimises a loss over minibatches.

    A minibatch is spread over all JAX devices, of all processes that were joined, if its size is divisible by their
    number. The random numbers depend only
    on the seed and on the number of the step or epoch, so that training resumed from a checkpoint takes exactly the
    steps that it would have taken without the interruption.

    Args:
        loss: function of the parameters, a random key, the annealed values, and a batch of each array in ``data``; it
            returns the loss of each observation of the batch, shape (N,).
        parameters: initial parameters, a pytree of arrays.
        optimizer: name of the optimiser, a key of ``OPTIMIZERS``.
        data: observations, shape (N, \\*shape), and further arrays that the loss takes, shapes (N, ...). What is read
            by the numbers of rows may stand for an array.
        epochs: total number of passes over the data.
        batch_size: number of observations in a minibatch.
        peak: highest learning rate.
        max_gradient_norm: norm to which a larger gradient is clipped.
        weight_decay: decoupled weight decay of parameters with more than one axis, in units of the learning rate.
        seed: random seed of the minibatches and samples.
        anneal: function called before each step with the progress of training, from 0 to 1; it returns the annealed
            values by name.
        monitor: function called with the parameters at the start and after each epoch; it returns metrics for the
            history, among them ``mean_rate``.
        save: function called with a checkpoint of arrays before the first epoch and after every epoch.
        learning_rate: function of the progress of training that returns a factor on ``peak``.
        checkpoint: checkpoint that ``save`` received, to resume from.
        progress: whether to show a progress bar.

    Returns:
        The parameters, and the history, with one row for each epoch. Its ``elbo`` is minus the annealed loss.

    Raises:
        NonFiniteLossError: if the loss or its gradient is not finite, before the parameters are changed.
    """
    number_of_data = len(data[0])
    steps = epochs * math.ceil(number_of_data / batch_size)
    size = min(batch_size, number_of_data)
    rule = OPTIMIZERS[optimizer]()
    if weight_decay:
        decay = optax.add_decayed_weights(weight_decay, lambda parts: jax.tree.map(lambda part: part.ndim > 1, parts))
        rule = optax.chain(rule, decay)
    state = on_all_processes((parameters, rule.init(parameters)))
    structure = jax.tree.structure(state)
    history: list[Row] = []
    key = jax.random.key(seed)
    one_step = jax.jit(partial(_batch_step, loss, rule))

    def save_now() -> None:
        save({"leaves": [np.asarray(leaf) for leaf in jax.tree.leaves(state)], "history": history})

    def step(number: int, batch: NDArray[Any], annealed: Mapping[str, float]) -> tuple[float, float, float]:
        nonlocal state
        rate = peak * learning_rate(number / steps)
        # The last batch of an epoch is filled up, so that all batches have one shape and the step compiles once.
        full, weight = np.resize(batch, size), np.arange(size) < len(batch)
        sample = jax.random.fold_in(key, number)
        taken = [rows_over_processes(part, full) for part in data]
        counted = rows_over_processes(weight, np.arange(size))
        done = one_step(*state, rate, max_gradient_norm, sample, dict(annealed), counted, *taken)
        state = done.parameters, done.optimizer_state
        return float(done.loss), float(done.gradient_norm), rate

    def shuffled(epoch: int) -> Sequence[NDArray[Any]]:
        order = np.random.default_rng((seed, epoch)).permutation(number_of_data)
        return [order[first : first + batch_size] for first in range(0, number_of_data, batch_size)]

    if checkpoint is None:
        save_now()
    else:
        known = jax.tree.unflatten(structure, [jnp.asarray(leaf) for leaf in checkpoint["leaves"]])
        state = on_all_processes(known)
        history.extend(checkpoint["history"])
    run_epochs(
        step,
        history,
        number_of_data=number_of_data,
        epochs=epochs,
        batch_size=batch_size,
        shuffled=shuffled,
        anneal=anneal,
        monitor=lambda: monitor(on_this_process(state[0])),
        save=save_now,
        progress=progress,
    )
    return on_this_process(state[0]), history


def _batch_step(
    loss: Callable[..., Array],
    optimizer: optax.GradientTransformation,
    parameters: Any,
    optimizer_state: Any,
    learning_rate: Array,
    max_gradient_norm: Array,
    key: Array,
    annealed: Mapping[str, Array],
    weight: Array,
    *data: Array,
) -> Progress:
    def mean_loss(parameters: Any, *arguments: Any) -> Array:
        losses = loss(parameters, *arguments)
        return jnp.where(weight, losses, 0.0).sum() / weight.sum()

    return optimizer_step(
        mean_loss, optimizer, parameters, optimizer_state, learning_rate, max_gradient_norm, key, annealed, *data
    )
