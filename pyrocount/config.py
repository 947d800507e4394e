"""Configuration of a run: the groups of options that its model has a use for, checked and resolved once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pyrocount.data import NAMED, default_scaling
from pyrocount.data.options import TEST_FRACTION, DataOptions, FileOptions, PatchOptions
from pyrocount.errors import InputError
from pyrocount.inference.options import ObjectiveOptions, TrainingOptions
from pyrocount.models import LIKELIHOODS, MODELS, ModelSpec
from pyrocount.models.options import ESTIMATORS
from pyrocount.models.registry import COMMON, check_condition, check_estimator, check_use, spec_of
from pyrocount.options import Accepted, Option, Options, options_of


@dataclass(frozen=True)
class ModelOptions:
    """Option that chooses the model, and with it the other options."""

    model: Annotated[
        str,
        "family of the latents: Poisson or negative-binomial counts, Gaussian, Laplace, or one categorical; sparse "
        "coding with a learned dictionary, by the algorithm that infers the codes; or a model without an encoder, the "
        "latents of which are inferred by natural-gradient steps (iterative-*: Poisson, negative-binomial or Gaussian) "
        "or plain ones (predictive-coding)",
    ] = "negbio"


@dataclass(frozen=True)
class RunOptions:
    """Options of the run: random numbers, device and folder."""

    seed: Annotated[
        int,
        "seed of the held-out data, the initial weights and the random numbers of training",
        Accepted(lambda value: 0 <= value < 2**63, "a whole number from 0 to 2^63 - 1"),
    ] = 0
    device: Annotated[
        Literal["auto", "cpu", "cuda"], "device to compute on; auto takes a CUDA device where there is one"
    ] = "auto"
    name: Annotated[
        str | None, "name of the run folder; by default MODEL-DATA-SEED, with a number where that is taken"
    ] = None
    out: Annotated[str, "folder that holds the run folders"] = "runs"
    log: Annotated[
        Literal["none", "tensorboard", "mlflow"],
        "also write history, figures and metrics for TensorBoard, into the run folder, or for MLflow, where "
        "MLFLOW_TRACKING_URI says",
    ] = "none"
    resume: Annotated[
        bool, "go on with the run of this --name from its last checkpoint, with its options; others may not be given"
    ] = False


# Recipe for counts from a file with linear networks, by which latent counts predict hidden channels of two recordings
# no worse than factor analysis of the same size (docs/guide.md has the figures). Perceptrons, and encoders without
# decay and hidden inputs, learn the noise of a few hundred trials; counts of high rates can fall as well as rise.
RECORDINGS = {
    "input_dropout": 0.25,
    "weight_decay": 5.0,
    "lr": 0.01,
    "epochs": 500,
    "batch_size": 64,
    "initial_rate": 10.0,
}
USUALLY = {"input_dropout": 0.0, "lr": 2e-3, "epochs": 300, "batch_size": 128}

# Groups of every run, beside those of its model.
EVERY_RUN = (ModelOptions, DataOptions, FileOptions, PatchOptions, ObjectiveOptions, TrainingOptions, RunOptions)
# Options that do not change the numbers of a run.
PLACES = ("device", "download", "log", "name", "out", "resume")


class Config(Options):
    """Everything that a run depends on, resolved: every option that its model has a use for has its value.

    ``config[TrainingOptions].epochs`` reads an option through its group; ``config.options["epochs"]`` by its name.

    Args:
        given: options by name; those that are None or missing follow from the others or have their defaults.

    Attributes:
        options: values by name of the options in use, as in ``config.json``; those that are None are left out.

    Raises:
        InputError: naming an option that does not exist, is out of range, does not go with another, or has no use.

    >>> config = Config(model="poisson", epochs=3)
    >>> config[TrainingOptions].epochs, config.options["estimator"]
    (3, 'stein')
    >>> Config(model="poisson", blocks=0)
    Traceback (most recent call last):
    pyrocount.errors.InputError: blocks: got 0 with --decoder mlp, expected --decoder conv or --encoder conv
    """

    def __init__(self, **given: Any) -> None:
        super().__init__(_resolved({name: value for name, value in given.items() if value is not None}))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Config) and self.options == other.options

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Config({', '.join(f'{name}={value!r}' for name, value in self.options.items())})"

    @property
    def model(self) -> str:
        """Returns the name of the model."""
        return self[ModelOptions].model

    @property
    def seed(self) -> int:
        """Returns the seed of the run."""
        return self[RunOptions].seed

    @property
    def spec(self) -> ModelSpec:
        """Returns the row of the model in the registry."""
        return MODELS[self.model]

    @property
    def model_options(self) -> dict[str, Any]:
        """Returns the options of the model, by name."""
        own = options_of(*COMMON, *self.spec.groups)
        return {name: value for name, value in self.options.items() if name in own}

    @property
    def relaxation_options(self) -> tuple[str, ...]:
        """Returns the names of the options that the relaxation of the estimator takes."""
        return self.spec.estimators[self.options["estimator"]].options

    def identity(self) -> dict[str, Any]:
        """Returns the options that make the numbers of a run: all but where it computes and where things are kept."""
        # The images for patches are data; where torchvision keeps its sets is a place.
        places = PLACES if self.options["data"] == "patches" else (*PLACES, "data_dir")
        return {name: value for name, value in self.options.items() if name not in places}


def completed(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options of a run with those that were not there when it was made, with what it did.

    Earlier runs with patches held out a part of every image.

    >>> completed({"data": "patches", "data_dir": "photographs"})
    {'data': 'patches', 'data_dir': 'photographs', 'tiles': False, 'split': 'part'}
    """
    if options.get("data") != "patches" or "tiles" in options:
        return dict(options)
    return {**options, "tiles": False} | ({"split": "part"} if "data_dir" in options else {})


