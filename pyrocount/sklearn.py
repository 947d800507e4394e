"""The models as a scikit-learn estimator."""

import re
import warnings
from collections.abc import Sequence
from dataclasses import fields
from inspect import Parameter, Signature
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from pyrocount.backends import Backend, build
from pyrocount.config import EVERY_RUN, Config, ModelOptions, all_options
from pyrocount.data import from_array
from pyrocount.data.options import FileOptions, PatchOptions
from pyrocount.errors import InputError
from pyrocount.models import LIKELIHOODS, MODELS
from pyrocount.models.registry import COMMON
from pyrocount.options import options_of
from pyrocount.process.state import own_state
from pyrocount.run import Run, load

Array = NDArray[np.floating[Any]]

# Name of data in memory in the configuration.
IN_MEMORY = "array"
# Options of a run that have no place in an estimator, which receives its data and has a random state.
ELSEWHERE = (
    *(item.name for group in (FileOptions, PatchOptions) for item in fields(group)),
    *("data", "data_dir", "download", "whiten", "exposure", "test_fraction", "split", "seed", "name", "out", "resume"),
)
# Parameters of the estimator and their defaults; None for the usual value of an option that not every model uses.
ALWAYS_USED = {name for name, option in options_of(*EVERY_RUN, *COMMON).items() if option.used_with is None}
DEFAULTS = {
    name: option.default if name in ALWAYS_USED else None
    for name, option in all_options().items()
    if name not in ELSEWHERE
}


