"""Building and training of iterative models, from the options of a run, by back-propagation through their inference."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax import Array
from torch import Tensor

from pyrocount.config import Config
from pyrocount.data import Dataset
from pyrocount.data.options import DataOptions
from pyrocount.inference import cosine, jax_training, unrolled
from pyrocount.inference.options import TrainingOptions
from pyrocount.models.networks import LayerOptions
from pyrocount.models.options import (
    ActivationOptions,
    BiasOptions,
    CountOptions,
    DecoderOptions,
    DriveOptions,
    IterativeOptions,
    LatentOptions,
    LearnedScaleOptions,
    LikelihoodOptions,
    NeighbourOptions,
    RelaxationOptions,
    StepKLOptions,
    make_relaxation,
)
from pyrocount.numpyro import relaxations

from .annealing import annealed
from .base import History
from .iterative_model import FIRST_RATE, FIRST_SPREAD, Iterative, make_iterative, with_parameters

# Clamp of the steps in training: a weight that is still wrong must not throw the potentials far.
TRAINED_STEP = 1.0


def build(config: Config, shape: Sequence[int]) -> Iterative:
    """Builds the iterative model of a configuration, with fresh parameters."""
    decoder, noise, inference = config[DecoderOptions], config[LikelihoodOptions], config[IterativeOptions]
    start = config[CountOptions]
    return make_iterative(
        config.model,
        shape,
        latent_dim=config[LatentOptions].latent_dim,
        decoder=decoder.decoder,
        output=decoder.output,
        layers=LayerOptions(config[BiasOptions].bias, blocks=decoder.blocks),
        likelihood=noise.likelihood,
        scale=noise.scale,
        activation=config[ActivationOptions].activation,
        initial_rate=start.initial_rate or FIRST_RATE,
        initial_spread=FIRST_SPREAD if start.initial_spread is None else start.initial_spread,
        step_size=inference.step_size,
        drive=config[DriveOptions].drive,
        leak=inference.leak,
    )


def train(
    iterative: Iterative,
    config: Config,
    data: Dataset,
    *,
    monitor: Callable[[Mapping[str, Array]], Mapping[str, float]],
    save: Callable[[dict[str, Any]], None],
    checkpoint: dict[str, Any] | None,
    progress: bool,
) -> tuple[dict[str, Array], History]:
    """Trains an iterative model; returns its trained parameters and the history. See ``Backend.train``."""
    options, inference = config[TrainingOptions], config[IterativeOptions]
    flip, step_kl = config[DataOptions].flip, config[StepKLOptions].step_kl

    def loss(parameters: Mapping[str, Array], key: Array, now: Mapping[str, Array], x: Array, *windows: Array) -> Array:
        key_flip, key = jax.random.split(key)
        if flip:
            mirrored = jax.random.bernoulli(key_flip, shape=(len(x), 1, 1, 1))
            x = jnp.where(mirrored, x[..., ::-1], x)
        current = replace(with_parameters(iterative, parameters), max_step=TRAINED_STEP)
        problem = current.problem(x, *windows, relaxation=_relaxation(config, now["temperature"]))
        if config[LatentOptions].estimator == "unbiased":
            problem = replace(problem, neighbours=config[NeighbourOptions].neighbours)
        return unrolled.unrolled_loss(
            key, problem, x, *windows, steps=inference.train_steps, beta=now["kl_weight"], step_kl=step_kl
        )

    observed = [part for part in (data.train_view, data.train_exposure) if part is not None]
    if checkpoint is not None:
        checkpoint = checkpoint | {"leaves": [leaf.numpy() for leaf in checkpoint["leaves"]]}
    trained, history = jax_training.train(
        loss,
        trainable(config, iterative),
        options.optimizer,
        observed,
        epochs=options.epochs,
        batch_size=options.batch_size,
        peak=options.lr,
        max_gradient_norm=options.max_gradient_norm,
        weight_decay=options.weight_decay or 0.0,
        seed=config.seed,
        anneal=partial(annealed, config),
        monitor=monitor,
        save=lambda state: save(state | {"leaves": [_tensor(leaf) for leaf in state["leaves"]]}),
        learning_rate=partial(cosine, warmup=options.warmup),
        checkpoint=checkpoint,
        progress=progress,
    )
    return trained, history


def _relaxation(config: Config, temperature: Any) -> relaxations.Relaxation:
    """Returns the relaxation that samples counts in training; models without counts do not use it."""
    estimator = config[LatentOptions].estimator if config.spec.has_counts else "stein"
    relaxation: relaxations.Relaxation = make_relaxation(
        estimator, replace(config[RelaxationOptions], temperature=temperature), relaxations
    )
    return relaxation


def trainable(config: Config, iterative: Iterative) -> dict[str, Array]:
    """Returns the parameters that are learned; the scale of the noise is one of them if the options say so."""
    fixed = set() if config[LearnedScaleOptions].learn_scale else {"likelihood.log_scale"}
    return {name: value for name, value in iterative.parameters.items() if name not in fixed}


def _tensor(value: Any) -> Tensor:
    return torch.from_numpy(np.array(value))
