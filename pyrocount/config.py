"""The configuration of a run."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pyrocount.data import default_scaling
from pyrocount.errors import InputError
from pyrocount.inference import SPARSE_CODERS
from pyrocount.models import (
    ITERATIVE,
    LIKELIHOODS,
    MODELS,
    CountLatent,
    LatentOptions,
    check_estimator,
    estimators_of,
)

TEMPERATURES = ("temperature", "temperature_schedule")
# By the estimators that have a use for them.
RELAXATION_OPTIONS = {
    "arrival": (*TEMPERATURES, "indicator"),
    "arrival-hard": (*TEMPERATURES, "indicator"),
    "gumbel": (*TEMPERATURES, "max_count"),
}


def _option(default: Any, explanation: str, choices: Iterable[str] = ()) -> Any:
    return field(default=default, metadata={"help": explanation, "choices": tuple(choices)})


@dataclass(frozen=True)
class Config:
    """Everything that a run depends on; the fields are the options of the command line, where they are explained."""

    model: str = _option(
        "negbio",
        "family of the latents: Poisson or negative-binomial counts, Gaussian, Laplace, or one categorical; sparse "
        "coding with a learned dictionary, by the algorithm that infers the codes; or a model without an encoder, the "
        "latents of which are inferred by natural-gradient steps (iterative-*: Poisson, negative-binomial or Gaussian) "
        "or plain ones (predictive-coding)",
        (*MODELS, *ITERATIVE),
    )
    activation: Literal["identity", "relu", "softplus", "exp"] = _option(
        "identity", "on the samples of Gaussian latents (gaussian, iterative-gaussian)"
    )
    data: str = _option(
        "digits",
        "'digits' (scikit-learn's handwritten digits), 'patches' (of natural images), 'mnist', 'fashion-mnist', "
        "'emnist', 'omniglot', 'cifar10-16', 'celeba-64', or a .npy or .npz file with an array N x features or "
        "N x channels x height x width",
    )
    data_dir: str | None = _option(
        None,
        "folder in which torchvision keeps its sets, 'data' by default; for patches, a folder of images or an array "
        "file of them, scikit-learn's photographs by default",
    )
    download: bool = _option(False, "fetch a set of torchvision's that is missing")
    scaling: Literal["standard", "unit", "symmetric", "none"] | None = _option(
        None,
        "standard: subtract the mean of the training set and divide by its standard deviation, one number each; unit "
        "and symmetric: range to [0, 1] and [-1, 1]; by default none for counts, unit for Bernoulli, else symmetric "
        "for colour sets, unit for other sets of torchvision's, standard for the rest",
    )
    whiten: bool = _option(True, "whiten the images for patches, before their contrast is normalised")
    flip: bool = _option(False, "mirror images from left to right at random in training")
    exposure: float | None = _option(
        None, "length of the windows in which counts were taken; by default an array 'exposure' in the .npz file, or 1"
    )
    test_fraction: float = _option(0.2, "part of the data that is held out for testing, where no split is official")
    latent_dim: int = _option(32, "number of latents")
    initial_rate: float = _option(
        LatentOptions.initial_rate, "mean count of a latent under the prior, at the start of training"
    )
    encoder: Literal["lin", "mlp", "conv"] | None = _option(
        None,
        "network from data to posterior: linear, perceptron, convolutional; mlp by default, none in sparse coding "
        "and iterative inference",
    )
    decoder: Literal["lin", "mlp", "conv"] | None = _option(
        None, "network from latents to data, likewise; mlp by default, lin where there is no encoder"
    )
    output: Literal["identity", "sigmoid", "tanh"] | None = _option(
        None,
        "last step of the decoder; by default what fits the range of the data, and identity for linear decoders",
    )
    weight_norm: bool = _option(False, "normalise the weights of all layers")
    blocks: int = _option(0, "residual blocks at each size of the image, in convolutional networks")
    likelihood: str = _option(
        "gaussian", "law of the data given the decoder's output; the last two are for counts", LIKELIHOODS
    )
    scale: float = _option(
        math.sqrt(0.5),
        "standard deviation of the Gaussian likelihood, in units of the (scaled) data; at sqrt(1/2) the loss is the "
        "sum of squared errors",
    )
    learn_scale: bool = _option(False, "learn the scale, from there")
    beta: float = _option(
        1.0,
        "weight of the KL divergence, reached after --anneal of training; in sparse coding, of the sum of the codes",
    )
    inference_steps: int = _option(200, "steps of the inference of codes (lca, ista, fista)")
    train_steps: int = _option(16, "steps of iterative inference in training, through which gradients flow")
    test_steps: int = _option(1000, "steps of iterative inference in testing")
    step_size: float = _option(0.5, "size of the steps of iterative inference, at first; it is learned")
    drive: Literal["sampled", "exact"] = _option(
        "sampled",
        "what drives iterative inference of counts: sampled, the gradient at the sampled counts, and a learned bias; "
        "exact, the natural gradient with what the variance of the counts contributes",
    )
    leak: float | None = _option(
        None,
        "weight of the divergence from the prior in the steps of iterative inference; by default 1 for "
        "predictive-coding, none otherwise: the posterior of a step is the prior of the next",
    )
    step_kl: Literal["prior", "posterior"] = _option(
        "prior",
        "rates that weigh the divergence of a step of iterative-poisson: those before the step, of its prior, as the "
        "divergence has them; or those after it, of its posterior, as in the papers' code",
    )
    kl: Literal["shared", "exact", "mc"] | None = _option(
        None,
        "shared: closed form, a negative-binomial posterior keeps the prior's dispersion; its dispersion is free with "
        "exact (an integral) and mc (Monte Carlo); by default exact, but mc for score and for negbio with "
        "sampled gradients",
    )
    estimator: str | None = _option(
        None,
        "gradient through the latents: relaxed arrival times, the same with exact counts forward, Gumbel-softmax, "
        "exact counts with the Stein-Chen rule, exact counts with the gradient of their mean, the pathwise gradient of "
        "continuous latents, the score function with a baseline, the exact expectation (linear decoder and Gaussian "
        "likelihood); by default stein for counts, gumbel for categorical, else pathwise",
        dict.fromkeys(name for model in (*MODELS, *ITERATIVE) for name in estimators_of(model)),
    )
    samples: int = _option(1, "Monte Carlo samples of the latents of each observation, in training")
    # On the digits, negative-binomial arrivals end at a NELBO of 56.3, 56.1, 56.1 and 56.2 with .05, .1, .5 and 1,
    # means of two seeds: .1 is as good as any, and its counts are close to those of evaluation.
    temperature: float = _option(
        0.1, "temperature of the relaxation, annealed from 1 (arrival, gumbel, and straight-through of categorical)"
    )
    temperature_schedule: Literal["linear", "exponential"] = _option("linear", "how the temperature is annealed")
    anneal: float = _option(0.5, "part of training over which temperature and weight of the KL are annealed")
    indicator: Literal["cubic", "sigmoid"] = _option("cubic", "what an arrival near the end counts (arrival only)")
    max_count: int = _option(30, "largest relaxed count (gumbel only)")
    epochs: int = _option(300, "passes over the training data")
    batch_size: int = _option(128, "observations a step")
    optimizer: Literal["adam", "adamax", "adamw"] = _option("adam", "rule of the steps")
    lr: float = _option(2e-3, "peak learning rate")
    warmup: float = _option(0.01, "part of training in which the learning rate rises, before a cosine decay")
    max_gradient_norm: float = _option(100.0, "norm to which the gradient is clipped")
    seed: int = _option(0, "chooses the held-out data, the initial weights and the random numbers of training")
    device: Literal["auto", "cpu", "cuda"] = _option(
        "auto", "where to compute; auto takes a CUDA device where there is one"
    )
    name: str | None = _option(
        None, "name of the run folder; by default MODEL-DATA-SEED, with a number where that is taken"
    )
    out: str = _option("runs", "folder that holds the run folders")
    resume: bool = _option(
        False, "go on with the run of this --name from its last checkpoint, with its options; others may not be given"
    )

    def check(self) -> None:
        """Checks the choices, the ranges of all numbers, and whether the parts go together.

        Raises:
            InputError: naming the field.
        """
        hints = get_type_hints(Config)
        for name, hint in hints.items():
            value, kind = getattr(self, name), kind_of(hint)
            fits = isinstance(value, int | float if kind is float else kind)
            if not (fits or (value is None and type(None) in get_args(hint))):
                raise InputError(name, repr(value), expected(kind))
            if (choices := choices_of(name)) and value is not None and value not in choices:
                raise InputError(name, repr(value), f"one of {', '.join(choices)}")
        for name in (
            "latent_dim",
            "epochs",
            "batch_size",
            "max_count",
            "samples",
            "inference_steps",
            "train_steps",
            "test_steps",
        ):
            if getattr(self, name) < 1:
                raise InputError(name, getattr(self, name), "a positive whole number")
        for name in (
            "scale",
            "beta",
            "temperature",
            "lr",
            "max_gradient_norm",
            "exposure",
            "initial_rate",
            "step_size",
            "leak",
        ):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise InputError(name, value, "a positive number")
        for name in ("anneal", "warmup"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(name, getattr(self, name), "a number from 0 to 1")
        if self.blocks < 0:
            raise InputError("blocks", self.blocks, "a whole number from 0")
        if not 0 < self.test_fraction < 1:
            raise InputError("test_fraction", self.test_fraction, "a number between 0 and 1")
        if not 0 <= self.seed < 2**63:
            raise InputError("seed", self.seed, "a whole number from 0 to 2^63 - 1")
        self._check_combinations()

    def _check_combinations(self) -> None:
        if self.model in SPARSE_CODERS:
            problem = f"for --model {self.model}"
            for name, wanted in (("decoder", "lin"), ("likelihood", "gaussian"), ("output", "identity")):
                if getattr(self, name) not in (wanted, None):
                    raise InputError(name, f"{getattr(self, name)!r} {problem}", f"{wanted}: the dictionary is linear")
            if self.encoder is not None:
                raise InputError("encoder", f"{self.encoder!r} {problem}", "none: an optimisation is in its place")
            if self.learn_scale:
                raise InputError("learn_scale", f"it {problem}", "a fixed scale, on which the codes depend")
            if self.weight_norm:
                raise InputError("weight_norm", f"it {problem}", "none: the columns of the dictionary have unit norm")
            if self.kl == "mc":
                raise InputError("kl", f"'mc' {problem}", "none: codes are points, from which nothing is sampled")
        self._check_iterative()
        if self.estimator is not None:
            check_estimator(self.model, self.estimator)
        if self.estimator == "exact":
            for name, wanted in (("decoder", "lin"), ("likelihood", "gaussian"), ("output", "identity")):
                if getattr(self, name) not in (wanted, None):
                    problem = f"'exact' with --{name} {getattr(self, name)}"
                    raise InputError("estimator", problem, f"--{name} {wanted}, for which the expectation is closed")
            if self.activation == "softplus":
                problem = "'exact' with --activation softplus, whose mean and variance have no closed form"
                raise InputError("estimator", problem, "another activation or estimator")
            if self.kl == "mc":
                raise InputError("kl", "'mc' with --estimator exact", "shared or exact, as nothing is sampled")
            if self.samples > 1:
                raise InputError("samples", f"{self.samples} with --estimator exact", "1, as nothing is sampled")
        if self.estimator == "score" and self.kl == "exact":
            raise InputError(
                "kl", "'exact' with --estimator score", "mc or shared: Pyro's score function samples the KL"
            )
        if self.model not in ("gaussian", "iterative-gaussian") and self.activation != "identity":
            wanted = "--model gaussian or iterative-gaussian for it"
            raise InputError("activation", f"{self.activation!r} for {self.model} latents", wanted)
        if self.initial_rate != Config.initial_rate and not self._has_counts():
            raise InputError(
                "initial_rate", f"{self.initial_rate} for {self.model} latents", "a model with counts for it"
            )
        if self.blocks and "conv" not in (self.encoder, self.decoder):
            raise InputError(
                "blocks", f"{self.blocks} without a convolutional network", "--encoder conv or --decoder conv"
            )
        if not self.whiten and self.data != "patches":
            raise InputError("whiten", f"false for --data {self.data}", "--data patches for it")
        counts = self.likelihood in ("poisson", "negbio")
        if self.exposure is not None and not counts:
            raise InputError(
                "exposure", f"{self.exposure} for {self.likelihood} data", "--likelihood poisson or negbio"
            )
        if counts and self.scaling not in (None, "none"):
            raise InputError("scaling", f"{self.scaling!r} for {self.likelihood} data", "none, as counts are counts")
        if self.likelihood != "gaussian" and self.output not in (None, "identity"):
            raise InputError("output", f"{self.output!r} for {self.likelihood} data", "identity: its link comes after")
        if self.learn_scale and self.likelihood != "gaussian":
            raise InputError("learn_scale", f"it for {self.likelihood} data", "--likelihood gaussian for it")

    def _has_counts(self) -> bool:
        if self.model in ITERATIVE:
            return "stein" in ITERATIVE[self.model]
        return issubclass(MODELS[self.model], CountLatent)

    def _check_iterative(self) -> None:
        """Whether the options of iterative inference, and those that it lacks, go with the model."""
        problem = f"for --model {self.model}"
        if self.model not in ITERATIVE:
            for name in ("train_steps", "test_steps", "step_size", "drive", "leak", "step_kl"):
                if getattr(self, name) != getattr(Config, name):
                    raise InputError(
                        name, f"{getattr(self, name)!r} {problem}", "a model of iterative inference for it"
                    )
            return
        if self.encoder is not None:
            raise InputError("encoder", f"{self.encoder!r} {problem}", "none: latents are inferred without one")
        if self.kl not in (None, "exact"):
            raise InputError("kl", f"{self.kl!r} {problem}", "exact: the divergence of a step is closed")
        if self.samples > 1:
            raise InputError("samples", f"{self.samples} {problem}", "1: every step draws one")
        if self.weight_norm:
            raise InputError("weight_norm", f"it {problem}", "plain weights")
        if self.drive == "exact" and not self._has_counts():
            raise InputError("drive", f"'exact' {problem}", "sampled: of continuous latents it is unbiased already")
        if self.step_kl != "prior" and self.model != "iterative-poisson":
            raise InputError(
                "step_kl", f"{self.step_kl!r} {problem}", "prior: the other is known for Poisson counts alone"
            )
        if self.step_kl != "prior" and self.leak is not None:
            raise InputError("step_kl", f"{self.step_kl!r} with --leak", "prior, or no leak")

    @property
    def relaxation_options(self) -> tuple[str, ...]:
        """The options of relaxations that the estimator of a resolved configuration has a use for."""
        if (self.model, self.estimator) == ("categorical", "straight-through"):
            return TEMPERATURES
        return RELAXATION_OPTIONS.get(self.estimator or "", ())

    def _check_relaxation_options(self) -> None:
        for name in (*TEMPERATURES, "indicator", "max_count"):
            value = getattr(self, name)
            if name not in self.relaxation_options and value != getattr(Config, name):
                users = ", ".join(estimator for estimator, names in RELAXATION_OPTIONS.items() if name in names)
                raise InputError(name, f"{value} with --estimator {self.estimator}", f"it with one of {users}")

    def resolved(self) -> "Config":
        """The configuration with what depends on other fields in place of None.

        Raises:
            InputError: naming a field that is out of range or does not go with another.
        """
        self.check()
        estimator = self.estimator or estimators_of(self.model)[0]
        # With free dispersion the posterior counts can be nearly Poisson while the prior's stay overdispersed; on the
        # digits that is worth 2 nats of test NELBO, on MNIST (conv|conv, arrival times) 1.7. Monte Carlo is as good as
        # the integral on the digits, nearly so on MNIST (37.4 against 37.1, stein), and costs less.
        sampled = estimator == "score" or (self.model == "negbio" and estimator != "exact")
        usual = {"gaussian": default_scaling(self.data), "bernoulli": "unit"}
        scaling: Any = self.scaling or usual.get(self.likelihood, "none")
        amortized = self.model not in SPARSE_CODERS and self.model not in ITERATIVE
        decoder = self.decoder or ("mlp" if amortized else "lin")
        bounded = self.likelihood == "gaussian" and decoder != "lin"
        output: Any = {"unit": "sigmoid", "symmetric": "tanh"}.get(scaling, "identity") if bounded else "identity"
        config = replace(
            self,
            encoder=self.encoder or ("mlp" if amortized else None),
            decoder=decoder,
            estimator=estimator,
            kl=self.kl or ("mc" if sampled else "exact"),
            scaling=scaling,
            output=self.output or output,
            leak=1.0 if self.leak is None and self.model == "predictive-coding" else self.leak,
        )
        config._check_relaxation_options()
        return config

    def identity(self) -> dict[str, Any]:
        """What makes the numbers of a run: everything but where it computes and where things are kept."""
        places = ("device", "download", "name", "out", "resume")
        # The images for patches are data; where torchvision keeps its sets is a place.
        data_dir = self.data_dir if self.data == "patches" else None
        return {name: value for name, value in asdict(self).items() if name not in places} | {"data_dir": data_dir}


def choices_of(name: str) -> tuple[str, ...]:
    """The values of a field that has few, or none for others."""
    hint = get_type_hints(Config)[name]
    literals = [get_args(part) for part in (hint, *get_args(hint)) if get_origin(part) is Literal]
    given: tuple[str, ...] = Config.__dataclass_fields__[name].metadata["choices"]
    return literals[0] if literals else given


def kind_of(hint: Any) -> type:
    """The type of a field's values, None aside."""
    kinds = {bool, int, float} & {hint, *get_args(hint)}
    return kinds.pop() if kinds else str


def expected(kind: type) -> str:
    """What values of a type are called in errors."""
    return {int: "a whole number", float: "a number", bool: "true or false"}.get(kind, "text")
