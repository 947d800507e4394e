"""Groups of the options of models, and the one table of gradient estimators for both backends."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pyrocount.options import (
    FRACTION,
    NONNEGATIVE_NUMBER,
    POSITIVE_NUMBER,
    POSITIVE_WHOLE_NUMBER,
    USUAL,
    WHOLE_NUMBER,
    Accepted,
    UsedWith,
    listed,
)


@dataclass(frozen=True)
class Estimator:
    """Gradient estimator, and the relaxation that samples counts for it in training.

    Attributes:
        relaxation: name of the relaxation's class, the same in ``pyrocount.distributions`` and ``pyrocount.numpyro``.
        options: names of the options that it takes.
        fixed: its other arguments.
    """

    relaxation: str = "Discrete"
    options: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)


# Stein-Chen is the default: of the estimators for all decoders it has the least bias and spread together. With a
# linear decoder on whitened patches its held-out loss is 1 to 2 % below that of arrival times, in less time and
# without a temperature; on the digits the two are equal. The identity (straight-through) may be ahead in a short
# training, but its bias stays: the papers find it 7 to 9 % behind in the end.
SAMPLED_COUNTS = {
    "stein": Estimator("SteinChen"),
    "arrival": Estimator("ArrivalTimes", ("temperature", "indicator")),
    "arrival-hard": Estimator("ArrivalTimes", ("temperature", "indicator"), {"hard": True}),
    "gumbel": Estimator("GumbelSoftmax", ("temperature", "max_count")),
    "straight-through": Estimator("StraightThrough"),
    "unbiased": Estimator("SteinChen"),
}
# Estimators that draw nothing from a relaxation: Pyro's score function, and the exact expectation.
UNRELAXED = {"score": Estimator(), "exact": Estimator()}
# Estimators by the kind of latents, the default first.
COUNTS = SAMPLED_COUNTS | UNRELAXED
CATEGORICAL = {
    "gumbel": Estimator(options=("temperature",)),
    "straight-through": Estimator(options=("temperature",)),
} | UNRELAXED
PATHWISE = {"pathwise": Estimator()}
CONTINUOUS = PATHWISE | UNRELAXED
ESTIMATORS = tuple(dict.fromkeys([*COUNTS, *CATEGORICAL, *CONTINUOUS]))


def _by_estimator(name: str) -> UsedWith:
    users = [estimator for estimator, row in COUNTS.items() if name in row.options]
    expected = listed(users) if name == "temperature" else f"{listed(users)} of a model of counts"
    return UsedWith("estimator", lambda facts: name in facts["relaxation_options"], expected)


@dataclass(frozen=True)
class LatentOptions:
    """Options of the latents of every model."""

    latent_dim: Annotated[int, "number of latents", POSITIVE_WHOLE_NUMBER] = 32
    estimator: Annotated[
        str,
        "gradient through the latents: relaxed arrival times, the same with exact counts forward, Gumbel-softmax, "
        "exact counts with the Stein-Chen rule, the same with its bias removed by the loss at neighbouring counts, "
        "exact counts with the gradient of their mean, the pathwise gradient of continuous latents, the score function "
        "with a baseline, the exact expectation (linear decoder and Gaussian "
        "likelihood); by default stein for counts, gumbel for categorical, else pathwise",
    ] = USUAL


@dataclass(frozen=True)
class DivergenceOptions:
    """Options of the divergence of the posterior from the prior."""

    kl: Annotated[
        Literal["shared", "exact", "mc"],
        "shared: closed form, a negative-binomial posterior keeps the prior's dispersion; its dispersion is free with "
        "exact (an integral) and mc (Monte Carlo); by default exact; mc for score, and "
        "for negbio with sampled gradients, but there exact with gumbel, and shared with score",
    ] = USUAL


@dataclass(frozen=True)
class CountOptions:
    """Options of latent counts."""

    # On the digits (150 epochs) negative-binomial latents end at a NELBO of 56.0 from .22, 55.1 from .5, 54.6 from
    # 1, and Poisson latents at 57.6 from each: latents of small rates are slow to be used. From 1, counts of a
    # Gumbel-softmax pass its cap and run away.
    initial_rate: Annotated[
        float,
        "mean count of a latent under the prior, at the start of training; by default 10 for recordings with linear "
        "networks, else .5 where there is an encoder, and .22 where there is none",
        POSITIVE_NUMBER,
    ] = USUAL
    initial_spread: Annotated[
        float | None,
        "largest distance of the log of a latent's first mean count from the log of --initial-rate, within which it is "
        "drawn uniformly; by default .5 where there is an encoder, and 1 where there is none",
        NONNEGATIVE_NUMBER,
    ] = None


@dataclass(frozen=True)
class RelaxationOptions:
    """Options of the relaxations through which discrete latents are trained."""

    # On the digits, negative-binomial arrivals end at a NELBO of 56.3, 56.1, 56.1 and 56.2 with .05, .1, .5 and 1,
    # means of two seeds: .1 is as good as any, and its counts are close to those of evaluation.
    temperature: Annotated[
        float,
        "temperature of the relaxation, annealed from 1 (arrival, gumbel, and straight-through of categorical)",
        POSITIVE_NUMBER,
        _by_estimator("temperature"),
    ] = 0.1
    temperature_schedule: Annotated[
        Literal["linear", "exponential"], "schedule by which the temperature is annealed", _by_estimator("temperature")
    ] = "linear"
    temperature_anneal: Annotated[
        float | None,
        "part of training over which the temperature is annealed; by default that of --anneal",
        FRACTION,
        _by_estimator("temperature"),
    ] = None
    indicator: Annotated[
        Literal["cubic", "sigmoid"],
        "weight of an arrival near the end of the window (arrival only)",
        _by_estimator("indicator"),
    ] = "cubic"
    max_count: Annotated[
        int, "largest relaxed count (gumbel only)", POSITIVE_WHOLE_NUMBER, _by_estimator("max_count")
    ] = 30


@dataclass(frozen=True)
class HardForwardOptions:
    """Options of relaxed counts that become exact in the forward pass while a model trains."""

    hard_after: Annotated[
        float,
        "part of training after which counts are exact in the forward pass and keep the gradient of relaxed ones, as "
        "from the start with arrival-hard; by default never (arrival only)",
        FRACTION,
        UsedWith("estimator", lambda facts: facts["estimator"] == "arrival", "arrival"),
    ] = 1.0


@dataclass(frozen=True)
class NeighbourOptions:
    """Options of the unbiased gradient of counts."""

    neighbours: Annotated[
        int,
        "latents of each observation whose gradient is corrected in a step, each at the cost of a pass through the "
        "decoder (unbiased only)",
        POSITIVE_WHOLE_NUMBER,
        UsedWith("estimator", lambda facts: facts["estimator"] == "unbiased", "unbiased"),
    ] = 1


@dataclass(frozen=True)
class ActivationOptions:
    """Options of Gaussian latents."""

    activation: Annotated[
        Literal["identity", "relu", "softplus", "exp"],
        "activation on the samples of Gaussian latents (gaussian, iterative-gaussian)",
    ] = "identity"


@dataclass(frozen=True)
class EncoderOptions:
    """Options of models with an encoder."""

    encoder: Annotated[
        Literal["lin", "mlp", "conv"],
        "network from data to posterior: linear, perceptron, convolutional; by default lin for recordings, else mlp, "
        "none in sparse coding and iterative inference",
    ] = USUAL
    encoder_init: Annotated[
        float | None,
        "standard deviation of the encoder's first weights, which are then Gaussian around 0; by default each layer's "
        "usual initialisation",
        POSITIVE_NUMBER,
    ] = None
    weight_norm: Annotated[bool, "normalise the weights of all layers"] = False
    input_dropout: Annotated[
        float,
        "probability with which a value of an observation is hidden from the encoder in training; by default .25 for "
        "recordings with linear networks, else 0",
        Accepted(lambda value: 0 <= value < 1, "a number from 0 to below 1"),
    ] = USUAL


@dataclass(frozen=True)
class PrecisionOptions:
    """Options of the arithmetic of models with an encoder."""

    # A step with convolutions on MNIST (K 256) takes .57 of the time of float32 on a CPU with AVX512_BF16, linear
    # layers take .8.
    precision: Annotated[
        Literal["float32", "bf16"],
        "arithmetic of encoder and decoder in training: bf16 is faster where the processor has it; distributions, "
        "losses, weights and evaluation stay in float32",
    ] = "float32"


@dataclass(frozen=True)
class DecoderOptions:
    """Options of the decoder of every model."""

    decoder: Annotated[
        Literal["lin", "mlp", "conv"],
        "network from latents to data, likewise; by default lin for recordings and where there is no encoder, else mlp",
    ] = USUAL
    output: Annotated[
        Literal["identity", "sigmoid", "tanh"],
        "last step of the decoder; by default what fits the range of the data, and identity for linear decoders",
    ] = USUAL
    blocks: Annotated[
        int,
        "residual blocks at each size of the image, in convolutional networks",
        WHOLE_NUMBER,
        UsedWith("decoder", lambda facts: "conv" in (facts.get("encoder"), facts["decoder"]), "conv or --encoder conv"),
    ] = 0


@dataclass(frozen=True)
class BiasOptions:
    """Options of linear networks."""

    bias: Annotated[
        bool,
        "learned biases of linear networks",
        UsedWith("decoder", lambda facts: "lin" in (facts.get("encoder"), facts["decoder"]), "lin or --encoder lin"),
    ] = True


@dataclass(frozen=True)
class LikelihoodOptions:
    """Options of the observation distribution."""

    likelihood: Annotated[str, "distribution of the data given the decoder's output; the last two are for counts"] = (
        "gaussian"
    )
    scale: Annotated[
        float,
        "standard deviation of the Gaussian likelihood, in units of the (scaled) data; at sqrt(1/2) the loss is the "
        "sum of squared errors",
        POSITIVE_NUMBER,
        UsedWith("likelihood", lambda facts: facts["likelihood"] == "gaussian", "gaussian"),
    ] = math.sqrt(0.5)


@dataclass(frozen=True)
class LearnedScaleOptions:
    """Options of models whose noise scale can be learned."""

    learn_scale: Annotated[
        bool,
        "learn the scale, from there",
        UsedWith("likelihood", lambda facts: facts["likelihood"] == "gaussian", "gaussian"),
    ] = False


@dataclass(frozen=True)
class SamplingOptions:
    """Options of models that are trained through samples of an encoder's posterior."""

    samples: Annotated[
        int,
        "Monte Carlo samples of the latents of each observation, in training",
        POSITIVE_WHOLE_NUMBER,
        UsedWith("estimator", lambda facts: facts["estimator"] != "exact", "that samples the latents"),
    ] = 1
    kl_samples: Annotated[
        int | None,
        "samples of the KL divergence of each observation, in training, which no decoder sees; by default the "
        "divergence is that of --samples",
        POSITIVE_WHOLE_NUMBER,
        UsedWith("kl", lambda facts: facts["kl"] == "mc", "mc"),
    ] = None


