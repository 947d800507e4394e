"""Registry of the models and likelihoods, by their names on the command line."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from pyrocount.errors import InputError
from pyrocount.options import Option, Options, listed, options_of

from .baseline import Baseline
from .latents import (
    CategoricalLatent,
    GaussianLatent,
    LaplaceLatent,
    Latent,
    NegativeBinomialLatent,
    PoissonLatent,
    SparseLatent,
)
from .likelihoods import (
    BernoulliLikelihood,
    GaussianLikelihood,
    Likelihood,
    NegativeBinomialLikelihood,
    PoissonLikelihood,
)
from .networks import LayerOptions, SparseEncoder, draw_weights, make_decoder, make_dictionary, make_encoder
from .options import (
    CATEGORICAL,
    CONTINUOUS,
    COUNTS,
    PATHWISE,
    SAMPLED_COUNTS,
    ActivationOptions,
    BiasOptions,
    CountOptions,
    DecoderOptions,
    DivergenceOptions,
    DriveOptions,
    EncoderOptions,
    Estimator,
    HardForwardOptions,
    IterativeOptions,
    LatentOptions,
    LearnedScaleOptions,
    LikelihoodOptions,
    NeighbourOptions,
    PrecisionOptions,
    RelaxationOptions,
    SamplingOptions,
    SparseCodingOptions,
    StepKLOptions,
)
from .vae import VAE

# Groups that every model has a use for.
COMMON = (LatentOptions, DivergenceOptions, DecoderOptions, LikelihoodOptions)
AMORTIZED = (EncoderOptions, BiasOptions, PrecisionOptions, SamplingOptions, LearnedScaleOptions)
COUNT_OPTIONS = (CountOptions, RelaxationOptions, NeighbourOptions)
AMORTIZED_COUNTS = (*AMORTIZED, *COUNT_OPTIONS, HardForwardOptions)
UNROLLED = (BiasOptions, IterativeOptions, LearnedScaleOptions)


@dataclass(frozen=True)
class ModelSpec:
    """Row of the registry: a model, its traits, its gradient estimators, and the options that it has a use for.

    Attributes:
        estimators: gradient estimators by name, the default first.
        groups: groups of options, beside those of ``COMMON``.
        latent: family of the latents in Pyro; None for a model of the JAX backend, see ``iterative``.
        inference: ``"encoder"``, ``"sparse coding"`` (an optimisation gives the codes) or ``"iterative"``
            (natural-gradient steps, in JAX).
        has_counts: whether the latents are counts.
        has_density: whether the posterior is a distribution, not a point.
    """

    estimators: Mapping[str, Estimator]
    groups: tuple[type, ...]
    latent: type[Latent] | None = None
    inference: Literal["encoder", "sparse coding", "iterative"] = "encoder"
    has_counts: bool = False
    has_density: bool = True


MODELS: dict[str, ModelSpec] = {
    "poisson": ModelSpec(COUNTS, AMORTIZED_COUNTS, PoissonLatent, has_counts=True),
    "negbio": ModelSpec(COUNTS, AMORTIZED_COUNTS, NegativeBinomialLatent, has_counts=True),
    "gaussian": ModelSpec(CONTINUOUS, (*AMORTIZED, ActivationOptions), GaussianLatent),
    "laplace": ModelSpec(CONTINUOUS, AMORTIZED, LaplaceLatent),
    "categorical": ModelSpec(CATEGORICAL, (*AMORTIZED, RelaxationOptions), CategoricalLatent),
} | dict.fromkeys(
    ("lca", "ista", "fista"),
    ModelSpec(PATHWISE, (SparseCodingOptions,), SparseLatent, "sparse coding", has_density=False),
)
MODELS |= {
    "iterative-poisson": ModelSpec(
        SAMPLED_COUNTS,
        (*UNROLLED, DriveOptions, StepKLOptions, *COUNT_OPTIONS),
        inference="iterative",
        has_counts=True,
    ),
    "iterative-negbio": ModelSpec(
        SAMPLED_COUNTS,
        (*UNROLLED, DriveOptions, *COUNT_OPTIONS),
        inference="iterative",
        has_counts=True,
    ),
    "iterative-gaussian": ModelSpec(PATHWISE, (*UNROLLED, ActivationOptions), inference="iterative"),
    "predictive-coding": ModelSpec(PATHWISE, UNROLLED, inference="iterative", has_density=False),
}

LIKELIHOODS: dict[str, type[Likelihood]] = {
    "gaussian": GaussianLikelihood,
    "bernoulli": BernoulliLikelihood,
    "poisson": PoissonLikelihood,
    "negbio": NegativeBinomialLikelihood,
}

_REASONS = {
    "arrival": "only counts have arrival times",
    "arrival-hard": "only counts have arrival times",
    "stein": "the rule is one for counts",
    "unbiased": "the rule is one for counts",
    "gumbel": "its noise chooses among discrete values",
    "straight-through": "their samples carry a gradient of their own",
    "pathwise": "they are discrete",
}


def spec_of(model: str) -> ModelSpec:
    """Returns the row of a model.

    Raises:
        InputError: naming ``model``, if there is no such model.
    """
    if model not in MODELS:
        raise InputError("model", repr(model), f"one of {', '.join(MODELS)}")
    return MODELS[model]


def check_estimator(model: str, estimator: str) -> None:
    """Checks that a model knows a gradient estimator.

    Raises:
        InputError: naming ``estimator`` and the reason.
    """
    known = MODELS[model].estimators
    if estimator not in known:
        reason = _REASONS.get(estimator, "unknown")
        raise InputError("estimator", f"{estimator!r} for {model} latents ({reason})", f"one of {', '.join(known)}")


def check_use(model: str, given: Mapping[str, Any], common: tuple[type, ...] = ()) -> None:
    """Checks options that were given: whether they exist, the model has a use for them, and accepts their values.

    Args:
        model: name of the model.
        given: values by the names of the options.
        common: groups of options that every model has a use for, beside ``COMMON``.

    Raises:
        InputError: naming the option.
    """
    own = options_of(*common, *COMMON, *spec_of(model).groups)
    every = own | options_of(*(group for spec in MODELS.values() for group in spec.groups))
    for name, value in given.items():
        if name not in every:
            raise InputError(name, shown(value), f"one of the options {', '.join(own)}")
        every[name].check(value)
        if name not in own:
            users = [user for user, spec in MODELS.items() if name in options_of(*spec.groups)]
            raise InputError(name, f"{shown(value)} with --model {model}", f"--model {listed(users)}")


def check_condition(option: Option, value: Any, facts: Mapping[str, Any]) -> None:
    """Checks that an option that was given has a use beside the other options.

    Raises:
        InputError: naming the option, and the option on which its use depends.
    """
    condition = option.used_with
    if condition is not None and not condition.holds(facts):
        decider = f"--{condition.option.replace('_', '-')}"
        raise InputError(
            option.name, f"{shown(value)} with {decider} {facts[condition.option]}", f"{decider} {condition.expected}"
        )


def likelihood_name(likelihood: Likelihood) -> str:
    """Returns the name of an observation distribution, its key in ``LIKELIHOODS``."""
    return next(name for name, kind in LIKELIHOODS.items() if type(likelihood) is kind)


def shown(value: Any) -> str:
    """Returns a value as errors show it: text in quotes, truth as in JSON."""
    return repr(value).lower() if isinstance(value, bool) else repr(value)


def make_vae(
    model: str,
    shape: Sequence[int],
    *,
    shared_dispersion: bool = True,
    missing: bool = False,
    infer: Callable[[Tensor, Tensor], Tensor] | None = None,
    **options: Any,
) -> VAE:
    """Builds a VAE by the names of its parts.

    Args:
        model: name of the model, a key of ``MODELS`` with latents in Pyro.
        shape: shape of one observation, (D,) or (channels, height, width).
        shared_dispersion: whether the posterior keeps the prior's total_count (negative binomial only).
        missing: whether values may be missing (NaN), see ``VAE``.
        infer: function that gives codes (N, K) of data (N, D) for a dictionary (D, K), in the place of an encoder;
            needed by the models of sparse coding and by them alone, whose linear decoder has columns of unit norm.
        options: any of the model's options, see ``options``: ``latent_dim``, ``estimator`` (``"score"`` brings a
            baseline network, for ``ScoreFunction_ELBO``; ``"exact"`` is trained through ``CollapsedVAE``), ``encoder``
            and ``decoder`` (``"mlp"`` unless given), ``output`` (``"identity"`` unless given), ``likelihood``,
            ``scale`` and so on.

    Raises:
        InputError: naming the argument that is out of range, or an option that the model has no use for.
    """
    spec = spec_of(model)
    if spec.latent is None:
        with_latents = [name for name, row in MODELS.items() if row.latent is not None]
        raise InputError("model", repr(model), f"one of {', '.join(with_latents)}")
    if (infer is None) == (spec.inference == "sparse coding"):
        raise InputError("infer", infer, f"{'a function' if infer is None else 'None'} for {model}")
    options = {name: value for name, value in options.items() if value is not None}
    check_use(model, options)
    chosen = Options(
        {"estimator": next(iter(spec.estimators)), "kl": "shared" if shared_dispersion else "mc"} | options
    )
    check_estimator(model, chosen[LatentOptions].estimator)
    latent = spec.latent.build(chosen)
    noise = make_likelihood(shape, chosen)
    if infer is not None:
        dictionary = make_dictionary(latent.latent_dim, shape)
        return VAE(SparseEncoder(dictionary, infer), latent, dictionary, noise, shape)
    networks, decoder = chosen[EncoderOptions], chosen[DecoderOptions]
    encoder_kind, decoder_kind = networks.encoder or "mlp", decoder.decoder or "mlp"
    layers = LayerOptions(chosen[BiasOptions].bias, networks.weight_norm, decoder.blocks)
    encoder = make_encoder(encoder_kind, shape, latent.features, layers)
    if networks.encoder_init is not None:
        draw_weights(encoder, networks.encoder_init)
    return VAE(
        encoder,
        latent,
        make_decoder(decoder_kind, latent.latent_dim, shape, layers, decoder.output or "identity"),
        noise,
        shape,
        Baseline(shape) if chosen[LatentOptions].estimator == "score" else None,
        networks.input_dropout or 0.0,
        missing,
        chosen[PrecisionOptions].precision,
    )


def make_likelihood(shape: Sequence[int], options: Options) -> Likelihood:
    """Builds the observation distribution of data of a shape.

    Raises:
        InputError: naming ``likelihood``, if there is no such distribution, or ``scale``.
    """
    chosen = options[LikelihoodOptions]
    if chosen.likelihood not in LIKELIHOODS:
        raise InputError("likelihood", repr(chosen.likelihood), f"one of {', '.join(LIKELIHOODS)}")
    return LIKELIHOODS[chosen.likelihood].build(shape, chosen.scale, options[LearnedScaleOptions].learn_scale)
