"""Objectives of iterative inference: negative log likelihoods of any NumPyro program, or in closed form."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import Array, lax
from numpyro import handlers
from numpyro.distributions import Distribution

from pyrocount.errors import InputError


class Terms(NamedTuple):
    """Value, prediction and gradient of an objective for latents (N, ...) of N observations.

    Attributes:
        nll: negative log likelihood, in nats, shape (N,).
        prediction: mean of the data given the latents, shape (N, \\*shape).
        gradient: gradient of the summed negative log likelihood, of the shape of the latents.
    """

    nll: Array
    prediction: Array
    gradient: Array


class Objective(Protocol):
    """Negative log likelihood f of latents given data; a pytree."""

    def __call__(self, z: Array, *data: Array) -> Terms:
        """Computes the negative log likelihood of latents (N, ...), and its gradient."""
        ...

    def differences(self, z: Array, terms: Terms, *data: Array) -> Array:
        """Computes f(z + e_k) - f(z) for each latent k, of the shape of ``z``, given the terms at ``z``."""
        ...


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LinearGaussian:
    r"""Objective of data with Gaussian noise around a linear map of the latents.

    .. math:: f(z) = \frac{\lVert x - \Phi z - b \rVert^2}{2 \sigma^2} + \frac D2 \log 2 \pi \sigma^2, \qquad
        f(z + e_k) - f(z) = f_k'(z) + \frac{\lVert \Phi_k \rVert^2}{2 \sigma^2}

    Args:
        dictionary: dictionary, shape (K, D), the transpose of :math:`\Phi`.
        offset: offset b of the data, shape (D,) or ().
        scale: standard deviation sigma of the noise.
    """

    dictionary: Array
    offset: Array
    scale: Array

    def __call__(self, z: Array, *data: Array) -> Terms:
        """Computes the negative log likelihood of latents (N, K) given data (N, \\*shape), and its gradient."""
        x = data[0]
        prediction = z @ self.dictionary + self.offset
        precision = 1 / self.scale**2
        residual = x.reshape(prediction.shape) - prediction
        constant = prediction.shape[1] * (jnp.log(self.scale) + math.log(2 * math.pi) / 2)
        nll = precision / 2 * jnp.square(residual).sum(1) + constant
        return Terms(nll, prediction.reshape(x.shape), -precision * (residual @ self.dictionary.T))

    def differences(self, z: Array, terms: Terms, *data: Array) -> Array:
        """Computes f(z + e_k) - f(z) for each latent k: the gradient plus half the curvature."""
        return terms.gradient + jnp.square(self.dictionary).sum(1) / (2 * self.scale**2)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Program:
    """Objective given by the observed sites of a NumPyro program with one latent site.

    The leading axis of the sites is that of the observations.

    Args:
        model: NumPyro program, a ``jax.tree_util.Partial``, whose arguments may be traced.
        site: name of the latent site.
    """

    model: Any
    site: str = field(metadata={"static": True})

    def __call__(self, z: Array, *data: Array) -> Terms:
        """Computes the negative log likelihood of latents (N, ...) given the program's arguments, and its gradient."""

        def total(z: Array) -> tuple[Array, tuple[Array, Array]]:
            parts, prediction = self._observed(z, data)
            nll = -jnp.stack([part.reshape(len(z), -1).sum(1) for part in parts]).sum(0)
            return nll.sum(), (nll, prediction)

        (_, (nll, prediction)), gradient = jax.value_and_grad(total, has_aux=True)(z)
        return Terms(nll, prediction, gradient)

    def differences(self, z: Array, terms: Terms, *data: Array) -> Array:
        """Computes f(z + e_k) - f(z) for one latent k after the other.

        Each latent takes one evaluation of the program, and the memory does not grow with the number of latents.
        """
        flat = z.reshape(len(z), -1)
        parts, _ = self._observed(z, data)

        def difference(index: Array) -> Array:
            raised, _ = self._observed(flat.at[:, index].add(1.0).reshape(z.shape), data)
            # The difference is taken term by term, as the sums are much larger than their difference.
            changes = [(before - after).reshape(len(z), -1).sum(1) for before, after in zip(parts, raised, strict=True)]
            return jnp.stack(changes).sum(0)

        return lax.map(difference, jnp.arange(flat.shape[1])).T.reshape(z.shape)

    def _observed(self, z: Array, data: tuple[Array, ...]) -> tuple[list[Array], Array]:
        """Returns the log likelihoods of the observed sites, scaled as in the program, and the first site's mean."""
        trace = handlers.trace(handlers.substitute(self.model, {self.site: z})).get_trace(*data)
        observed = [site for site in trace.values() if site["type"] == "sample" and site["is_observed"]]
        parts = [
            site["fn"].log_prob(site["value"]) * (1.0 if site["scale"] is None else site["scale"]) for site in observed
        ]
        return parts, observed[0]["fn"].mean


def latent_site(model: Callable[..., object], *data: Array) -> tuple[str, Distribution]:
    """Returns the name of the one latent site of a program, and the prior at this site.

    Raises:
        InputError: naming ``model``, if the program does not have exactly one latent site, or has no observed site.
    """
    # Zeros of the right shape stand for the latents, so that nothing needs to be sampled.
    silent = handlers.substitute(handlers.seed(model, jax.random.key(0)), substitute_fn=_zeros)
    trace = handlers.trace(silent).get_trace(*data)
    samples = {name: site for name, site in trace.items() if site["type"] == "sample"}
    latent = [name for name, site in samples.items() if not site["is_observed"]]
    if len(latent) != 1:
        problem = f"the latent sites {', '.join(latent)}" if latent else "no latent site"
        raise InputError("model", f"a program with {problem}", "exactly one latent site")
    if len(samples) == 1:
        raise InputError("model", "a program that observes nothing", "at least one observed site")
    return latent[0], samples[latent[0]]["fn"]


def _zeros(site: Any) -> Array | None:
    return jnp.zeros(site["fn"].shape()) if site["type"] == "sample" and not site["is_observed"] else None
