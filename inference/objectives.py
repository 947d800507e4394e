"""Negative log likelihoods of latents that iterative inference descends: of any NumPyro program, and in closed form."""

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
    """What latents (N, ...) say about data of N observations.

    Attributes:
        nll: negative log likelihood, in nats, shape (N,).
        prediction: mean of the data, shape (N, \\*shape).
        gradient: of the summed nll, of the shape of the latents.
    """

    nll: Array
    prediction: Array
    gradient: Array


class Objective(Protocol):
    """The negative log likelihood f of latents given data; a pytree."""

    def __call__(self, z: Array, *data: Array) -> Terms:
        """The likelihood of latents (N, ...), and its gradient."""
        ...

    def differences(self, z: Array, terms: Terms, *data: Array) -> Array:
        """f(z + e_k) - f(z) for each latent k, of the shape of ``z``, given the terms at ``z``."""
        ...


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LinearGaussian:
    r"""Data with Gaussian noise around a linear map of the latents.

    .. math:: f(z) = \frac{\lVert x - \Phi z - b \rVert^2}{2 \sigma^2} + \frac D2 \log 2 \pi \sigma^2, \qquad
        f(z + e_k) - f(z) = f_k'(z) + \frac{\lVert \Phi_k \rVert^2}{2 \sigma^2}

    Args:
        dictionary: shape (K, D), the transpose of :math:`\Phi`.
        offset: b, shape (D,) or ().
        scale: standard deviation of the noise.
    """

    dictionary: Array
    offset: Array
    scale: Array

    def __call__(self, z: Array, *data: Array) -> Terms:
        """The likelihood of latents (N, K) given data (N, \\*shape)."""
        x = data[0]
        prediction = z @ self.dictionary + self.offset
        precision = 1 / self.scale**2
        residual = x.reshape(prediction.shape) - prediction
        constant = prediction.shape[1] * (jnp.log(self.scale) + math.log(2 * math.pi) / 2)
        nll = precision / 2 * jnp.square(residual).sum(1) + constant
        return Terms(nll, prediction.reshape(x.shape), -precision * (residual @ self.dictionary.T))

    def differences(self, z: Array, terms: Terms, *data: Array) -> Array:
        """The gradient and half the curvature."""
        return terms.gradient + jnp.square(self.dictionary).sum(1) / (2 * self.scale**2)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Program:
    """The observed sites of a NumPyro program with one latent site, whose leading axis is that of the observations.

    Args:
        model: the program; a ``jax.tree_util.Partial``, whose arguments may be traced.
        site: name of the latent site.
    """

    model: Any
    site: str = field(metadata={"static": True})

    def __call__(self, z: Array, *data: Array) -> Terms:
        """The likelihood of latents (N, ...) given the arguments of the program, by automatic differentiation."""

        def total(z: Array) -> tuple[Array, tuple[Array, Array]]:
            parts, prediction = self._observed(z, data)
            nll = -jnp.stack([part.reshape(len(z), -1).sum(1) for part in parts]).sum(0)
            return nll.sum(), (nll, prediction)

        (_, (nll, prediction)), gradient = jax.value_and_grad(total, has_aux=True)(z)
        return Terms(nll, prediction, gradient)

    def differences(self, z: Array, terms: Terms, *data: Array) -> Array:
        """One evaluation of the program for each latent, in turn, so that memory does not grow with their number."""
        flat = z.reshape(len(z), -1)
        parts, _ = self._observed(z, data)

        def difference(index: Array) -> Array:
            raised, _ = self._observed(flat.at[:, index].add(1.0).reshape(z.shape), data)
            # Term by term, as the sums are much larger than what they differ by.
            changes = [(before - after).reshape(len(z), -1).sum(1) for before, after in zip(parts, raised, strict=True)]
            return jnp.stack(changes).sum(0)

        return lax.map(difference, jnp.arange(flat.shape[1])).T.reshape(z.shape)

    def _observed(self, z: Array, data: tuple[Array, ...]) -> tuple[list[Array], Array]:
        """Log likelihoods of the observed sites, scaled as the program says, and the mean of the first."""
        trace = handlers.trace(handlers.substitute(self.model, {self.site: z})).get_trace(*data)
        observed = [site for site in trace.values() if site["type"] == "sample" and site["is_observed"]]
        parts = [
            site["fn"].log_prob(site["value"]) * (1.0 if site["scale"] is None else site["scale"]) for site in observed
        ]
        return parts, observed[0]["fn"].mean


def latent_site(model: Callable[..., object], *data: Array) -> tuple[str, Distribution]:
    """The name of the one latent site of a program, and its prior.

    Raises:
        InputError: naming ``model``, if it has none or several, or nothing is observed.
    """
    # Any value of the latent does, of which only the shape is known: nothing need be sampled.
    silent = handlers.substitute(handlers.seed(model, jax.random.key(0)), substitute_fn=_zeros)
    trace = handlers.trace(silent).get_trace(*data)
    samples = {name: site for name, site in trace.items() if site["type"] == "sample"}
    latent = [name for name, site in samples.items() if not site["is_observed"]]
    if len(latent) != 1:
        raise InputError("model", f"the latent sites {latent}", "exactly one latent site")
    if len(samples) == 1:
        raise InputError("model", "a program that observes nothing", "an observed site")
    return latent[0], samples[latent[0]]["fn"]


def _zeros(site: Any) -> Array | None:
    return jnp.zeros(site["fn"].shape()) if site["type"] == "sample" and not site["is_observed"] else None
