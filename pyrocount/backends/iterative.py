"""Backend in JAX: models whose latents are inferred by natural-gradient steps."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import Tensor

from pyrocount import figures
from pyrocount.config import Config
from pyrocount.data import Dataset, Units
from pyrocount.inference.natural_families import Family, Potentials, family_of
from pyrocount.inference.natural_gradient import Snapshot, State
from pyrocount.models import LIKELIHOODS, MODELS
from pyrocount.models.iterative import IterativeModel, Parameters
from pyrocount.process import group
from pyrocount.process.progress import progress_bar

from .base import Backend, History, derived_seed
from .devices import jax_device
from .draws import Course, Draws, Steps
from .evaluation import Array, Evaluation, counted
from .iterative_evaluation import diverged, evaluate_iterative, fit_after
from .iterative_model import Iterative, as_array, with_parameters
from .iterative_training import train, trainable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Rows of a batch, which is filled up to it, so that all compile once.
ROWS = 200
# Numbers of inputs, and of latents in the figure of the spikes.
FOLLOWED, DRAWN_LATENTS = 8, 60


class IterativeBackend(Backend):
    """Backend of an iterative model.

    Args:
        iterative: the model, with its parameters.
        steps: number of steps of the inference.
        quick_steps: number of steps where an evaluation is to be quick, as in following training.
    """

    remedies: ClassVar[Mapping[str, str]] = {
        "constant": "take a smaller --lr, or fewer latents (--latent-dim)",
        "ignored": "train longer (--epochs), with more --train-steps or a smaller --beta",
        # Without a leak nothing in the inference holds the posterior near the prior.
        "marginal": "infer with a --leak of 1, whose last posterior is a bound's, or train longer (--epochs)",
    }
    # Each observation takes many steps.
    tested: ClassVar[int | None] = 1000
    monitored: ClassVar[int] = 200
    measures_together: ClassVar[bool] = True
    objective: ClassVar[str] = "training, mean free energy of the steps"

    model: Iterative
    steps: int

    def __init__(self, iterative: Iterative, steps: int = 1000, quick_steps: int = 16) -> None:
        self.model, self.steps, self.quick_steps = iterative, steps, quick_steps
        self._device: jax.Device | None = None
        self._together = False
        model = iterative.model
        self.shape, self.latent_dim, self.has_counts = model.shape, model.latent_dim, model.has_counts
        self.has_density = MODELS[model.kind].has_density
        self.likelihood = LIKELIHOODS[model.likelihood].build(model.shape, 1.0, False)
        self.is_symmetric = not self.has_counts and model.activation == "identity"

    def to(self, device: str) -> Self:
        """Makes JAX compute on a device, in ``on_device``."""
        self._device = jax_device(device)
        return self

    def on_device(self) -> AbstractContextManager[Any]:
        """Returns a context in which JAX computes on the device."""
        context: AbstractContextManager[Any] = jax.default_device(self._device)
        return context

    def adapt(self, data: Dataset) -> None:
        """Makes a fresh model ready for training data, see ``Iterative.adapt``."""
        self.model = self.model.adapt(*data.train_tensors(), prepare=data.to_units)

    def train(
        self,
        config: Config,
        data: Dataset,
        *,
        monitor: Callable[[], Mapping[str, float]],
        save: Callable[[dict[str, Any]], None],
        checkpoint: dict[str, Any] | None = None,
        progress: bool = True,
    ) -> History:
        """Trains through the steps of inference."""

        def follow(parameters: Parameters) -> Mapping[str, float]:
            self.model = with_parameters(self.model, parameters)
            return monitor()

        with self.on_device():
            parameters, history = train(
                self.model, config, data, monitor=follow, save=save, checkpoint=checkpoint, progress=progress
            )
        self.model = with_parameters(self.model, parameters)
        return history

    def weights(self) -> dict[str, Tensor]:
        """Returns the parameters by name."""
        return {name: torch.from_numpy(np.array(value)) for name, value in self.model.parameters.items()}

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Sets the parameters."""
        self.model = with_parameters(self.model, {name: as_array(value) for name, value in weights.items()})

    def evaluate(
        self,
        x: Array | Units,
        exposure: Array | None = None,
        *,
        beta: float = 1.0,
        seed: int = 0,
        quick: bool = False,
        keep: int | None = None,
    ) -> Evaluation:
        """Returns metrics of the state after the last step, with curves over the steps; keeps all observations."""
        steps = self.quick_steps if quick else self.steps
        with self.on_device():
            return evaluate_iterative(
                self.model, x, exposure, beta=beta, steps=steps, seed=seed, together=self._together
            )

    def evaluate_held_out(self, config: Config, data: Dataset, quick: bool = False) -> Evaluation:
        """Returns metrics of held-out data, as every backend does; processes that are joined divide the data."""
        self._together = group.size() > 1
        try:
            return super().evaluate_held_out(config, data, quick)
        finally:
            self._together = False

    def _infer(self, x: Array, exposure: Array | None, seed: int) -> jax.Array:
        """Returns the potentials of the posteriors after the last step."""
        parts = []
        for first in range(0, len(x), ROWS):
            rows = np.arange(first, first + min(ROWS, len(x))) % len(x)
            data = (part[rows] for part in (x, exposure) if part is not None)
            state = self.model.infer(*data, steps=self.steps, seed=seed + first, record=_nothing).state
            kept = min(ROWS, len(x) - first)
            parts.append(jax.tree.map(lambda part, kept=kept: part[:kept], state.potentials))
        return jax.tree.map(lambda *all_parts: jnp.concatenate(all_parts), *parts)

    def inference_steps(
        self,
        x: Array,
        exposure: Array | None = None,
        *,
        times: Sequence[int],
        seed: int = 0,
        progress: bool = False,
    ) -> Steps:
        """Returns the fit and the codes of observations after some numbers of steps of one inference."""
        parts: dict[str, list[Array]] = {"r2": [], "squares": [], "codes": [], "means": []}
        with self.on_device():
            prior = self._prior()
            for first in progress_bar(range(0, len(x), ROWS), shown=progress, unit="batch", leave=False):
                rows = np.arange(first, first + min(ROWS, len(x))) % len(x)
                kept = min(ROWS, len(x) - first)
                data = [as_array(part[rows]) for part in (x, exposure) if part is not None]
                family, after = self.model.problem(*data).family, []
                for state in self.model.states(*data, times=times, seed=derived_seed(seed, first)):
                    code = _first(state.potentials) - prior
                    mean = self.model.model.activity(family.rate(state.potentials))
                    after.append((*fit_after(self.model, state, x[rows], *data), np.asarray(code), np.asarray(mean)))
                for place, name in enumerate(parts):
                    parts[name].append(np.stack([each[place][:kept] for each in after]))
        whole = {name: np.concatenate(arrays, 1) for name, arrays in parts.items()}
        runaway = np.stack([diverged(x, squares) for squares in whole["squares"]])
        return Steps(np.array(times), whole["r2"], runaway, whole["codes"], whole["means"])

    def parameter_counts(self, config: Config) -> dict[str, int]:
        """Returns the numbers of trained parameters of the decoder and the whole model; there is no encoder."""
        return counted({name: int(value.size) for name, value in trainable(config, self.model).items()})

    def _sampler(self, x: Array, exposure: Array | None, seed: int, replicate: bool) -> Callable[[range], Draws]:
        potentials = self._infer(x, exposure, seed)
        data = [as_array(part) for part in (x, exposure) if part is not None]
        base = jax.random.fold_in(jax.random.key(seed), 1)
        own, family = self.model, self.model.problem(*data).family

        def sample(numbers: range) -> Draws:
            keys = [jax.random.fold_in(base, number) for number in numbers]
            drawn = [
                _one_sample(key, family, potentials, own.parameters, own.model, self.has_density, replicate, *data)
                for key in keys
            ]
            return Draws(*(np.stack(part) for part in zip(*drawn, strict=True)))

        return sample

    def _code(self, x: Array, exposure: Array | None, seed: int) -> Array:
        """Returns the distance of the potentials from the prior's; of counts, log of posterior over prior mean."""
        return np.asarray(_first(self._infer(x, exposure, seed)) - self._prior())

    def _prior(self) -> jax.Array:
        """Returns the potentials of the prior, shape (K,); of a Gaussian, its means."""
        _, potentials = family_of(self.model.model.prior(self.model.parameters))
        return _first(potentials)

    def prior_latents(self, number: int, *, seed: int = 0) -> Array:
        """Draws latents of the prior, shape (number, K)."""
        own = self.model
        return np.asarray(own.model.prior(own.parameters).sample(jax.random.key(seed), (number,)))

    def _generate(self, z: Array, exposure: Array | None, seed: int) -> tuple[Array, Array]:
        own, windows = self.model, None if exposure is None else as_array(exposure)
        observed = own.model.observation_distribution(own.parameters, as_array(z), windows)
        return np.asarray(observed.mean), np.asarray(observed.sample(jax.random.key(seed)))

    def decoded(self, z: Array, x: Array, exposure: Array | None = None) -> tuple[Array, Array]:
        """Returns means of the data given latents, and the negative log likelihood of the data."""
        own, data = self.model, [as_array(part) for part in (x, exposure) if part is not None]
        observed = own.model.observation_distribution(own.parameters, as_array(z), *data[1:])
        pointwise = _pointwise(observed, data[0])
        return np.asarray(observed.mean), -np.asarray(pointwise.reshape(len(x), -1).sum(1))

    def course(self, frames: Array, *, steps: int, seed: int = 0) -> Course:
        """Infers the latents of frames, the state being carried over from each to the next."""
        code, rate, z = self.model.follow(frames, steps=steps, seed=seed, record=_course).trajectory
        return Course(code - np.asarray(self._prior()), rate, z)

    def mean_of_code(self, code: Array) -> Array:
        """Returns means of the data at the mean latents of posteriors with these codes."""
        own, potential = self.model, jnp.asarray(code) + self._prior()
        mean = jnp.exp(potential) if self.has_counts else potential
        return np.asarray(own.model.observation_distribution(own.parameters, mean).mean)

    def dictionary(self) -> Array:
        """Returns the decoder's response to one unit of each latent, over that to none."""
        return np.asarray(self.model.model.dictionary(self.model.parameters))

    def _draw_inference(self, config: Config, data: Dataset, evaluation: Evaluation) -> dict[str, "Figure"]:
        with self.on_device():
            few = [part for part in data.held_out(FOLLOWED) if part is not None]
            path = self.model.infer(*few, steps=self.steps, seed=config.seed).trajectory
        assert evaluation.curves is not None
        times = np.unique(np.geomspace(1, self.steps, 10).round().astype(int)) - 1
        drawn = {
            "curves": figures.inference_curves(vars(evaluation.curves)),
            "trajectories": figures.trajectories(few[0], path.reconstruction[times], times + 1),
        }
        if self.has_counts:
            first = min(self.steps, 200)
            busiest = np.argsort(-path.rate[:first, 0].mean(0))[:DRAWN_LATENTS]
            drawn["spikes"] = figures.spike_raster(path.z[:first, 0, busiest], path.rate[:first, 0, busiest])
        return drawn


