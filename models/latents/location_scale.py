"""Gaussian and Laplace latents with a fixed standard prior: the continuous baselines of the papers."""

import math
from collections.abc import Callable
from typing import ClassVar, Self

import torch
from pyro.distributions import Laplace, Normal
from torch import Tensor, nn

from pyrocount.errors import InputError
from pyrocount.options import Options

from ..options import ActivationOptions, LatentOptions
from .base import Latent

# Bounds of the logarithm of a posterior scale.
LOG_SCALE_RANGE = (-10.0, 5.0)

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda z: z,
    "relu": torch.relu,
    "softplus": nn.functional.softplus,
    "exp": torch.exp,
}


class _ScoredNormal(Normal):
    """Gaussian whose samples get Pyro's score function; a class, as ``expand`` drops a flag set on an instance."""

    has_rsample = False


class _ScoredLaplace(Laplace):  # type: ignore[misc]
    has_rsample = False


class _LocationScaleLatent(Latent):
    """Latents with a location and a log scale from the encoder, and a prior of location 0 and scale 1.

    Args:
        latent_dim: number of latents K.
        reparameterised: whether samples carry a pathwise gradient; otherwise Pyro uses its score function.
    """

    # Distribution classes of the posterior: first with, then without a gradient through the samples.
    families: ClassVar[tuple[type[Normal] | type[Laplace], type[Normal] | type[Laplace]]]
    location: Tensor

    def __init__(self, latent_dim: int, reparameterised: bool = True) -> None:
        super().__init__(latent_dim)
        self.features = 2 * latent_dim
        self.reparameterised = reparameterised
        self.register_buffer("location", torch.zeros(latent_dim), persistent=False)

    @classmethod
    def build(cls, options: Options) -> Self:
        """Builds the family from the options of a model."""
        chosen = options[LatentOptions]
        return cls(chosen.latent_dim, chosen.estimator != "score")

    def prior(self) -> Normal | Laplace:
        """Returns the prior of the latents of one observation, batch shape (K,)."""
        return self.families[0](self.location, torch.ones_like(self.location))

    def posterior(self, features: Tensor) -> Normal | Laplace:
        """Returns the posterior given features of shape (N, 2 K), batch shape (N, K)."""
        location, log_scale = features.chunk(2, dim=-1)
        family = self.families[0 if self.reparameterised else 1]
        return family(location, log_scale.clamp(*LOG_SCALE_RANGE).exp())

    def code(self, posterior: Normal | Laplace) -> Tensor:
        """Returns the representation: the posterior mean, shape (N, K)."""
        return posterior.loc


class GaussianLatent(_LocationScaleLatent):
    """Gaussian latents with an optional activation on their samples (the papers' G-VAE + act).

    The KL divergence is the divergence of the Gaussians before the activation.

    Args:
        latent_dim: number of latents K.
        reparameterised: whether samples carry a pathwise gradient; otherwise Pyro uses its score function.
        activation: ``"identity"``, ``"relu"``, ``"softplus"`` or ``"exp"``.

    Raises:
        InputError: if the activation is not one of these four.

    Reference:
        Vafaii, Galor and Yates, Poisson Variational Autoencoder, NeurIPS 2024, section 4.
    """

    families = (Normal, _ScoredNormal)

    def __init__(self, latent_dim: int, reparameterised: bool = True, activation: str = "identity") -> None:
        super().__init__(latent_dim, reparameterised)
        if activation not in ACTIVATIONS:
            raise InputError("activation", repr(activation), f"one of {', '.join(ACTIVATIONS)}")
        self.activation = activation

    @classmethod
    def build(cls, options: Options) -> Self:
        """Builds the family from the options of a model."""
        chosen = options[LatentOptions]
        return cls(chosen.latent_dim, chosen.estimator != "score", options[ActivationOptions].activation)

    def activity(self, z: Tensor) -> Tensor:
        """Returns samples after the activation."""
        return ACTIVATIONS[self.activation](z)

    def moments(self, posterior: Normal) -> tuple[Tensor, Tensor]:
        """Returns the mean and variance of the Gaussian after the activation, both of shape (N, K).

        Raises:
            InputError: if the activation is softplus, whose mean and variance have no closed form.
        """
        mean, scale = posterior.loc, posterior.scale
        match self.activation:
            case "identity":
                return mean, scale**2
            case "relu":
                cdf = torch.special.ndtr(mean / scale)
                density = torch.exp(-0.5 * (mean / scale) ** 2) / math.sqrt(2 * math.pi)
                first = mean * cdf + scale * density
                second = (mean**2 + scale**2) * cdf + mean * scale * density
                return first, (second - first**2).clamp(min=0)
            case "exp":
                first = torch.exp(mean + scale**2 / 2)
                return first, torch.expm1(scale**2) * first**2
        problem = f"'exact' for Gaussian latents with {self.activation} activation"
        expected = "an activation whose mean and variance have a closed form: identity, relu or exp"
        raise InputError("estimator", problem, expected)


class LaplaceLatent(_LocationScaleLatent):
    """Laplace latents, whose prior favours sparse codes.

    Args:
        latent_dim: number of latents K.
        reparameterised: whether samples carry a pathwise gradient; otherwise Pyro uses its score function.

    Reference:
        Vafaii, Galor and Yates, Poisson Variational Autoencoder, NeurIPS 2024, section 4.
    """

    families = (Laplace, _ScoredLaplace)
