"""NumPyro programs for iterative inference: a prior of K latents, a decoder and a likelihood.

The parameters of a program are a flat dictionary of arrays: ``prior.*``, ``decoder.*`` with the same names as in the
Pyro decoder of the same kind, ``likelihood.*``, and ``step.*``, which only the inference uses.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax import Array

from pyrocount.errors import InputError
from pyrocount.numpyro import RelaxedNegativeBinomial, RelaxedPoisson
from pyrocount.numpyro.relaxations import Discrete

from .jax_networks import JaxDecoder
from .latents.counts import LIMIT
from .likelihoods import LINEAR_FROM, LOG_TOTAL_COUNT_RANGE
from .registry import LIKELIHOODS

T = TypeVar("T")
Parameters = Mapping[str, Array]

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "identity": lambda z: z,
    "relu": jax.nn.relu,
    "softplus": jax.nn.softplus,
    "exp": jnp.exp,
}


@dataclass(frozen=True)
class IterativeModel:
    """Generative model without an encoder.

    Args:
        kind: kind of the latents: ``"iterative-poisson"``, ``"iterative-negbio"``, ``"iterative-gaussian"`` or
            ``"predictive-coding"``.
        latent_dim: number of latents K.
        shape: shape of one observation.
        decoder: JAX function from latents to predictions.
        likelihood: ``"gaussian"``, ``"bernoulli"``, ``"poisson"`` or ``"negbio"``, as in the module ``likelihoods``.
        activation: activation on the latents, a key of ``ACTIVATIONS``.

    Raises:
        InputError: if the kind, the likelihood or the activation is unknown.
    """

    kind: str
    latent_dim: int
    shape: tuple[int, ...]
    decoder: JaxDecoder
    likelihood: str = "gaussian"
    activation: str = "identity"

    def __post_init__(self) -> None:
        for name, value, known in (
            ("kind", self.kind, _PRIORS),
            ("likelihood", self.likelihood, _LIKELIHOODS),
            ("activation", self.activation, ACTIVATIONS),
        ):
            if value not in known:
                raise InputError(name, repr(value), f"one of {', '.join(known)}")

    @property
    def is_linear(self) -> bool:
        """Returns whether the likelihood is Gaussian around a linear map of the latents."""
        return self.decoder.is_linear and self.likelihood == "gaussian" and self.activation == "identity"

    @property
    def has_counts(self) -> bool:
        """Returns whether the latents are counts."""
        return self.kind in ("iterative-poisson", "iterative-negbio")

    def prior(self, parameters: Parameters) -> Any:
        """Returns the prior of the latents of one observation, batch shape (K,)."""
        return _PRIORS[self.kind](parameters_of(parameters, "prior"))

    def decode(self, parameters: Parameters, z: Array) -> Array:
        """Returns the predictions (N, \\*shape) from latents (N, K), which the likelihood takes as its input."""
        return self.decoder(parameters_of(parameters, "decoder"), self.activity(z))

    def activity(self, z: Array) -> Array:
        """Returns the input of the decoder for latents, of the same shape as the latents."""
        return ACTIVATIONS[self.activation](z)

    def observation_distribution(self, parameters: Parameters, z: Array, exposure: Array | None = None) -> Any:
        """Returns the distribution of the data given latents (N, K), batch shape (N, \\*shape).

        Args:
            parameters: parameters of the model.
            z: latents, shape (N, K).
            exposure: length of each observation's window, shape (N,), for likelihoods of counts; by default 1.
        """
        windows = None if exposure is None else exposure.reshape(-1, *(1,) * len(self.shape))
        return _LIKELIHOODS[self.likelihood](
            self.decode(parameters, z), parameters_of(parameters, "likelihood"), windows
        )

    def program(
        self,
        parameters: Parameters,
        x: Array,
        exposure: Array | None = None,
    ) -> None:
        """Runs the generative program of data (N, \\*shape), with latents ``z`` and observations ``x``.

        Counts may be missing (NaN); these are left out of the likelihood.
        """
        with numpyro.plate("data", len(x)):
            z = numpyro.sample("z", self.prior(parameters).to_event(1))
            observed = self.observation_distribution(parameters, z, exposure)
            if LIKELIHOODS[self.likelihood].is_count:
                # Missing counts are left out.
                observed, x = observed.mask(~jnp.isnan(x)), jnp.where(jnp.isnan(x), 0.0, x)
            numpyro.sample("x", observed.to_event(len(self.shape)), obs=x)

    def dictionary(self, parameters: Parameters) -> Array:
        """Returns the decoder's responses to one unit of activity in each latent, shape (K, \\*shape).

        The response to zero activity is subtracted.
        """
        decoder_parameters = parameters_of(parameters, "decoder")
        units = jnp.eye(self.latent_dim)
        return self.decoder(decoder_parameters, units) - self.decoder(decoder_parameters, jnp.zeros_like(units[:1]))

    def linear_map(self, parameters: Parameters) -> tuple[Array, Array, Array]:
        """Returns the dictionary (K, D), the offset (D,) or () and the noise scale of a linear model."""
        decoder_parameters = parameters_of(parameters, "decoder")
        (weight,) = (value for name, value in decoder_parameters.items() if name.endswith("weight"))
        offset = next((value for name, value in decoder_parameters.items() if name.endswith("bias")), jnp.zeros(()))
        return weight.T, offset, jnp.exp(parameters["likelihood.log_scale"])


def parameters_of(parameters: Mapping[str, T], part: str) -> dict[str, T]:
    """Returns the parameters whose names start with ``part.``, under their names without this prefix."""
    return {name.removeprefix(part + "."): value for name, value in parameters.items() if name.startswith(part + ".")}


def _poisson(parameters: Parameters) -> RelaxedPoisson:
    return RelaxedPoisson(log_rate=parameters["log_rate"], relaxation=Discrete(), validate_args=False)


def _negative_binomial(parameters: Parameters) -> RelaxedNegativeBinomial:
    log_total_count = jnp.clip(parameters["log_total_count"], -LIMIT, LIMIT)
    return RelaxedNegativeBinomial(
        jnp.exp(log_total_count),
        logits=parameters["log_rate"] - log_total_count,
        relaxation=Discrete(),
        validate_args=False,
    )


def _gaussian(parameters: Parameters) -> dist.Normal:
    return dist.Normal(parameters["loc"], jnp.exp(parameters["log_scale"]), validate_args=False)


def _unit_gaussian(parameters: Parameters) -> dist.Normal:
    return dist.Normal(parameters["loc"], 1.0, validate_args=False)


_PRIORS: dict[str, Callable[[Parameters], Any]] = {
    "iterative-poisson": _poisson,
    "iterative-negbio": _negative_binomial,
    "iterative-gaussian": _gaussian,
    "predictive-coding": _unit_gaussian,
}


def _log_rate(prediction: Array, exposure: Array | None) -> Array:
    """Returns the log of a rate that is exponential in the prediction up to ``LINEAR_FROM`` and linear beyond."""
    log_rate = jnp.minimum(prediction, LINEAR_FROM) + jnp.log1p(jnp.maximum(prediction - LINEAR_FROM, 0.0))
    return log_rate if exposure is None else log_rate + jnp.log(exposure)


def _poisson_data(prediction: Array, parameters: Parameters, exposure: Array | None) -> RelaxedPoisson:
    return RelaxedPoisson(log_rate=_log_rate(prediction, exposure), relaxation=Discrete(), validate_args=False)


def _negative_binomial_data(
    prediction: Array, parameters: Parameters, exposure: Array | None
) -> RelaxedNegativeBinomial:
    log_total_count = jnp.clip(parameters["log_total_count"], *LOG_TOTAL_COUNT_RANGE)
    logits = _log_rate(prediction, exposure) - log_total_count
    return RelaxedNegativeBinomial(jnp.exp(log_total_count), logits=logits, relaxation=Discrete(), validate_args=False)


_LIKELIHOODS: dict[str, Callable[[Array, Parameters, Array | None], Any]] = {
    "gaussian": lambda prediction, parameters, exposure: dist.Normal(
        prediction, jnp.exp(parameters["log_scale"]), validate_args=False
    ),
    "bernoulli": lambda prediction, parameters, exposure: dist.BernoulliLogits(prediction, validate_args=False),
    "poisson": _poisson_data,
    "negbio": _negative_binomial_data,
}