@partial(jax.jit, static_argnames=("model", "has_density", "replicate"))
def _one_sample(
    key: jax.Array,
    family: Family,
    potentials: Potentials,
    parameters: Parameters,
    model: IterativeModel,
    has_density: bool,
    replicate: bool,
    x: jax.Array,
    exposure: jax.Array | None = None,
) -> tuple[jax.Array, ...]:
    """Draws a sample of each observation, with its log likelihood, prior and posterior, and data given it."""
    key_z, key_x = jax.random.split(key)
    posterior = family.distribution(potentials).to_event(1)
    z = posterior.sample(key_z)
    observed = model.observation_distribution(parameters, z, exposure)
    pointwise = _pointwise(observed, x)
    log_likelihood = pointwise.reshape(len(x), -1).sum(1)
    log_posterior = posterior.log_prob(z) if has_density else jnp.zeros_like(log_likelihood)
    drawn = z, log_likelihood, model.prior(parameters).to_event(1).log_prob(z), log_posterior
    return (*drawn, observed.sample(key_x).astype(x.dtype), pointwise) if replicate else drawn


def _pointwise(observed: Any, x: jax.Array) -> jax.Array:
    """Returns the log likelihood of each datum; 0 where it is missing."""
    known = ~jnp.isnan(x)
    return jnp.where(known, observed.log_prob(jnp.where(known, x, 0.0)), 0.0)


def _course(state: State, snapshot: Snapshot, *data: jax.Array) -> tuple[jax.Array, ...]:
    return _first(snapshot.potentials), snapshot.rate, snapshot.z


def _nothing(state: State, snapshot: Snapshot, *data: jax.Array) -> tuple[()]:
    return ()


def _first(potentials: object) -> jax.Array:
    first: jax.Array = jax.tree.leaves(potentials)[0]
    return first
