"""NumPyro programs that iterative inference works on: a prior of K latents, a decoder and a likelihood.

Their parameters are a flat dictionary of arrays: ``prior.*``, ``decoder.*`` with the names of the Pyro decoder of the
same kind, ``likelihood.*``, and ``step.*``, which inference takes.
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
    """A generative model without an encoder.

    Args:
        kind: of the latents: ``"iterative-poisson"``, ``"iterative-negbio"``, ``"iterative-gaussian"`` or
            ``"predictive-coding"``.
        latent_dim: number of latents K.
        shape: of one observation.
        decoder: from latents to predictions.
        likelihood: ``"gaussian"``, ``"bernoulli"``, ``"poisson"`` or ``"negbio"``, as in ``likelihoods``.
        activation: on the latents, a key of ``ACTIVATIONS``.
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
        """Whether the likelihood is Gaussian around a linear map of the latents."""
        return self.decoder.is_linear and self.likelihood == "gaussian" and self.activation == "identity"

    @property
    def has_counts(self) -> bool:
        """Whether the latents are counts."""
        return self.kind in ("iterative-poisson", "iterative-negbio")

    def prior(self, parameters: Parameters) -> Any:
        """The prior of one observation, batch shape (K,)."""
        return _PRIORS[self.kind](part_of(parameters, "prior"))

    def decode(self, parameters: Parameters, z: Array) -> Array:
        """The predictions (N, \\*shape) of latents (N, K): what the likelihood takes."""
        return self.decoder(part_of(parameters, "decoder"), self.active(z))

    def active(self, z: Array) -> Array:
        """What the decoder sees of latents, of their shape."""
        return ACTIVATIONS[self.activation](z)

    def law(self, parameters: Parameters, z: Array, exposure: Array | None = None) -> Any:
        """The distribution of the data given latents (N, K), batch shape (N, \\*shape).

        Args:
            parameters: of the model.
            z: latents.
            exposure: length of each observation's window, shape (N,), for likelihoods of counts; by default 1.
        """
        windows = None if exposure is None else exposure.reshape(-1, *(1,) * len(self.shape))
        return _LIKELIHOODS[self.likelihood](self.decode(parameters, z), part_of(parameters, "likelihood"), windows)

    def program(
        self,
        parameters: Parameters,
        x: Array,
        exposure: Array | None = None,
    ) -> None:
        """The generative program of data (N, \\*shape), with latents ``z`` and observations ``x``."""
        with numpyro.plate("data", len(x)):
            z = numpyro.sample("z", self.prior(parameters).to_event(1))
            numpyro.sample("x", self.law(parameters, z, exposure).to_event(len(self.shape)), obs=x)

    def dictionary(self, parameters: Parameters) -> Array:
        """The decoder's response to one unit of activity in each latent, over that to none, shape (K, \\*shape)."""
        own = part_of(parameters, "decoder")
        units = jnp.eye(self.latent_dim)
        return self.decoder(own, units) - self.decoder(own, jnp.zeros_like(units[:1]))

    def linear_map(self, parameters: Parameters) -> tuple[Array, Array, Array]:
        """Dictionary (K, D), offset (D,) or () and noise scale of a linear model."""
        own = part_of(parameters, "decoder")
        (weight,) = (value for name, value in own.items() if name.endswith("weight"))
        offset = next((value for name, value in own.items() if name.endswith("bias")), jnp.zeros(()))
        return weight.T, offset, jnp.exp(parameters["likelihood.log_scale"])


def part_of(parameters: Mapping[str, T], part: str) -> dict[str, T]:
    """The parameters of a part, by their names within it."""
    return {name.removeprefix(part + "."): value for name, value in parameters.items() if name.startswith(part + ".")}


def _poisson(own: Parameters) -> RelaxedPoisson:
    return RelaxedPoisson(log_rate=own["log_rate"], relaxation=Discrete(), validate_args=False)


def _negative_binomial(own: Parameters) -> RelaxedNegativeBinomial:
    log_total_count = jnp.clip(own["log_total_count"], -LIMIT, LIMIT)
    return RelaxedNegativeBinomial(
        jnp.exp(log_total_count), logits=own["log_rate"] - log_total_count, relaxation=Discrete(), validate_args=False
    )


def _gaussian(own: Parameters) -> dist.Normal:
    return dist.Normal(own["loc"], jnp.exp(own["log_scale"]), validate_args=False)


def _state(own: Parameters) -> dist.Normal:
    return dist.Normal(own["loc"], 1.0, validate_args=False)


_PRIORS: dict[str, Callable[[Parameters], Any]] = {
    "iterative-poisson": _poisson,
    "iterative-negbio": _negative_binomial,
    "iterative-gaussian": _gaussian,
    "predictive-coding": _state,
}


def _log_rate(prediction: Array, exposure: Array | None) -> Array:
    """The rate is the exponential of the prediction up to ``LINEAR_FROM`` and grows linearly beyond."""
    log_rate = jnp.minimum(prediction, LINEAR_FROM) + jnp.log1p(jnp.maximum(prediction - LINEAR_FROM, 0.0))
    return log_rate if exposure is None else log_rate + jnp.log(exposure)


def _poisson_data(prediction: Array, own: Parameters, exposure: Array | None) -> RelaxedPoisson:
    return RelaxedPoisson(log_rate=_log_rate(prediction, exposure), relaxation=Discrete(), validate_args=False)


def _negative_binomial_data(prediction: Array, own: Parameters, exposure: Array | None) -> RelaxedNegativeBinomial:
    log_total_count = jnp.clip(own["log_total_count"], *LOG_TOTAL_COUNT_RANGE)
    logits = _log_rate(prediction, exposure) - log_total_count
    return RelaxedNegativeBinomial(jnp.exp(log_total_count), logits=logits, relaxation=Discrete(), validate_args=False)


_LIKELIHOODS: dict[str, Callable[[Array, Parameters, Array | None], Any]] = {
    "gaussian": lambda prediction, own, exposure: dist.Normal(
        prediction, jnp.exp(own["log_scale"]), validate_args=False
    ),
    "bernoulli": lambda prediction, own, exposure: dist.BernoulliLogits(prediction, validate_args=False),
    "poisson": _poisson_data,
    "negbio": _negative_binomial_data,
}
