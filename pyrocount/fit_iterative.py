"""The fitting of models by back-propagation through their iterative inference, in JAX."""

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

from pyrocount import figures
from pyrocount.config import Config
from pyrocount.data import Dataset
from pyrocount.devices import jax_device
from pyrocount.evaluate_iterative import Curves, evaluate_iterative
from pyrocount.evaluation import Evaluation
from pyrocount.fitting import Fitting, History, annealed, draw_model
from pyrocount.inference import cosine
from pyrocount.inference.jax_training import train
from pyrocount.inference.unrolled import unrolled_loss
from pyrocount.iterative import Iterative, as_array, make_iterative, with_parameters
from pyrocount.models import LIKELIHOODS
from pyrocount.models.networks import Style
from pyrocount.numpyro.relaxations import ArrivalTimes, GumbelSoftmax, Relaxation, SteinChen, StraightThrough
from pyrocount.run import RunFolder

# Held-out observations that the final figures are of: each takes many steps.
TESTED = 1000
# Those that the history follows, with as many steps as in training.
FOLLOWED = 200
# Clamp of the steps in training: a weight that is still wrong must not throw the potentials far.
TRAINED_STEP = 1.0
# Latents in the picture of the spikes.
DRAWN = 60


class IterativeFitting(Fitting):
    """An iterative model of a resolved configuration.

    Attributes:
        iterative: the model, with its parameters as they are now.
    """

    def __init__(self, config: Config, data: Dataset) -> None:
        self.config, self.data = config, data
        self.iterative = build(config, data.shape)
        self.likelihood = LIKELIHOODS[config.likelihood](data.shape, 1.0, False)
        self._device = jax_device(config.device)
        held_out = (data.test_units(), data.test_exposure)
        self._test = [part[:TESTED] for part in held_out if part is not None]
        self._curves: Curves | None = None

    def evaluate(self, quick: bool = False) -> Evaluation:
        """Figures of held-out data, of exact counts."""
        config = self.config
        number, steps = (FOLLOWED, config.train_steps) if quick else (TESTED, config.test_steps)
        with jax.default_device(self._device):
            evaluation, self._curves = evaluate_iterative(
                self.iterative,
                *(part[:number] for part in self._test),
                beta=config.beta,
                steps=steps,
                seed=config.seed,
            )
        return evaluation

    def train(
        self,
        monitor: Callable[[], Mapping[str, float]],
        save: Callable[[dict[str, Any]], None],
        checkpoint: dict[str, Any] | None,
        progress: bool = True,
    ) -> History:
        """Trains through the steps of inference."""
        config, data = self.config, self.data
        start, fixed = trainable(config, self.iterative)

        def loss(
            parameters: Mapping[str, Array], key: Array, now: Mapping[str, Array], x: Array, *windows: Array
        ) -> Array:
            key_flip, key = jax.random.split(key)
            if config.flip:
                mirrored = jax.random.bernoulli(key_flip, shape=(len(x), 1, 1, 1))
                x = jnp.where(mirrored, x[..., ::-1], x)
            iterative = replace(with_parameters(self.iterative, parameters), largest_step=TRAINED_STEP)
            problem = iterative.problem(x, *windows, relaxation=relaxation(config, now["temperature"]))
            return unrolled_loss(
                key, problem, x, *windows, steps=config.train_steps, beta=now["kl_weight"], step_kl=config.step_kl
            )

        def follow(parameters: Mapping[str, Array]) -> Mapping[str, float]:
            self.iterative = with_parameters(self.iterative, parameters)
            return monitor()

        units = data.to_units(torch.from_numpy(data.train)).numpy()
        observed = [part for part in (units, data.train_exposure) if part is not None]
        if checkpoint is not None:
            checkpoint = checkpoint | {"leaves": [leaf.numpy() for leaf in checkpoint["leaves"]]}
        with jax.default_device(self._device):
            parameters, history = train(
                loss,
                start,
                config.optimizer,
                observed,
                epochs=config.epochs,
                batch_size=config.batch_size,
                peak=config.lr,
                max_gradient_norm=config.max_gradient_norm,
                seed=config.seed,
                anneal=partial(annealed, config),
                monitor=follow,
                save=lambda state: save(state | {"leaves": [_tensor(leaf) for leaf in state["leaves"]]}),
                learning_rate=partial(cosine, warmup=config.warmup),
                checkpoint=checkpoint,
                progress=progress,
            )
        self.iterative = with_parameters(self.iterative, {**parameters, **fixed})
        return history

    def weights(self) -> dict[str, Tensor]:
        """The parameters by their names."""
        return {name: _tensor(value) for name, value in self.iterative.parameters.items()}

    @staticmethod
    def load(config: Config, shape: Sequence[int], weights: Mapping[str, Tensor]) -> Iterative:
        """The model of a resolved configuration with saved weights."""
        return with_parameters(build(config, shape), {name: as_array(value) for name, value in weights.items()})

    def draw(self, run: RunFolder, final: Evaluation, history: History) -> None:
        """The pictures of every model, and those of the inference: curves, spikes, reconstructions over the steps."""
        iterative, config = self.iterative, self.config
        atoms = np.asarray(iterative.model.dictionary(iterative.parameters))
        samples, has_counts = prior_samples(iterative, 60, config.seed), iterative.model.has_counts
        objective = "training, mean free energy of the steps"
        draw_model(run, self._test[0], samples, atoms, final, history, has_counts, config, objective)
        assert self._curves is not None
        run.save_figure("curves", figures.inference_curves(vars(self._curves)))

        few = [part[:8] for part in self._test]
        path = iterative.infer(*few, steps=config.test_steps, seed=config.seed).trajectory
        times = np.unique(np.geomspace(1, config.test_steps, 10).round().astype(int)) - 1
        run.save_figure("trajectories", figures.trajectories(few[0], path.reconstruction[times], times + 1))
        first = min(config.test_steps, 200)
        busiest = np.argsort(-path.rate[:first, 0].mean(0))[:DRAWN]
        if has_counts:
            run.save_figure("spikes", figures.spike_raster(path.z[:first, 0, busiest], path.rate[:first, 0, busiest]))


