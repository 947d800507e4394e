"""Contract of the backends: a model, fresh or fitted, as training and evaluation use it, in NumPy arrays."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from inspect import isfunction
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyrocount import figures
from pyrocount.config import Config
from pyrocount.data import Dataset, Units, parts
from pyrocount.diagnostics import Collapse, check, constant_latents, information
from pyrocount.errors import InputError
from pyrocount.inference.options import ObjectiveOptions
from pyrocount.models import VAE, Likelihood, likelihood_name
from pyrocount.models.options import LikelihoodOptions
from pyrocount.process.state import own_state

from .draws import Course, Draws, Steps
from .evaluation import Array, Evaluation, in_batches, joined
from .marginal import Marginal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .iterative_model import Iterative

# A model of either backend, as its users see it.
Model: TypeAlias = "VAE | Iterative"
History: TypeAlias = Sequence[Mapping[str, float]]

# Number of samples of an observation that are drawn together.
TOGETHER = 20
# Numbers of held-out observations and of samples of the prior in the figures.
DRAWN, GENERATED = 100, 60
# Number of held-out observations whose samples the evaluation of a run keeps.
KEPT = 1000
# Draws of the prior for the mean of each latent.
PRIOR_DRAWS = 1000


class Backend(ABC):
    """A model and all that training, evaluation and drawing need of it; data are in the units of training.

    Attributes:
        model: the model as its users see it, a ``VAE`` or an ``Iterative``.
        shape: shape of one observation.
        latent_dim: number of latents K.
        likelihood: observation distribution, by which data are checked.
        has_counts: whether the latents are counts.
        has_density: whether the posterior is a distribution, not a point.
        device: ``"cuda"`` where torch computes on a CUDA device, else ``"cpu"``.
        steps: number of steps of iterative inference; None for a model that infers otherwise.
        is_symmetric: whether a latent and its column of the dictionary may both change their sign.
        remedies: what to do about the signs of a collapse.
        tested: number of held-out observations that the final metrics are of; None for all.
        monitored: number of held-out observations that the history follows.
        measures_together: whether processes that train together all take part in ``evaluate_held_out``.
        objective: name of the objective that training minimises, for figures.
    """

    remedies: ClassVar[Mapping[str, str]] = {
        "constant": "take a smaller --lr, or fewer latents (--latent-dim)",
        "ignored": "train longer (--epochs), or with a smaller --beta or a larger --anneal",
        "marginal": "train longer (--epochs), or with fewer parameters (--encoder lin --decoder lin) or a smaller --lr",
    }
    tested: ClassVar[int | None] = None
    monitored: ClassVar[int] = 1000
    measures_together: ClassVar[bool] = False
    objective: ClassVar[str] = "training"

    model: Model
    shape: tuple[int, ...]
    latent_dim: int
    likelihood: Likelihood
    has_counts: bool
    has_density: bool
    device = "cpu"
    steps: int | None = None
    is_symmetric = False
    _marginal: Marginal | None = None

    def __init_subclass__(cls) -> None:
        # Each public method of the contract has the process to itself.
        for name, method in list(vars(cls).items()):
            if isfunction(method) and not name.startswith("_") and hasattr(Backend, name):
                setattr(cls, name, own_state()(method))

    @property
    def observes_counts(self) -> bool:
        """Returns whether the data are counts by the likelihood."""
        return self.likelihood.is_count

    # Training.

    def check_data(self, config: Config, data: Dataset) -> None:
        """Checks that the likelihood accepts all data.

        Raises:
            InputError: naming ``data``.
        """
        for part in chain(parts(data.train), parts(data.test)):
            if not self.likelihood.accepts(data.to_units(torch.from_numpy(part)).nan_to_num(nan=0.0)):
                problem = f"{data.name}, whose values are not all {self.likelihood.support}"
                wanted = f"{self.likelihood.support} for --likelihood {config[LikelihoodOptions].likelihood}"
                raise InputError("data", problem, wanted)

    @abstractmethod
    def adapt(self, data: Dataset) -> None:
        """Makes a fresh model ready for training data: its inputs standardised, its decoder at their mean."""

    @abstractmethod
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
        """Trains the model, from the start or from a checkpoint; see the training loops in ``inference``.

        Args:
            config: options of the run.
            data: observations.
            monitor: called at the start and after each epoch; returns metrics for the history.
            save: called with a checkpoint at the start and after each epoch.
            checkpoint: checkpoint to go on from.
            progress: whether to show a progress bar.

        Returns:
            The history, a row an epoch.

        Raises:
            NonFiniteLossError: if the loss or its gradient is not finite.
        """

    @abstractmethod
    def weights(self) -> dict[str, Tensor]:
        """Returns the parameters and buffers by name."""

    @abstractmethod
    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Sets the parameters and buffers to those that ``weights`` returned, and ends training mode."""

    @abstractmethod
    def to(self, device: str) -> Self:
        """Moves the model to a device, by its name on the command line; returns the backend itself.

        Raises:
            InputError: naming ``device``, if CUDA is asked for where there is none.
        """

    def on_device(self) -> AbstractContextManager[Any]:
        """Returns a context in which the backend computes on its device."""
        return nullcontext()

    def in_double_precision(self) -> "Backend":
        """Returns a copy in double precision, whose codes do not depend on the batch, where the backend has one."""
        return self

    def encoder_model(self) -> VAE:
        """Returns the model with its encoder.

        Raises:
            InputError: naming ``RUN``, if latents are inferred without an encoder.
        """
        raise InputError("RUN", "a model of iterative inference", "a model with an encoder")

    # Evaluation.

    @abstractmethod
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
        """Returns metrics of exact samples.

        Args:
            x: observations, shape (N, \\*shape), an array or what is read in parts as one.
            exposure: length of each observation's window, shape (N,), for likelihoods of counts.
            beta: weight of the KL in ``paper_loss``.
            seed: seed of the samples.
            quick: whether to take fewer samples or steps, as in following training.
            keep: number of the first observations whose samples are kept; None for all.
        """

    def evaluate_held_out(self, config: Config, data: Dataset, quick: bool = False) -> Evaluation:
        """Returns metrics of held-out data; of some of them, more cheaply, if quick.

        Of counts they include ``bits_per_spike``: the gain of the ELBO over the mean rates of the training data.
        """
        x = data.test_view.first(self.monitored if quick else self.tested)
        beta, exposure = config[ObjectiveOptions].beta, data.test_exposure
        windows = None if exposure is None else exposure[: len(x)]
        evaluation = self.evaluate(x, windows, beta=beta, seed=config.seed, quick=quick, keep=KEPT)
        if self.observes_counts:
            gain = self.marginal(data).bits_per_spike(evaluation.per_observation["nelbo"])
            evaluation.metrics["bits_per_spike"] = gain
        return evaluation

    def marginal(self, data: Dataset) -> Marginal:
        """Returns the marginal model of data, with the model's observation distribution."""
        if self._marginal is None or self._marginal.data is not data:
            log_scale = self.weights().get("likelihood.log_scale")
            scale = 1.0 if log_scale is None else float(log_scale.exp())
            self._marginal = Marginal(data, likelihood_name(self.likelihood), scale)
        return self._marginal

    @own_state()
    def draws(
        self,
        x: Array,
        exposure: Array | None = None,
        *,
        samples: int = 100,
        seed: int = 0,
        replicate: bool = False,
        batch_size: int = 500,
        progress: bool = False,
    ) -> Draws:
        """Draws exact samples of the posterior.

        Args:
            x: observations, shape (N, \\*shape).
            exposure: length of each observation's window, shape (N,), for likelihoods of counts.
            samples: number S of samples for each observation.
            seed: seed of the samples.
            replicate: whether to draw data too, and keep the pointwise log-likelihood.
            batch_size: number of observations at a time.
            progress: whether to show a progress bar.
        """
        parts = []
        for number, batch in enumerate(in_batches(x, exposure, batch_size, progress)):
            sampler = self._sampler(*batch, derived_seed(seed, number), replicate)
            drawn = joined([sampler(part).arrays() for part in _chunks(samples)])
            # Observations first, as batches follow each other.
            parts.append({name: part.swapaxes(0, 1) for name, part in drawn.items()})
        whole = Draws(**{name: part.swapaxes(0, 1) for name, part in joined(parts).items()})
        if whole.replicates is not None:
            whole.replicates[:, np.isnan(x)] = np.nan
        return whole

    @own_state()
    def log_weights(
        self,
        x: Array,
        exposure: Array | None = None,
        *,
        samples: int = 1000,
        seed: int = 0,
        batch_size: int = 500,
        progress: bool = False,
    ) -> Array:
        """Returns log importance weights of posterior samples, in nats, shape (S, N).

        The arguments are those of ``draws``; only the weights are kept in memory.
        """
        parts = []
        for number, batch in enumerate(in_batches(x, exposure, batch_size, progress)):
            sampler = self._sampler(*batch, derived_seed(seed, number), False)
            parts.append(np.concatenate([sampler(part).log_weights for part in _chunks(samples)]))
        return np.concatenate(parts, 1)

    @own_state()
    def code(
        self,
        x: Array | Units,
        exposure: Array | None = None,
        *,
        seed: int = 0,
        batch_size: int = 1000,
        progress: bool = False,
    ) -> Array:
        """Returns the representation of observations (N, \\*shape) that probes read, shape (N, K)."""
        batches = enumerate(in_batches(x, exposure, batch_size, progress))
        return np.concatenate([self._code(*batch, derived_seed(seed, number)) for number, batch in batches])

    @own_state()
    def predictions(
        self, x: Array, exposure: Array | None = None, *, samples: int = 20, seed: int = 0, batch_size: int = 500
    ) -> Array:
        """Returns the means of the data under the posterior of observations, shape (N, \\*shape).

        Args:
            x: observations, shape (N, \\*shape); of counts some may be missing (NaN), and are predicted from the rest.
            exposure: length of each observation's window, shape (N,), for likelihoods of counts.
            samples: number of posterior samples over which the means are averaged.
            seed: seed of the samples.
            batch_size: number of observations at a time.
        """
        parts = []
        for number, batch in enumerate(in_batches(x, exposure, batch_size, False)):
            own = derived_seed(seed, number)
            drawn = self._sampler(*batch, own, False)(range(samples)).z
            parts.append(np.mean([self._generate(z, batch[1], own)[0] for z in drawn], 0))
        return np.concatenate(parts)

    @abstractmethod
    def _sampler(self, x: Array, exposure: Array | None, seed: int, replicate: bool) -> Callable[[range], Draws]:
        """Infers the posteriors of a batch; returns a function that draws samples of them, by their numbers."""

    @abstractmethod
    def _code(self, x: Array, exposure: Array | None, seed: int) -> Array: ...

    def relaxed(self, x: Array, exposure: Array | None = None, *, seed: int = 0) -> dict[str, Array] | None:
        """Returns ``nll`` in nats and ``mse`` of relaxed samples as in training, shape (N,) each.

        Where training has exact samples, or the posterior is that of many exact steps, there is none: None.
        """
        return None

    def amortization_gap(
        self, x: Array, exposure: Array | None = None, *, steps: int = 300, seed: int = 0, progress: bool = False
    ) -> tuple[Array, Array] | None:
        """Returns the negative ELBO of each observation by the encoder and with its posterior refined, both (N,).

        None for a model without an encoder. See ``posterior_gap``.
        """
        return None

    def inference_steps(
        self,
        x: Array,
        exposure: Array | None = None,
        *,
        times: Sequence[int],
        seed: int = 0,
        progress: bool = False,
    ) -> Steps | None:
        """Returns the fit and the codes of observations (N, \\*shape) after some numbers of steps of their inference.

        None for a model that does not infer in steps.
        """
        return None

    @abstractmethod
    def parameter_counts(self, config: Config) -> dict[str, int]:
        """Returns the numbers of trained parameters: ``encoder``, ``decoder`` and ``total``, with all others."""

    @own_state()
    def prior_draws(
        self, number: int, exposure: Array | None = None, *, seed: int = 0, batch_size: int = 500
    ) -> tuple[Array, Array, Array]:
        """Draws latents (number, K) of the prior; returns them, the means of the data given them, and drawn data.

        Means and data have the shape (number, \\*shape).

        Args:
            number: number of draws.
            exposure: length of the window of each draw, shape (number,), for likelihoods of counts.
            seed: seed of the draws.
            batch_size: number of draws at a time.
        """
        z = self.prior_latents(number, seed=derived_seed(seed, 0))
        parts = [
            self._generate(*batch, derived_seed(seed, 1, place))
            for place, batch in enumerate(in_batches(z, exposure, batch_size, False))
        ]
        means, data = (np.concatenate(part) for part in zip(*parts, strict=True))
        return z, means, data

    @abstractmethod
    def prior_latents(self, number: int, *, seed: int = 0) -> Array:
        """Draws latents of the prior, shape (number, K)."""

    @abstractmethod
    def _generate(self, z: Array, exposure: Array | None, seed: int) -> tuple[Array, Array]:
        """Returns the means of the data given latents, and drawn data."""

    @abstractmethod
    def decoded(self, z: Array, x: Array, exposure: Array | None = None) -> tuple[Array, Array]:
        """Returns means of the data given latents, shape (N, \\*shape), and the NLL of the data, in nats, shape (N,).

        Args:
            z: latents, shape (N, K).
            x: observations, shape (N, \\*shape).
            exposure: length of each observation's window, shape (N,), for likelihoods of counts.
        """

    def course(self, frames: Array, *, steps: int, seed: int = 0) -> Course:
        """Infers the latents of frames (S, N, \\*shape), the state being carried over; returns all S * steps steps.

        Raises:
            InputError: naming ``RUN``, if inference has no steps.
        """
        raise InputError("RUN", "a model that infers without steps", "a model of iterative inference")

    @abstractmethod
    def mean_of_code(self, code: Array) -> Array:
        """Returns means of the data, shape (N, \\*shape), at the mean latents of posteriors with codes (N, K)."""

    @abstractmethod
    def dictionary(self) -> Array:
        """Returns the decoder's response to one unit of each latent, over that to none, shape (K, \\*shape)."""

    # Drawing.

    @own_state()
    def draw(self, config: Config, data: Dataset, evaluation: Evaluation, history: History) -> dict[str, "Figure"]:
        """Draws the figures of a fit, by name.

        They are data and reconstructions, samples of the prior, the dictionary, training curves, histograms of counts;
        of iterative models also curves over the steps of the inference, spikes, and reconstructions on the way.

        Args:
            config: options of the run.
            data: observations.
            evaluation: metrics of the held-out data.
            history: history of training.
        """
        by_information = np.argsort(-evaluation.latent_kl)
        shown, _ = data.held_out(DRAWN)
        limits = float(np.nanmin(shown)), float(np.nanmax(shown))
        _, samples, _ = self.prior_draws(GENERATED, seed=config.seed)
        relaxed = config.relaxation_options
        objective = f"{self.objective} (annealed{', relaxed' if relaxed else ''})"
        rows = [{name: value for name, value in row.items() if relaxed or name != "temperature"} for row in history]
        drawn = {
            "reconstructions": figures.reconstructions(shown, evaluation.reconstructions[:DRAWN]),
            "samples": figures.samples(samples, limits=limits),
            "dictionary": figures.dictionary(self.dictionary()[by_information]),
            "training": figures.training_curves(rows, objective),
        }
        if self.has_counts:
            drawn["counts"] = figures.count_histograms(evaluation.counts, by_information[:8].tolist())
        return drawn | self._draw_inference(config, data, evaluation)

    def _draw_inference(self, config: Config, data: Dataset, evaluation: Evaluation) -> dict[str, "Figure"]:
        """Draws the figures that only some backends have."""
        return {}

    def collapse(self, data: Dataset, evaluation: Evaluation, rows: NDArray[np.int64] | None = None) -> Collapse:
        """Looks for latents that carry a constant, and compares the bound with the marginal model's.

        Args:
            data: data of the fit.
            evaluation: metrics of held-out observations.
            rows: numbers of these observations; by default they are the first.
        """
        moments = evaluation.posterior_mean, evaluation.posterior_variance
        prior = self.prior_latents(PRIOR_DRAWS).mean(0)
        nelbo, marginal = evaluation.per_observation["nelbo"], self.marginal(data).nll
        return Collapse(
            constant_latents(*moments, evaluation.latent_kl, prior),
            float(information(*moments).sum()),
            nelbo - (marginal[: len(nelbo)] if rows is None else marginal[rows]),
        )

    def remarks(self, config: Config, data: Dataset, evaluation: Evaluation) -> list[str]:
        """Returns remarks on the result that the user should know, with what to do about it, a line each."""
        if not self.has_density:
            return []
        found, signs = [], self.collapse(data, evaluation)
        if len(signs.constant):
            numbers = ", ".join(map(str, signs.constant))
            found.append(f"latents that carry a constant, as a bias would: {numbers}; {self.remedies['constant']}")
        gained = check("information", signs.information)
        if gained.verdict == "bad":
            found.append(f"the posterior ignores the data ({gained.value:.2g} nats); {self.remedies['ignored']}")
        if (loss := float(signs.lost.mean())) > 0:
            rates = "the mean rates" if self.observes_counts else "the mean of the data"
            found.append(f"the fit is worse than {rates} alone, by {loss:.3g} nats; {self.remedies['marginal']}")
        return [f"warning: {remark}" for remark in found]


def derived_seed(seed: int, *purpose: int) -> int:
    """Returns a seed for one of several purposes, so that their random numbers have nothing in common.

    >>> derived_seed(0, 1) == derived_seed(1, 0)
    False
    """
    # To NumPy, zeros at the end are nothing; the length tells.
    return int(np.random.SeedSequence((seed, len(purpose), *purpose)).generate_state(1)[0] >> 1)


def _chunks(samples: int) -> list[range]:
    return [range(first, min(first + TOGETHER, samples)) for first in range(0, samples, TOGETHER)]
