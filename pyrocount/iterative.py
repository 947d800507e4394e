"""An iterative model with its parameters: how it infers, and what it shares with the Pyro models."""

import math
from collections.abc import Mapping, Sequence
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
)
from pyrocount.inference.objectives import LinearGaussian
from pyrocount.inference.sharding import over_devices
from pyrocount.models import (
    LIKELIHOODS,
    VAE,
    GaussianLatent,
    Latent,
    NegativeBinomialLatent,
    PoissonLatent,
    make_decoder,
    make_encoder,
)
from pyrocount.models.iterative import IterativeModel, part_of
from pyrocount.models.jax_networks import jax_decoder, torch_decoder
from pyrocount.models.networks import Style
from pyrocount.numpyro.relaxations import Relaxation

# Standard deviation of the first weights of a linear decoder: larger ones make the first steps explode.
FIRST_WEIGHT = 0.01
# What a log rate loses in a step where nothing drives it, and the first log standard deviation of Gaussian latents.
FIRST_BIAS = math.exp(-3)
FIRST_LOG_SCALE = -1.0
# Of negative-binomial latents. Where it is 1, the noise of many counts moves the rates further than the data do: on
# patches with 512 latents the rates run away, while from 10 or 30 on they settle, at an R^2 of .71 and .75.
FIRST_TOTAL_COUNT = 10.0

CONVERTED = "Poisson, negative-binomial or Gaussian latents"