def build(config: Config, shape: Sequence[int]) -> Iterative:
    """The iterative model of a resolved configuration, with fresh parameters."""
    # As in the VAEs: no bias where everything is linear.
    bias = not (config.decoder == "lin" and config.likelihood == "gaussian")
    return make_iterative(
        config.model,
        shape,
        latent_dim=config.latent_dim,
        decoder=config.decoder or "lin",
        output=config.output or "identity",
        style=Style(bias, blocks=config.blocks),
        likelihood=config.likelihood,
        scale=config.scale,
        activation=config.activation,
        initial_rate=config.initial_rate,
        step_size=config.step_size,
        drive=config.drive,
        leak=config.leak,
    )


def relaxation(config: Config, temperature: Array | float) -> Relaxation:
    """How counts are sampled in training."""
    match config.estimator:
        case "arrival" | "arrival-hard":
            return ArrivalTimes(temperature, config.indicator, hard=config.estimator == "arrival-hard")
        case "gumbel":
            return GumbelSoftmax(temperature, config.max_count)
        case "straight-through":
            return StraightThrough()
    return SteinChen()


def trainable(config: Config, iterative: Iterative) -> tuple[dict[str, Array], dict[str, Array]]:
    """The parameters that are learned, and those that are not: a fixed scale of the noise."""
    fixed = set() if config.learn_scale else {"likelihood.log_scale"}
    parameters = iterative.parameters
    return (
        {name: value for name, value in parameters.items() if name not in fixed},
        {name: value for name, value in parameters.items() if name in fixed},
    )


def prior_samples(iterative: Iterative, number: int, seed: int = 0) -> Any:
    """Means of the data given latents drawn from the prior, shape (number, \\*shape)."""
    z = iterative.model.prior(iterative.parameters).sample(jax.random.key(seed), (number,))
    return np.asarray(iterative.model.law(iterative.parameters, z).mean)


def _tensor(value: Any) -> Tensor:
    return torch.from_numpy(np.array(value))