class CountVAE(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Latent spike counts of data as a scikit-learn estimator.

    ``fit`` trains, ``transform`` gives the codes that probes read (for counts the logarithm of the posterior over the
    prior mean), ``inverse_transform`` the means of the data given codes. Data are rows of features: arrays,
    DataFrames or sparse matrices; they are scaled by ``scaling``. Counts may have been taken in windows of different
    lengths, their exposure. The parameters are the options of ``python -m pyrocount.fit``; None
    stands for the usual value, and an option that the model has no use for is refused if it is given.

    Args:
        PARAMETERS
        image_shape: (channels, height, width) of a row, for convolutions; None for features without an order.
        random_state: seed or state of weights, batches and samples; a number makes all results reproducible.
        verbose: whether to show progress.

    Attributes:
        model_: the fitted model, a ``VAE`` in evaluation mode or an ``Iterative``, for data in the units of training.
        config_: options of the configuration, by name.
        history_: history of training, a row an epoch.
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
        model: str = ModelOptions.model,
        *,
        image_shape: Sequence[int] | None = None,
        random_state: Any = None,
        verbose: bool = False,
        **options: Any,
    ) -> None:
        if unknown := options.keys() - DEFAULTS.keys():
            raise TypeError(f"CountVAE got unexpected parameters {', '.join(sorted(unknown))}")
        self.image_shape, self.random_state, self.verbose = image_shape, random_state, verbose
        for name, value in {**DEFAULTS, "model": model, **options}.items():
            setattr(self, name, value)

    @own_state()
    def fit(self, X: Any, y: Any = None, exposure: Any = None) -> Self:  # noqa: N803  (scikit-learn's names)
        """Trains the model.

        Args:
            X: data, shape (N, features).
            y: ignored.
            exposure: length of each observation's window, shape (N,), for likelihoods of counts.

        Raises:
            InputError: naming a parameter that is out of range, data that the likelihood does not take, or an exposure
                that is not one positive number a row.
            NonFiniteLossError: if training diverges.

        Warns:
            ConvergenceWarning: naming a remedy, if latents carry a constant, the posterior ignores the data, or the
                mean of the data alone fits better; by the ELBO of the first rows (1000, of iterative models 200).
        """
        X = _dense(validate_data(self, X, dtype=(np.float64, np.float32), accept_sparse="csr"))  # noqa: N806
        windows = _windows(exposure, len(X))
        seed = int(check_random_state(self.random_state).randint(2**31))
        given = {name: _plain(getattr(self, name)) for name in DEFAULTS}
        config = Config(data=IN_MEMORY, seed=seed, **given)
        if windows is not None and not LIKELIHOODS[config.options["likelihood"]].is_count:
            raise InputError("exposure", f"lengths with likelihood {config.options['likelihood']}", "poisson or negbio")
        data = from_array(self._shaped(X), scaling=config.options["scaling"], exposure=windows)
        torch.manual_seed(seed)
        backend = build(config, data.shape)
        backend.check_data(config, data)
        backend.adapt(data)
        self.history_: list[Any] = list(
            backend.train(
                config,
                data,
                monitor=lambda: {"mean_rate": np.nan},
                save=lambda state: None,
                progress=self.verbose,
            )
        )
        self.config_ = _without_place(config)
        self._weights = _arrays(backend)
        self._units: dict[str, Any] = {"shape": list(data.shape), "offset": data.offset, "scale": data.scale}
        self._units["exposure"] = windows is not None
        if (names := getattr(self, "feature_names_in_", None)) is not None:
            self._units["features"] = names.tolist()
        self._build()
        if backend.has_density:
            for remark in backend.remarks(config, data, backend.evaluate_held_out(config, data, quick=True)):
                warnings.warn(_naming_parameters(remark), ConvergenceWarning, stacklevel=3)
        return self

    def fit_transform(self, X: Any, y: Any = None, exposure: Any = None) -> Array:  # noqa: N803
        """Trains the model on data (N, features) and returns their codes, shape (N, K); see ``fit``."""
        return self.fit(X, y, exposure).transform(X, exposure)

    @own_state()
    def transform(self, X: Any, exposure: Any = None) -> Array:  # noqa: N803
        """Returns the codes of data (N, features), shape (N, K).

        Args:
            X: data, shape (N, features).
            exposure: length of each observation's window, shape (N,), if the model was fitted with lengths.
        """
        units, windows, dtype = self._in_units(X, exposure)
        return self._backend.code(units, windows, seed=self._seed).astype(dtype)

    @own_state()
    def inverse_transform(self, X: Any) -> Array:  # noqa: N803
        """Returns means of the data, in their units, (N, features), at the mean latents that codes (N, K) stand for."""
        check_is_fitted(self)
        codes = np.asarray(X)
        latents = self._backend.latent_dim
        if codes.ndim != 2 or codes.shape[1] != latents:
            raise InputError("X", f"shape {codes.shape}", f"(N, {latents})")
        return self._in_features(self._backend.mean_of_code(codes))

    @own_state()
    def score(self, X: Any, y: Any = None, exposure: Any = None) -> float:  # noqa: N803
        """Returns the ELBO of data (N, features), in their units in training, in nats per observation."""
        units, windows, _ = self._in_units(X, exposure)
        return -self._backend.evaluate(units, windows, seed=self._seed).metrics["nelbo"]

    @own_state()
    def sample(self, n_samples: int = 1, *, random_state: Any = None) -> Array:
        """Draws data from the model, in their units, shape (n_samples, features).

        Args:
            n_samples: number of samples.
            random_state: seed or state of the samples; by default that of ``fit``.

        Raises:
            InputError: naming ``n_samples``.
        """
        check_is_fitted(self)
        if n_samples < 1:
            raise InputError("n_samples", n_samples, "a positive whole number")
        seed = self._seed if random_state is None else int(check_random_state(random_state).randint(2**31))
        _, _, drawn = self._backend.prior_draws(n_samples, seed=seed)
        return self._in_features(drawn)

    def save(self, path: str | Path) -> Path:
        """Writes a new run folder, as ``python -m pyrocount.fit`` does, without data and figures.

        Raises:
            InputError: naming ``name`` or ``out``, if there is such a folder or it cannot be written.
        """
        check_is_fitted(self)
        path = Path(path)
        run = Run.start(Config(**self.config_ | {"out": str(path.parent), "name": path.name}), IN_MEMORY)
        run.write_history(self.history_)
        run.write_json("summary.json", {})
        run.save_weights(self._tensors(), self._units)
        return run.path

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Returns an estimator with the model of a run folder.

        Raises:
            InputError: if the folder holds no finished run.
        """
        run = load(path)
        config, units = run.config, run.units
        shape = units["shape"]
        options: dict[str, Any] = {name: config.options.get(name) for name in DEFAULTS}
        found = cls(**options, image_shape=tuple(shape) if len(shape) == 3 else None, random_state=config.seed)
        found.config_ = _without_place(config)
        found.history_ = run.history
        found.n_features_in_ = int(np.prod(shape))
        if names := units.get("features"):
            found.feature_names_in_ = np.array(names, object)
        found._weights, found._units = _arrays(run.backend), units
        found._build()
        return found

    @own_state()
    def _build(self) -> None:
        """Builds the model, and its double in double precision, whose codes do not depend on the rest of the batch."""
        backend = build(Config(**self.config_), self._units["shape"], fitted=True)
        backend.load_weights(self._tensors())
        self.model_ = backend.model
        self._backend: Backend = backend.in_double_precision()

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

    def _in_units(self, X: Any, exposure: Any) -> tuple[Array, Array | None, Any]:  # noqa: N803
        """Returns data and exposure as the model takes them, and the dtype of the results."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=(np.float64, np.float32), accept_sparse="csr", reset=False)  # noqa: N806
        X = _dense(X)  # noqa: N806
        windows = _windows(exposure, len(X))
        if (windows is not None) != bool(self._units.get("exposure")):
            wanted = "None, as in fit" if windows is not None else "the lengths of the windows, as in fit"
            raise InputError("exposure", "None" if windows is None else "lengths of windows", wanted)
        units = (X.astype(np.float64) - self._units["offset"]) / self._units["scale"]
        units = units.reshape(-1, *self._units["shape"])
        likelihood = self._backend.likelihood
        if not likelihood.accepts(torch.from_numpy(units)):
            wanted = f"{likelihood.support} for likelihood {self.config_['likelihood']}"
            raise InputError("X", f"values that are not all {likelihood.support}", wanted)
        return units, windows, X.dtype

    def _in_features(self, values: Array) -> Array:
        features: Array = (values * self._units["scale"] + self._units["offset"]).reshape(len(values), -1)
        return features

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        # Iterative inference draws counts.
        tags.non_deterministic = self.model in MODELS and MODELS[self.model].inference == "iterative"
        tags.input_tags.sparse = True
        tags.input_tags.positive_only = self.likelihood in LIKELIHOODS and LIKELIHOODS[self.likelihood].is_count
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """Returns the state without the model, which is built again from its configuration and weights."""
        state = super().__getstate__()
        return {name: value for name, value in state.items() if name not in ("model_", "_backend")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "_weights" in state:
            self._build()


def _dense(X: Any) -> Array:  # noqa: N803
    dense: Any = X.toarray() if issparse(X) else X  # type: ignore[attr-defined]
    return dense


def _without_place(config: Config) -> dict[str, Any]:
    return {name: value for name, value in config.options.items() if name not in ("name", "out")}


def _arrays(backend: Backend) -> dict[str, Array]:
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in backend.weights().items()}


