"""The models as a scikit-learn estimator."""

import copy
import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from pyrocount.adapters import Adapter, adapt
from pyrocount.command_line import read_config
from pyrocount.config import Config
from pyrocount.data import from_array
from pyrocount.errors import InputError
from pyrocount.fit import make_fitting, rebuild, training_settings
from pyrocount.models import ITERATIVE, LIKELIHOODS, VAE
from pyrocount.run import RunFolder

Array = NDArray[np.floating[Any]]

# What data in memory are called in the configuration.
IN_MEMORY = "array"


class CountVAE(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Latent spike counts of data as a scikit-learn estimator.

    ``fit`` trains, ``transform`` gives the codes that probes read (for counts the logarithm of the posterior over the
    prior mean), ``inverse_transform`` the means of the data given codes. Data are rows of features, as everywhere in
    scikit-learn, and are scaled by ``scaling``.

    Args:
        model: any that ``python -m pyrocount.fit --model`` takes.
        latent_dim: number of latents K.
        encoder: ``"lin"``, ``"mlp"`` or ``"conv"``; None for the usual one of the model.
        decoder: likewise.
        likelihood: ``"gaussian"``, ``"bernoulli"``, ``"poisson"`` or ``"negbio"``.
        scale: standard deviation of Gaussian noise, in units of the scaled data.
        learn_scale: whether it is learned, from there.
        beta: weight of the KL divergence.
        kl: ``"shared"``, ``"exact"`` or ``"mc"``; None for the usual one of the model.
        estimator: of the gradients; None for the usual one of the model.
        samples: of the posterior in a step of training.
        temperature: of relaxations that have one.
        initial_rate: mean count of a latent under the prior, at the start.
        train_steps: of iterative inference, in training.
        test_steps: of iterative inference, in ``transform`` and ``score``.
        drive: of iterative inference, ``"sampled"`` or ``"exact"``.
        scaling: ``"standard"``, ``"unit"``, ``"symmetric"`` or ``"none"``; None for the usual one of the likelihood.
        epochs: passes over the data.
        batch_size: observations a step.
        optimizer: ``"adam"``, ``"adamax"`` or ``"adamw"``.
        lr: its learning rate.
        activation: on the samples of Gaussian latents.
        output: last step of the decoder, ``"identity"``, ``"sigmoid"`` or ``"tanh"``; None for what fits the scaling.
        weight_norm: whether the weights of all layers are normalised.
        blocks: residual blocks at each size of the image, in convolutional networks.
        inference_steps: of the inference of sparse codes.
        step_size: of iterative inference, at first.
        leak: of iterative inference; None for the usual one of the model.
        step_kl: of iterative inference, ``"prior"`` or ``"posterior"``.
        temperature_schedule: ``"linear"`` or ``"exponential"``.
        anneal: part of training in which temperature and KL weight are annealed.
        indicator: of arrival times, ``"cubic"`` or ``"sigmoid"``.
        max_count: largest count of the Gumbel-softmax.
        flip: whether images are mirrored at random in training.
        warmup: part of training in which the learning rate rises.
        max_gradient_norm: to which the gradient is clipped.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``, to train on.
        image_shape: (channels, height, width) of a row, for convolutions; None for features without an order.
        random_state: of weights, batches and samples; a number makes all results the same from call to call.
        verbose: whether to show progress.

    Attributes:
        model_: the fitted model, a ``VAE`` in evaluation mode or an ``Iterative``, for data in the units of training.
        config_: all options, resolved.
        history_: a row an epoch.
        n_features_in_: number of features.

    Raises:
        InputError: by ``fit``, naming a parameter that is out of range; it is a ``ValueError``.

    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> X, y = load_digits(return_X_y=True)
    >>> probe = make_pipeline(CountVAE("poisson", epochs=3, random_state=0), LogisticRegression(max_iter=2000))
    >>> bool(probe.fit(X[:1500], y[:1500]).score(X[1500:], y[1500:]) > 0.5)
    True
    """

    def __init__(
        self,
        model: str = "negbio",
        *,
        latent_dim: int = 32,
        encoder: str | None = None,
        decoder: str | None = None,
        likelihood: str = "gaussian",
        scale: float = Config.scale,
        learn_scale: bool = False,
        beta: float = 1.0,
        kl: str | None = None,
        estimator: str | None = None,
        samples: int = 1,
        temperature: float = Config.temperature,
        initial_rate: float = Config.initial_rate,
        train_steps: int = Config.train_steps,
        test_steps: int = Config.test_steps,
        drive: str = "sampled",
        scaling: str | None = None,
        epochs: int = Config.epochs,
        batch_size: int = Config.batch_size,
        optimizer: str = Config.optimizer,
        lr: float = Config.lr,
        activation: str = "identity",
        output: str | None = None,
        weight_norm: bool = False,
        blocks: int = 0,
        inference_steps: int = Config.inference_steps,
        step_size: float = Config.step_size,
        leak: float | None = None,
        step_kl: str = "prior",
        temperature_schedule: str = "linear",
        anneal: float = Config.anneal,
        indicator: str = "cubic",
        max_count: int = Config.max_count,
        flip: bool = False,
        warmup: float = Config.warmup,
        max_gradient_norm: float = Config.max_gradient_norm,
        device: str = "auto",
        image_shape: Sequence[int] | None = None,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.model = model
        self.latent_dim = latent_dim
        self.encoder = encoder
        self.decoder = decoder
        self.likelihood = likelihood
        self.scale = scale
        self.learn_scale = learn_scale
        self.beta = beta
        self.kl = kl
        self.estimator = estimator
        self.samples = samples
        self.temperature = temperature
        self.initial_rate = initial_rate
        self.train_steps = train_steps
        self.test_steps = test_steps
        self.drive = drive
        self.scaling = scaling
        self.epochs = epochs
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.lr = lr
        self.activation = activation
        self.output = output
        self.weight_norm = weight_norm
        self.blocks = blocks
        self.inference_steps = inference_steps
        self.step_size = step_size
        self.leak = leak
        self.step_kl = step_kl
        self.temperature_schedule = temperature_schedule
        self.anneal = anneal
        self.indicator = indicator
        self.max_count = max_count
        self.flip = flip
        self.warmup = warmup
        self.max_gradient_norm = max_gradient_norm
        self.device = device
        self.image_shape = image_shape
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803  (scikit-learn's names)
        """Trains the model.

        Args:
            X: data, shape (N, features).
            y: ignored.

        Raises:
            InputError: naming a parameter that is out of range, or data that the likelihood does not take.
            NonFiniteLossError: if training diverges.
        """
        X = validate_data(self, X, dtype=(np.float64, np.float32))  # noqa: N806
        seed = int(check_random_state(self.random_state).randint(2**31))
        options = {name: _plain(getattr(self, name)) for name in self._option_names()}
        config = Config(data=IN_MEMORY, seed=seed, **options).resolved()
        data = from_array(self._shaped(X), scaling=config.scaling or "none")
        with torch.random.fork_rng(), training_settings():
            torch.manual_seed(seed)
            fitting = make_fitting(config, data)
            fitting.check()
            self.history_: list[Any] = list(
                fitting.train(lambda: {"mean_rate": np.nan}, lambda state: None, None, progress=self.verbose)
            )
        self.config_ = asdict(config)
        self._weights = {name: tensor.detach().cpu().numpy().copy() for name, tensor in fitting.weights().items()}
        self._units: dict[str, Any] = {"shape": list(data.shape), "offset": data.offset, "scale": data.scale}
        self._build()
        return self

    def transform(self, X: Any) -> Array:  # noqa: N803
        """The codes of data (N, features), shape (N, K)."""
        units, dtype = self._in_units(X)
        return self._adapter.code(units, seed=self._seed).astype(dtype)

    def inverse_transform(self, X: Any) -> Array:  # noqa: N803
        """Means of the data, in their units, shape (N, features), at the mean latents that codes (N, K) stand for."""
        check_is_fitted(self)
        codes = np.asarray(X)
        latents = self._adapter.latent_dim
        if codes.ndim != 2 or codes.shape[1] != latents:
            raise InputError("X", f"shape {codes.shape}", f"(N, {latents})")
        return self._in_features(self._adapter.mean_of_code(codes))

    def score(self, X: Any, y: Any = None) -> float:  # noqa: N803
        """The ELBO of data (N, features) in the units of training, in nats per observation, of exact samples."""
        units, _ = self._in_units(X)
        return -self._adapter.evaluate(units, seed=self._seed).figures["nelbo"]

    def sample(self, n_samples: int = 1, *, random_state: Any = None) -> Array:
        """Data drawn from the model, in their units, shape (n_samples, features).

        Args:
            n_samples: number of them.
            random_state: of the samples; by default that of ``fit``.

        Raises:
            InputError: naming ``n_samples``.
        """
        check_is_fitted(self)
        if n_samples < 1:
            raise InputError("n_samples", n_samples, "a positive whole number")
        seed = self._seed if random_state is None else int(check_random_state(random_state).randint(2**31))
        _, _, drawn = self._adapter.prior_draws(n_samples, seed=seed)
        return self._in_features(drawn)

    def save(self, path: str | Path) -> Path:
        """Writes a new run folder, as ``python -m pyrocount.fit`` does, but for the data and pictures.

        Raises:
            InputError: naming ``name`` or ``out``, if there is such a folder or it cannot be written.
        """
        check_is_fitted(self)
        path = Path(path)
        run = RunFolder.create(path.parent, path.name, path.name)
        run.write_json("config.json", self.config_ | {"resume": False})
        run.write_metrics(self.history_)
        run.write_json("summary.json", {})
        run.save_weights(self._tensors(), {"data": json.dumps(self._units)})
        return run.path

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """An estimator of the model of a run folder.

        Raises:
            InputError: if the folder holds no finished run, or one with an exposure, for which rows have no place.
        """
        run = RunFolder(path)
        weights, metadata = run.load_weights()
        config = read_config(run)
        units = json.loads(metadata["data"])
        shape = units["shape"]
        options = {name: getattr(config, name) for name in cls._option_names()}
        exposed = config.exposure is not None or bool(units.get("exposure"))
        if exposed:
            raise InputError("path", f"{path} of counts in windows of known lengths", "a run without an exposure")
        found = cls(**options, image_shape=tuple(shape) if len(shape) == 3 else None, random_state=config.seed)
        found.config_, found.history_ = asdict(config.resolved()), run.read_metrics()
        found.n_features_in_ = int(np.prod(shape))
        found._weights, found._units = {name: tensor.numpy() for name, tensor in weights.items()}, units
        found._build()
        return found

    @classmethod
    def _option_names(cls) -> list[str]:
        """The parameters that are options of the configuration."""
        return [item.name for item in fields(Config) if item.name in cls._get_param_names()]

    def _build(self) -> None:
        """The model, and its double in double precision, whose codes do not depend on the rest of the batch."""
        with torch.random.fork_rng():
            self.model_ = rebuild(Config(**self.config_), self._units["shape"], self._tensors())
        exact = copy.deepcopy(self.model_).double() if isinstance(self.model_, VAE) else self.model_
        self._adapter: Adapter = adapt(exact, steps=self.config_["test_steps"])

    def _tensors(self) -> dict[str, torch.Tensor]:
        return {name: torch.from_numpy(value) for name, value in self._weights.items()}

    @property
    def _seed(self) -> int:
        return int(self.config_["seed"])

    @property
    def _n_features_out(self) -> int:
        return int(self.config_["latent_dim"])

    def _shaped(self, X: Array) -> Array:  # noqa: N803
        if self.image_shape is None:
            return X
        shape = tuple(self.image_shape)
        if len(shape) != 3 or min(shape) < 1 or int(np.prod(shape)) != X.shape[1]:
            expected = f"(channels, height, width) with {X.shape[1]} pixels in all"
            raise InputError("image_shape", self.image_shape, expected)
        return X.reshape(-1, *shape)

    def _in_units(self, X: Any) -> tuple[Array, Any]:  # noqa: N803
        """Data as the model takes them, and the dtype of what comes of them."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)  # noqa: N806
        units = (X.astype(np.float64) - self._units["offset"]) / self._units["scale"]
        units = units.reshape(-1, *self._units["shape"])
        likelihood = self.config_["likelihood"]
        law = LIKELIHOODS[likelihood](self._units["shape"], 1.0, False)
        if not law.accepts(torch.from_numpy(units)):
            raise InputError("X", f"values that are not all {law.support}", f"such values for likelihood {likelihood}")
        return (units if isinstance(self.model_, VAE) else units.astype(np.float32)), X.dtype

    def _in_features(self, values: Array) -> Array:
        features: Array = (values * self._units["scale"] + self._units["offset"]).reshape(len(values), -1)
        return features

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        # Iterative inference draws counts.
        tags.non_deterministic = self.model in ITERATIVE
        tags.input_tags.positive_only = self.likelihood in ("poisson", "negbio")
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """Without the model, which is built again from its configuration and weights."""
        state = super().__getstate__()
        return {name: value for name, value in state.items() if name not in ("model_", "_adapter")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "_weights" in state:
            self._build()


def _plain(value: Any) -> Any:
    """NumPy's numbers as Python's: searches try those."""
    return value.item() if isinstance(value, np.generic) else value