def all_options() -> dict[str, Option]:
    """Returns the declarations of the options of all models, by name."""
    of_models = (group for spec in MODELS.values() for group in spec.groups)
    return options_of(
        *dict.fromkeys([ModelOptions, DataOptions, FileOptions, PatchOptions, *COMMON, *of_models, *EVERY_RUN])
    )


def choices_of(option: Option) -> tuple[str, ...]:
    """Returns the values of an option that has few, or none for others."""
    tables = {"model": tuple(MODELS), "likelihood": tuple(LIKELIHOODS), "estimator": ESTIMATORS}
    return option.choices or tables.get(option.name, ())


def _resolved(given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values of all options in use."""
    model = given.get("model", ModelOptions.model)
    spec = spec_of(model)
    check_use(model, given, EVERY_RUN)
    declared = _declared(spec)
    options = {name: option.default for name, option in declared.items()} | dict(given)
    if (likelihood := options["likelihood"]) not in LIKELIHOODS:
        raise InputError("likelihood", repr(likelihood), f"one of {', '.join(LIKELIHOODS)}")
    if options["estimator"] is not None:
        check_estimator(model, options["estimator"])
    _fill_in(options, spec)
    facts = _facts(options, spec)
    for name, option in declared.items():
        if name in given:
            check_condition(option, given[name], facts)
        elif option.used_with is not None and not option.used_with.holds(facts):
            del options[name]
    _check_combinations(options, spec)
    return {name: value for name, value in options.items() if value is not None}


def beside(usual: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options that were given, and of usual ones those that still have a use beside them.

    >>> beside({"model": "poisson", "estimator": "arrival", "temperature": 0.2}, {"estimator": "stein"})
    {'model': 'poisson', 'estimator': 'stein'}
    """
    options = {**usual, **given}
    spec = spec_of(options.get("model", ModelOptions.model))
    declared = _declared(spec)
    if options.get("estimator") not in spec.estimators and "estimator" not in given:
        options.pop("estimator", None)
    complete = {name: option.default for name, option in declared.items()} | options
    if complete["likelihood"] not in LIKELIHOODS or complete["estimator"] not in (None, *spec.estimators):
        return options
    _fill_in(complete, spec)
    facts = _facts(complete, spec)
    return {
        name: value
        for name, value in options.items()
        if name in given or (name in declared and ((needed := declared[name].used_with) is None or needed.holds(facts)))
    }


def _declared(spec: ModelSpec) -> dict[str, Option]:
    return options_of(*EVERY_RUN, *COMMON, *spec.groups)


def _facts(options: Mapping[str, Any], spec: ModelSpec) -> dict[str, Any]:
    """Returns resolved options, with what follows from them and decides the use of others."""
    return {
        **options,
        "observes_counts": LIKELIHOODS[options["likelihood"]].is_count,
        "relaxation_options": spec.estimators[options["estimator"]].options,
    }


def _fill_in(options: dict[str, Any], spec: ModelSpec) -> None:
    """Gives the options that follow from others their usual values."""
    # The first estimator is the usual one. For counts it is stein: after equal numbers of steps the unbiased one ended
    # within a nat of it on six of seven tasks (docs/mathematics.md), at 1.3 to 1.4 times the cost.
    estimator, likelihood = options["estimator"] or next(iter(spec.estimators)), options["likelihood"]
    # With free dispersion the posterior counts can be nearly Poisson while the prior's stay overdispersed; on the
    # digits that is worth 2 nats of test NELBO, on MNIST (conv|conv, arrival times) 1.7. Monte Carlo is as good as
    # the integral on the digits, nearly so on MNIST (37.4 against 37.1, stein), and costs less.
    # The Gumbel-softmax has the integral, of all counts: the Monte Carlo divergence is that of its capped counts, which
    # charges rates above the cap with little. The score function is so noisy that a free dispersion runs away.
    negbio = options["model"] == "negbio"
    if estimator == "score":
        divergence = "shared" if negbio else "mc"
    else:
        divergence = "mc" if negbio and estimator not in ("exact", "gumbel") else "exact"
    scalings = {"gaussian": default_scaling(options["data"]), "bernoulli": "unit"}
    amortized = spec.inference == "encoder"
    recorded = amortized and options["data"] not in NAMED and LIKELIHOODS[likelihood].is_count
    network = "mlp" if amortized and not recorded else "lin"
    usual: dict[str, Any] = {
        "estimator": estimator,
        "kl": divergence,
        "scaling": scalings.get(likelihood, "none"),
        "decoder": network,
        "encoder": network,
    }
    # The split of patches depends on their images, which may have one of their own.
    if options["data"] != "patches":
        usual |= {"split": "random", "test_fraction": TEST_FRACTION}
    if recorded and {options["encoder"], options["decoder"]} <= {None, "lin"}:
        usual |= RECORDINGS
    else:
        usual |= USUALLY | {"weight_decay": 0.01 if options["optimizer"] == "adamw" else None}
    if options["model"] == "predictive-coding":
        usual["leak"] = 1.0
    options |= {name: value for name, value in usual.items() if name in options and options[name] is None}
    bounded = likelihood == "gaussian" and options["decoder"] != "lin"
    outputs = {"unit": "sigmoid", "symmetric": "tanh"} if bounded else {}
    options["output"] = options["output"] or outputs.get(options["scaling"], "identity")


def _check_combinations(options: Mapping[str, Any], spec: ModelSpec) -> None:
    """Checks whether the values of options go with those of others.

    Raises:
        InputError: naming the option.
    """
    model, estimator, kl, likelihood = (options[name] for name in ("model", "estimator", "kl", "likelihood"))
    split, of_patches = options.get("split"), options["data"] == "patches"
    if split is not None and of_patches != (split in ("image", "part")):
        expected = "image or part" if of_patches else "random, block, or a .npy or .csv file"
        raise InputError("split", f"{split!r} with --data {options['data']}", expected)
    linear = {"decoder": "lin", "likelihood": "gaussian", "output": "identity"}
    if spec.inference == "sparse coding":
        for name, wanted in linear.items():
            if options[name] != wanted:
                raise InputError(
                    name, f"{options[name]!r} with --model {model}", f"{wanted}, as the dictionary is linear"
                )
        if kl == "mc":
            raise InputError("kl", f"'mc' with --model {model}", "shared or exact, as codes are points without samples")
    if spec.inference == "iterative":
        if kl != "exact":
            raise InputError("kl", f"{kl!r} with --model {model}", "exact, as the divergence of a step is closed")
        if options.get("step_kl", "prior") != "prior" and options["leak"] is not None:
            raise InputError("step_kl", f"{options['step_kl']!r} with --leak", "prior, or no leak")
    if estimator == "exact":
        for name, wanted in linear.items():
            if options[name] != wanted:
                raise InputError(
                    "estimator",
                    f"'exact' with --{name} {options[name]}",
                    f"--{name} {wanted}, for which the expectation is closed",
                )
        if options.get("activation") == "softplus":
            problem = "'exact' with --activation softplus, whose mean and variance have no closed form"
            raise InputError("estimator", problem, "another activation or estimator")
        if kl == "mc":
            raise InputError("kl", "'mc' with --estimator exact", "shared or exact, as nothing is sampled")
    if options.get("kl_samples") is not None and estimator in ("score", "unbiased"):
        problem = f"{options['kl_samples']} with --estimator {estimator}"
        raise InputError("kl_samples", problem, "no number of samples, or another estimator")
    if estimator == "score" and kl == "exact":
        raise InputError("kl", "'exact' with --estimator score", "mc or shared: Pyro's score function samples the KL")
    if LIKELIHOODS[likelihood].is_count and options["scaling"] != "none":
        raise InputError(
            "scaling", f"{options['scaling']!r} with --likelihood {likelihood}", "none, as counts are counts"
        )
    if likelihood != "gaussian" and options["output"] != "identity":
        raise InputError(
            "output", f"{options['output']!r} with --likelihood {likelihood}", "identity, as its link comes after"
        )