def _windows(exposure: Any, number: int) -> NDArray[np.float32] | None:
    """Returns lengths of windows as an array.

    Raises:
        InputError: naming ``exposure``, if it is not one positive number a row.
    """
    if exposure is None:
        return None
    lengths = np.asarray(exposure, np.float32)
    if lengths.shape != (number,) or not ((lengths > 0) & (lengths < np.inf)).all():
        raise InputError("exposure", f"shape {lengths.shape}", f"{number} positive numbers, one a row of X")
    return lengths


def _plain(value: Any) -> Any:
    """Returns NumPy's numbers, which searches try, as Python's."""
    return value.item() if isinstance(value, np.generic) else value


def _naming_parameters(remark: str) -> str:
    """Returns a remark with parameters in place of the options of the command, whose names have dashes."""
    return re.sub("--([a-z-]+)", lambda option: option[1].replace("-", "_"), remark.removeprefix("warning: "))


def _documented(cls: type[CountVAE]) -> None:
    """Gives the estimator the signature and the documentation of its options."""
    keyword = [Parameter(name, Parameter.KEYWORD_ONLY, default=value) for name, value in DEFAULTS.items()]
    own = list(Signature.from_callable(cls.__init__).parameters.values())
    first, last = own[:1], [parameter for parameter in own if parameter.kind is Parameter.KEYWORD_ONLY]
    model = Parameter("model", Parameter.POSITIONAL_OR_KEYWORD, default=DEFAULTS["model"])
    others = [parameter for parameter in keyword if parameter.name != "model"]
    cls.__init__.__signature__ = Signature([*first, model, *others, *last])  # type: ignore[attr-defined]
    lines = ["        {}: {}.".format(name, all_options()[name].help.replace("*", r"\*")) for name in DEFAULTS]
    cls.__doc__ = (cls.__doc__ or "").replace("        PARAMETERS", "\n".join(lines))


_documented(CountVAE)