@dataclass(frozen=True)
class SparseCodingOptions:
    """Options of sparse coding."""

    inference_steps: Annotated[int, "steps of the inference of codes (lca, ista, fista)", POSITIVE_WHOLE_NUMBER] = 200


@dataclass(frozen=True)
class IterativeOptions:
    """Options of iterative inference."""

    train_steps: Annotated[
        int, "steps of iterative inference in training, through which gradients flow", POSITIVE_WHOLE_NUMBER
    ] = 16
    test_steps: Annotated[int, "steps of iterative inference in testing", POSITIVE_WHOLE_NUMBER] = 1000
    step_size: Annotated[
        float, "size of the steps of iterative inference, at first; it is learned", POSITIVE_NUMBER
    ] = 0.5
    leak: Annotated[
        float | None,
        "weight of the divergence from the prior in the steps of iterative inference; by default 1 for "
        "predictive-coding, none otherwise: the posterior of a step is the prior of the next",
        POSITIVE_NUMBER,
    ] = None


@dataclass(frozen=True)
class DriveOptions:
    """Options of iterative inference of counts."""

    drive: Annotated[
        Literal["sampled", "exact"],
        "drive of the iterative inference of counts: sampled, the gradient at the sampled counts, and a learned bias; "
        "exact, the natural gradient with what the variance of the counts contributes",
    ] = "sampled"


@dataclass(frozen=True)
class StepKLOptions:
    """Options of the iterative inference of Poisson counts."""

    step_kl: Annotated[
        Literal["prior", "posterior"],
        "rates that weigh the divergence of a step of iterative-poisson: those before the step, of its prior, as the "
        "divergence has them; or those after it, of its posterior, as in the papers' code",
    ] = "prior"


def make_relaxation(estimator: str, options: RelaxationOptions, classes: object) -> Any:
    """Builds the relaxation that samples counts in training.

    Args:
        estimator: name of a gradient estimator of counts.
        options: options of the relaxations.
        classes: module with the classes of a backend: ``pyrocount.distributions`` or ``pyrocount.numpyro.relaxations``.
    """
    row = COUNTS[estimator]
    return getattr(classes, row.relaxation)(**{name: getattr(options, name) for name in row.options}, **row.fixed)