@dataclass(frozen=True)
class Iterative:
    """A model whose latents are inferred by natural-gradient descent, with its parameters.

    Attributes:
        model: the NumPyro program.
        parameters: of it, and of its inference.
        drive: ``"sampled"`` or ``"exact"``.
        leak: weight of the divergence from the prior; None for online inference.
        largest_step: at which the steps of the potentials are clamped; None for that of the latents' family.
    """

    model: IterativeModel
    parameters: Mapping[str, Array]
    drive: Drive = "sampled"
    leak: float | None = None
    largest_step: float | None = None

    def problem(self, x: Array, exposure: Array | None = None, *, relaxation: Relaxation = EXACT) -> Problem:
        """The inference of the latents of data (N, \\*shape).

        Args:
            x: data.
            exposure: length of each observation's window, shape (N,), for likelihoods of counts.
            relaxation: how counts are sampled.

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
                self.largest_step,
            ),
            relaxation=relaxation,
            drive=self.drive,
        )

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
            steps: number of them.
            seed: of the samples.
            potentials: to start from, as those that an encoder gives, in place of the prior's.
            start: state to go on from, as after other data.
            record: see ``pyrocount.inference.natural_gradient.infer``.
            chunk: steps a loop, likewise.

        Raises:
            InputError: naming ``x``, if the data do not have the shape, or ``steps``.
        """
        data = tuple(over_devices(as_array(part)) for part in (x, exposure) if part is not None)
        problem = self.problem(*data)
        if potentials is not None:
            start = problem.start(jax.random.fold_in(jax.random.key(seed), 1), potentials)
        return infer(jax.random.key(seed), problem, *data, steps=steps, start=start, record=record, chunk=chunk)

    def follow(self, frames: Any, *, steps: int, seed: int = 0, record: Record = everything) -> Inference:
        """Infers the latents of inputs that move or switch, the state being carried over from each to the next.

        Args:
            frames: shape (S, N, \\*shape), in the units of training.
            steps: for each frame.
            seed: of the samples.
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
    style: Style | None = None,
    likelihood: str = "gaussian",
    scale: float = math.sqrt(0.5),
    activation: str = "identity",
    initial_rate: float = 0.22,
    step_size: float = 0.5,
    drive: Drive = "sampled",
    leak: float | None = None,
) -> Iterative:
    """Builds an iterative model by the names of its parts, with fresh parameters from torch's random numbers.

    Args:
        kind: of the latents, see ``IterativeModel``.
        shape: of one observation, (D,) or (channels, height, width).
        latent_dim: number of latents K.
        decoder: ``"lin"``, ``"mlp"`` or ``"conv"``.
        output: last step of the decoder, see ``make_decoder``.
        style: of its layers.
        likelihood: ``"gaussian"``, ``"bernoulli"``, ``"poisson"`` or ``"negbio"``.
        scale: standard deviation of Gaussian noise, in units of the data.
        activation: on Gaussian latents.
        initial_rate: about which the prior's mean counts start, spread over +-1 in their logarithm.
        step_size: of the inference, at first.
        drive: ``"sampled"`` or ``"exact"``.
        leak: weight of the divergence from the prior; None for online inference.

    Raises:
        InputError: naming the argument that is out of range.
    """
    for name, value in (("latent_dim", latent_dim), ("step_size", step_size), ("initial_rate", initial_rate)):
        if not 0 < value < math.inf:
            raise InputError(name, value, "a positive number")
    module = make_decoder(decoder, latent_dim, shape, style or Style(), output)
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
        for name, value in LIKELIHOODS[likelihood](shape, scale, False).state_dict().items()
    }
    log_rate = math.log(initial_rate) + as_array(2 * torch.rand(latent_dim) - 1)
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


def from_pyro(vae: VAE, *, step_size: float = 0.1, drive: Drive = "exact", leak: float | None = None) -> Iterative:
    """The decoder, prior and likelihood of a Pyro VAE, with iterative inference in the place of its encoder.

    Args:
        vae: of Poisson, negative-binomial or Gaussian latents.
        step_size: of the inference.
        drive: ``"sampled"`` or ``"exact"``.
        leak: weight of the divergence from the prior; None for online inference.

    Raises:
        InputError: naming ``vae`` or ``decoder``, if its latents or a layer of its decoder have no twin in JAX.
    """
    latent = vae.latent
    prior: dict[str, Tensor]
    match latent:
        case PoissonLatent():
            kind, prior = "iterative-poisson", {"log_rate": latent.log_rate}
        case NegativeBinomialLatent():
            law = latent.prior()
            log_total_count = law.total_count.log()
            kind, prior = (
                "iterative-negbio",
                {"log_rate": law.logits + log_total_count, "log_total_count": log_total_count},
            )
        case GaussianLatent():
            kind, prior = "iterative-gaussian", {"loc": latent.location, "log_scale": torch.zeros_like(latent.location)}
        case _:
            raise InputError(
                "vae", f"one with a {type(latent).__name__}", "Poisson, negative-binomial or Gaussian latents"
            )
    likelihood = next(
        name for name, make in LIKELIHOODS.items() if isinstance(vae.likelihood, type(make(vae.shape, 1.0, False)))
    )
    function, weights = jax_decoder(vae.decoder)
    model = IterativeModel(
        kind, latent.latent_dim, vae.shape, function, likelihood, getattr(latent, "activation", "identity")
    )
    parameters = {f"decoder.{name}": value for name, value in weights.items()}
    parameters |= {f"prior.{name}": as_array(value) for name, value in prior.items()}
    parameters |= {f"likelihood.{name}": as_array(value) for name, value in vae.likelihood.state_dict().items()}
    parameters["step.log_size"] = jnp.log(jnp.asarray(step_size))
    return Iterative(model, parameters, drive, leak)


def encoded_potentials(vae: VAE, x: Tensor, exposure: Tensor | None = None) -> Potentials:
    """The potentials of a VAE's posteriors of data (N, \\*shape): where hybrid inference starts.

    Raises:
        InputError: naming ``vae``, if its posteriors have no potentials in JAX.
    """
    with torch.no_grad():
        posterior = vae.posterior(x, exposure)
    match vae.latent:
        case PoissonLatent():
            return as_array(posterior.log_rate)
        case NegativeBinomialLatent():
            return as_array(posterior.logits + posterior.total_count.log())
        case GaussianLatent():
            return as_array(posterior.loc), as_array(posterior.scale.log())
    raise InputError("vae", f"one with a {type(vae.latent).__name__}", CONVERTED)


def to_pyro(iterative: Iterative, *, encoder: str = "mlp") -> VAE:
    """A Pyro VAE with the decoder, prior and likelihood of an iterative model, and a fresh encoder.

    Its decoder is ready for sparse coding (``pyrocount.amortization``), and for an encoder to be trained for it.

    Args:
        iterative: of Poisson, negative-binomial or Gaussian latents.
        encoder: ``"lin"``, ``"mlp"`` or ``"conv"``.

    Raises:
        InputError: naming ``iterative`` or ``encoder``.
    """
    model, parameters = iterative.model, iterative.parameters
    tensors = {name: torch.from_numpy(np.array(value)) for name, value in parameters.items()}
    latent: Latent
    with torch.no_grad():
        match model.kind:
            case "iterative-poisson":
                latent = PoissonLatent(model.latent_dim)
                latent.log_rate.copy_(tensors["prior.log_rate"])
            case "iterative-negbio":
                latent = NegativeBinomialLatent(model.latent_dim)
                latent.log_total_count.copy_(tensors["prior.log_total_count"])
                latent.logits.copy_(tensors["prior.log_rate"] - tensors["prior.log_total_count"])
            case "iterative-gaussian":
                latent = GaussianLatent(model.latent_dim, activation=model.activation)
            case _:
                raise InputError("iterative", f"a model of {model.kind}", "latents that Pyro has a family for")
    likelihood = LIKELIHOODS[model.likelihood](model.shape, 1.0, False)
    likelihood.load_state_dict(part_of(tensors, "likelihood"))
    decoder = torch_decoder(model.decoder, part_of(parameters, "decoder"))
    return VAE(make_encoder(encoder, model.shape, latent.features), latent, decoder, likelihood, model.shape).eval()


def with_parameters(iterative: Iterative, parameters: Mapping[str, Array]) -> Iterative:
    """The model with some of its parameters replaced."""
    return replace(iterative, parameters={**iterative.parameters, **parameters})


def as_array(value: Any) -> Array:
    """A tensor or a NumPy array in JAX, of single precision where it has numbers."""
    return jnp.asarray(value.detach().cpu().numpy() if isinstance(value, Tensor) else value)
