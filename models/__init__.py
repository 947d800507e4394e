"""Pyro programs, and the registries by which the command line finds them."""

from collections.abc import Callable, Sequence
from typing import Literal

from torch import Tensor

from pyrocount.errors import InputError

from .baseline import Baseline
from .collapsed import CollapsedVAE, expected_prediction
from .latents import (
    CategoricalLatent,
    CountLatent,
    GaussianLatent,
    LaplaceLatent,
    Latent,
    LatentOptions,
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
from .networks import SparseEncoder, Style, linear_weight, make_decoder, make_dictionary, make_encoder
from .vae import VAE

__all__ = [
    "ITERATIVE",
    "LIKELIHOODS",
    "MODELS",
    "VAE",
    "BernoulliLikelihood",
    "CategoricalLatent",
    "CollapsedVAE",
    "CountLatent",
    "GaussianLatent",
    "GaussianLikelihood",
    "LaplaceLatent",
    "Latent",
    "LatentOptions",
    "Likelihood",
    "NegativeBinomialLatent",
    "NegativeBinomialLikelihood",
    "PoissonLatent",
    "PoissonLikelihood",
    "SparseLatent",
    "check_estimator",
    "estimators_of",
    "expected_prediction",
    "linear_weight",
    "make_decoder",
    "make_encoder",
    "make_vae",
]

MODELS: dict[str, type[Latent]] = {
    "poisson": PoissonLatent,
    "negbio": NegativeBinomialLatent,
    "gaussian": GaussianLatent,
    "laplace": LaplaceLatent,
    "categorical": CategoricalLatent,
    "lca": SparseLatent,
    "ista": SparseLatent,
    "fista": SparseLatent,
}

_COUNT_ESTIMATORS = ("stein", "arrival", "arrival-hard", "gumbel", "straight-through")

# Models without an encoder, in NumPyro, and their gradient estimators, the default first; see ``iterative``, which
# brings JAX.
ITERATIVE: dict[str, tuple[str, ...]] = {
    "iterative-poisson": _COUNT_ESTIMATORS,
    "iterative-negbio": _COUNT_ESTIMATORS,
    "iterative-gaussian": ("pathwise",),
    "predictive-coding": ("pathwise",),
}

# Each makes a likelihood from the shape of an observation, a scale, and whether the scale is learned.
LIKELIHOODS: dict[str, Callable[[Sequence[int], float, bool], Likelihood]] = {
    "gaussian": lambda shape, scale, learned: GaussianLikelihood(scale, learned),
    "bernoulli": lambda shape, scale, learned: BernoulliLikelihood(),
    "poisson": lambda shape, scale, learned: PoissonLikelihood(shape),
    "negbio": lambda shape, scale, learned: NegativeBinomialLikelihood(shape),
}

_REASONS = {
    "arrival": "only counts have arrival times",
    "arrival-hard": "only counts have arrival times",
    "stein": "the rule is one for counts",
    "gumbel": "its noise chooses among discrete values",
    "straight-through": "their samples carry a gradient of their own",
    "pathwise": "they are discrete",
}


def estimators_of(model: str) -> tuple[str, ...]:
    """The gradient estimators of a model by its name, its default first."""
    return ITERATIVE[model] if model in ITERATIVE else MODELS[model].estimators


def check_estimator(model: str, estimator: str) -> None:
    """Checks that a family knows an estimator.

    Raises:
        InputError: naming ``estimator`` and the reason.
    """
    if estimator not in (known := estimators_of(model)):
        reason = _REASONS.get(estimator, "unknown")
        raise InputError("estimator", f"{estimator!r} for {model} latents ({reason})", f"one of {', '.join(known)}")


def make_vae(
    model: str,
    shape: Sequence[int],
    *,
    latent_dim: int,
    estimator: str | None = None,
    temperature: float = 0.1,
    indicator: Literal["cubic", "sigmoid"] = "cubic",
    max_count: int = 30,
    shared_dispersion: bool = True,
    activation: str = "identity",
    initial_rate: float = LatentOptions.initial_rate,
    encoder: str = "mlp",
    decoder: str = "mlp",
    output: str = "identity",
    weight_norm: bool = False,
    blocks: int = 0,
    likelihood: str = "gaussian",
    scale: float = 0.5**0.5,
    learn_scale: bool = False,
    infer: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> VAE:
    """Builds a VAE by the names of its parts.

    Args:
        model: latent family, a key of ``MODELS``.
        shape: shape of one observation, (D,) or (channels, height, width).
        latent_dim: number of latents.
        estimator: of the gradient, one of the family's ``estimators``; by default the first. ``"score"`` brings a
            baseline network, for ``ScoreFunction_ELBO``; ``"exact"`` is trained through ``CollapsedVAE``.
        temperature: of the estimators that have one.
        indicator: of the arrival times, ``"cubic"`` or ``"sigmoid"``.
        max_count: largest count of ``"gumbel"``.
        shared_dispersion: whether the posterior keeps the prior's total_count (negative binomial only).
        activation: on Gaussian samples: ``"identity"``, ``"relu"``, ``"softplus"`` or ``"exp"``.
        initial_rate: about which the prior's mean counts start.
        encoder: ``"lin"``, ``"mlp"`` or ``"conv"``. Where encoder and decoder are linear and the noise is Gaussian,
            neither has a bias.
        decoder: likewise.
        output: ``"identity"``, ``"sigmoid"`` or ``"tanh"``, to fit the range of the data.
        weight_norm: whether layers are weight-normalised.
        blocks: residual blocks at each size of the image, in convolutional networks.
        likelihood: a key of ``LIKELIHOODS``.
        scale: standard deviation of the Gaussian likelihood, in units of the data.
        learn_scale: whether it is a parameter.
        infer: codes (N, K) of data (N, D) for a dictionary (D, K), in the place of an encoder; needed by the models of
            sparse coding and by them alone, whose linear decoder has columns of unit norm.

    Raises:
        InputError: naming the argument that is out of range.
    """
    for name, value, table in (("model", model, MODELS), ("likelihood", likelihood, LIKELIHOODS)):
        if value not in table:
            raise InputError(name, repr(value), f"one of {', '.join(table)}")
    family = MODELS[model]
    if (infer is None) == issubclass(family, SparseLatent):
        raise InputError("infer", infer, f"{'a function' if infer is None else 'None'} for {model}")
    estimator = family.estimators[0] if estimator is None else estimator
    check_estimator(model, estimator)
    options = LatentOptions(estimator, temperature, indicator, max_count, shared_dispersion, activation, initial_rate)
    latent = family.build(latent_dim, options)
    noise = LIKELIHOODS[likelihood](shape, scale, learn_scale)
    if infer is not None:
        dictionary = make_dictionary(latent_dim, shape)
        return VAE(SparseEncoder(dictionary, infer), latent, dictionary, noise, shape)
    bias = not (encoder == decoder == "lin" and likelihood == "gaussian")
    style = Style(bias, weight_norm, blocks)
    return VAE(
        make_encoder(encoder, shape, latent.features, style),
        latent,
        make_decoder(decoder, latent_dim, shape, style, output),
        noise,
        shape,
        Baseline(shape) if estimator == "score" else None,
    )
