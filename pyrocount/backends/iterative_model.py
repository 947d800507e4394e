"""Iterative model with its parameters: program, parameters and dynamics of the inference."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax import Array
from jax.tree_util import Partial
from torch import Tensor

from pyrocount.errors import InputError
from pyrocount.inference.natural_families import EXACT, Drive, PointFamily, Potentials
from pyrocount.inference.natural_gradient import (
    Dynamics,
    Inference,
    Problem,
    Record,
    State,
    everything,
    infer,
    infer_sequence,
    make_problem,
    states_after,
)
from pyrocount.inference.objectives import LinearGaussian
from pyrocount.inference.sharding import shard_over_devices
from pyrocount.models import LIKELIHOODS, make_decoder
from pyrocount.models.adaptation import batches, totals
from pyrocount.models.iterative import IterativeModel, parameters_of
from pyrocount.models.jax_networks import jax_decoder, started_at
from pyrocount.models.networks import LayerOptions
from pyrocount.models.options import IterativeOptions, LikelihoodOptions
from pyrocount.numpyro.relaxations import Relaxation

# Standard deviation of the first weights of a linear decoder: larger ones make the first steps explode.
FIRST_WEIGHT = 0.01
# Loss of a log rate in a step where nothing drives it, and the first log standard deviation of Gaussian latents.
FIRST_BIAS = math.exp(-3)
FIRST_LOG_SCALE = -1.0
# First mean count of a latent under the prior, and the spread of its logarithm to each side.
FIRST_RATE, FIRST_SPREAD = 0.22, 1.0
# First total_count of negative-binomial latents. Where it is 1, the noise of many counts moves the rates further than
# the data do: on patches with 512 latents the rates run away, while from 10 or 30 on they settle, at an R^2 of .71 and
# .75.
FIRST_TOTAL_COUNT = 10.0


@dataclass(frozen=True)
class Iterative:
    """A model whose latents are inferred by natural-gradient descent, with its parameters.

    Attributes:
        model: the NumPyro program.
        parameters: parameters of the program and of its inference.
        drive: ``"sampled"`` or ``"exact"``.
        leak: weight of the divergence from the prior; None for online inference.
        max_step: maximum step of the potentials, at which steps are clamped; None for that of the latents' family.
    """

    model: IterativeModel
    parameters: Mapping[str, Array]
    drive: Drive = "sampled"
    leak: float | None = None
    max_step: float | None = None

    def problem(self, x: Array, exposure: Array | None = None, *, relaxation: Relaxation = EXACT) -> Problem:
        """Returns the inference problem of the latents of data.

        Args:
            x: data, shape (N, \\*shape).
            exposure: length of each observation's window, shape (N,), for likelihoods of counts.
            relaxation: relaxation that samples counts.

        Raises:
            InputError: naming ``x``, if the data do not have the shape.
        """
        if tuple(x.shape[1:]) != self.model.shape:
            expected = ", ".join(map(str, ("N", *self.model.shape)))
            raise InputError("x", f"shape {tuple(x.shape)}", f"({expected})")
        return make_problem(
            Partial(self.model.program, dict(self.parameters)),
            *(part for part in (x, exposure) if part is not None),
            objective=LinearGaussian(*self.model.linear_map(self.parameters)) if self.model.is_linear else None,
            family=PointFamily if self.model.kind == "predictive-coding" else None,
            dynamics=Dynamics(
                jnp.exp(self.parameters["step.log_size"]),
                self.leak,
                self.parameters.get("step.bias", 0.0),
                self.max_step,
            ),
            relaxation=relaxation,
            drive=self.drive,
        )

    def adapt(
        self, x: Any, exposure: Tensor | None = None, prepare: Callable[[Tensor], Tensor] = lambda x: x
    ) -> "Iterative":
        """Returns the model with a decoder that starts at the mean of training data, see ``VAE.adapt``.

        Args:
            x: training data, shape (N, \\*shape), a tensor or what is read in parts as one.
            exposure: length of each observation's window, shape (N,), for likelihoods of counts.
            prepare: function that makes a part of the data ready for the model, for example by scaling.
        """
        model = self.model
        likelihood = LIKELIHOODS[model.likelihood].build(model.shape, 1.0, False)
        start = likelihood.prediction_of_mean(*totals(batches(x, exposure, prepare), model.shape)).float()
        # Latents at rest, from which inference starts.
        rest = jnp.broadcast_to(model.prior(self.parameters).mean, (1, model.latent_dim))
        activity = torch.from_numpy(np.array(model.activity(rest)))
        decoder = started_at(model.decoder, parameters_of(self.parameters, "decoder"), start, activity)
        return with_parameters(self, {f"decoder.{name}": value for name, value in decoder.items()})

    def infer(
        self,
        x: Any,
        exposure: Any = None,
        *,
        steps: int = 1000,
        seed: int = 0,
        potentials: Potentials | None = None,
        start: State | None = None,
        record: Record = everything,
        chunk: int | None = 100,
    ) -> Inference:
        """Infers the latents of data, in exact counts.

        Args:
            x: data, shape (N, \\*shape), in the units of training; a NumPy array or a tensor.
            exposure: length of each observation's window, shape (N,), for likelihoods of counts.
            steps: number of steps.
            seed: seed of the samples.
            potentials: potentials to start from, as those that an encoder gives, in place of the prior's.
            start: state to go on from, as after other data.
            record: see ``pyrocount.inference.natural_gradient.infer``.
            chunk: number of steps in a compiled loop, see there.

        Raises:
            InputError: naming ``x``, if the data do not have the shape, or ``steps``.
        """
        data = tuple(shard_over_devices(as_array(part)) for part in (x, exposure) if part is not None)
        problem = self.problem(*data)
        if potentials is not None:
            start = problem.start(jax.random.fold_in(jax.random.key(seed), 1), potentials)
        return infer(jax.random.key(seed), problem, *data, steps=steps, start=start, record=record, chunk=chunk)

    def states(self, x: Any, exposure: Any = None, *, times: Sequence[int], seed: int = 0) -> Iterator[State]:
        """Yields the state after each of some numbers of steps of the inference that ``infer`` makes with the seed.

        Args:
            x: data, shape (N, \\*shape), in the units of training; a NumPy array or a tensor.
            exposure: length of each observation's window, shape (N,), for likelihoods of counts.
            times: numbers of steps, increasing.
            seed: seed of the samples.

        Raises:
            InputError: naming ``x``, if the data do not have the shape, or ``times``.
        """
        data = tuple(shard_over_devices(as_array(part)) for part in (x, exposure) if part is not None)
        return states_after(jax.random.key(seed), self.problem(*data), *data, times=times)

    def follow(self, frames: Any, *, steps: int, seed: int = 0, record: Record = everything) -> Inference:
        """Infers the latents of inputs that move or switch, the state being carried over from each to the next.

        Args:
            frames: shape (S, N, \\*shape), in the units of training.
            steps: number of steps for each frame.
            seed: seed of the samples.
            record: see ``pyrocount.inference.natural_gradient.infer``.

        Raises:
            InputError: naming ``frames`` or ``x``, if the frames do not have the shape, or ``steps``.
        """
        frames = as_array(frames)
        if len(frames) == 0:
            raise InputError("frames", f"an array of shape {frames.shape}", "at least one frame")
        return infer_sequence(jax.random.key(seed), self.problem(frames[0]), frames, steps=steps, record=record)


def make_iterative(
    kind: str,
    shape: Sequence[int],
    *,
    latent_dim: int,
    decoder: str = "lin",
    output: str = "identity",
    layers: LayerOptions | None = None,
    likelihood: str = "gaussian",
    scale: float = LikelihoodOptions.scale,
    activation: str = "identity",
    initial_rate: float = FIRST_RATE,
    initial_spread: float = FIRST_SPREAD,
    step_size: float = IterativeOptions.step_size,
    drive: Drive = "sampled",
    leak: float | None = None,
) -> Iterative:
    """Builds an iterative model by the names of its parts, with fresh parameters from torch's random numbers.

    Args:
        kind: kind of the latents, see ``IterativeModel``.
        shape: shape of one observation, (D,) or (channels, height, width).
        latent_dim: number of latents K.
        decoder: ``"lin"``, ``"mlp"`` or ``"conv"``.
        output: last step of the decoder, see ``make_decoder``.
        layers: options of the layers of the decoder.
        likelihood: ``"gaussian"``, ``"bernoulli"``, ``"poisson"`` or ``"negbio"``.
        scale: standard deviation of Gaussian noise, in units of the data.
        activation: activation on Gaussian latents.
        initial_rate: mean count about which the prior starts.
        initial_spread: largest distance of the log of a first mean count from the log of ``initial_rate``.
        step_size: size of the steps of the inference, at first.
        drive: ``"sampled"`` or ``"exact"``.
        leak: weight of the divergence from the prior; None for online inference.

    Raises:
        InputError: naming the argument that is out of range.
    """
    for name, value in (("latent_dim", latent_dim), ("step_size", step_size), ("initial_rate", initial_rate)):
        if not 0 < value < math.inf:
            raise InputError(name, value, "a positive number")
    module = make_decoder(decoder, latent_dim, shape, layers or LayerOptions(), output)
    function, weights = jax_decoder(module)
    model = IterativeModel(kind, latent_dim, tuple(shape), function, likelihood, activation)
    if function.is_linear:
        weights = {
            name: as_array(FIRST_WEIGHT * torch.randn(value.shape))
            if name.endswith("weight")
            else jnp.zeros_like(value)
            for name, value in weights.items()
        }
    parameters = {f"decoder.{name}": value for name, value in weights.items()}
    parameters |= {
        f"likelihood.{name}": as_array(value)
        for name, value in LIKELIHOODS[likelihood].build(shape, scale, False).state_dict().items()
    }
    log_rate = math.log(initial_rate) + initial_spread * as_array(2 * torch.rand(latent_dim) - 1)
    match kind:
        case "iterative-poisson":
            parameters |= {"prior.log_rate": log_rate}
        case "iterative-negbio":
            parameters |= {
                "prior.log_rate": log_rate,
                "prior.log_total_count": jnp.full(latent_dim, math.log(FIRST_TOTAL_COUNT)),
            }
        case "iterative-gaussian":
            parameters |= {"prior.loc": jnp.zeros(latent_dim), "prior.log_scale": jnp.full(latent_dim, FIRST_LOG_SCALE)}
        case _:
            parameters |= {"prior.loc": jnp.zeros(latent_dim)}
    parameters["step.log_size"] = jnp.log(jnp.asarray(step_size))
    if model.has_counts and drive == "sampled":
        parameters["step.bias"] = jnp.full(latent_dim, FIRST_BIAS)
    # With one dtype each for good, or what is compiled for the first would not do for those that are trained.
    return Iterative(model, {name: jnp.asarray(value, value.dtype) for name, value in parameters.items()}, drive, leak)


def with_parameters(iterative: Iterative, parameters: Mapping[str, Array]) -> Iterative:
    """Returns the model with some of its parameters replaced."""
    return replace(iterative, parameters={**iterative.parameters, **parameters})


def as_array(value: Any) -> Array:
    """Returns a tensor or a NumPy array as an array of JAX, numbers in single precision."""
    return jnp.asarray(value.detach().cpu().numpy() if isinstance(value, Tensor) else value)
