"""Continuous families, the papers' baselines: Gaussian and Laplace latents with a fixed standard prior."""

import math
from collections.abc import Callable
from typing import ClassVar, Self

import torch
from pyro.distributions import Laplace, Normal
from torch import Tensor, nn

from pyrocount.errors import InputError

from .base import Latent, LatentOptions

# Posterior scales stay within e^-10 and e^5.
LOG_SCALE_RANGE = (-10.0, 5.0)

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda z: z,
    "relu": torch.relu,
    "softplus": nn.functional.softplus,
    "exp": torch.exp,
}


class _ScoredNormal(Normal):
    """A Gaussian to whose samples Pyro applies its score function; a class, so that it outlives ``expand``."""

    has_rsample = False


class _ScoredLaplace(Laplace):  # type: ignore[misc]
    has_rsample = False


class _LocationScaleLatent(Latent):
    """A location and a log scale a latent from the encoder; prior location 0 and scale 1.

    Args:
        latent_dim: number of latents K.
        reparameterised: whether samples carry a gradient in training mode; else Pyro uses its score function.
    """

    estimators: ClassVar = ("pathwise", "score", "exact")
    # With and without a gradient through the samples.
    families: ClassVar[tuple[type[Normal] | type[Laplace], type[Normal] | type[Laplace]]]
    location: Tensor

    def __init__(self, latent_dim: int, reparameterised: bool = True) -> None:
        super().__init__(latent_dim)
        self.features = 2 * latent_dim
        self.reparameterised = reparameterised
        self.register_buffer("location", torch.zeros(latent_dim), persistent=False)

    @classmethod
    def build(cls, latent_dim: int, options: LatentOptions) -> Self:
        """A family from the options of a command line."""
        return cls(latent_dim, options.estimator != "score")

    def prior(self) -> Normal | Laplace:
        """The prior of one observation, batch shape (K,)."""
        return self.families[0](self.location, torch.ones_like(self.location))

    def posterior(self, features: Tensor) -> Normal | Laplace:
        """The posterior given features of shape (N, 2 K), batch shape (N, K)."""
        location, log_scale = features.chunk(2, dim=-1)
        family = self.families[0 if self.reparameterised else 1]
        return family(location, log_scale.clamp(*LOG_SCALE_RANGE).exp())

    def code(self, posterior: Normal | Laplace) -> Tensor:
        """The representation: the posterior mean, shape (N, K)."""
        return posterior.loc


class GaussianLatent(_LocationScaleLatent):
    """Gaussian latents, with an activation on the sample where one is given (the papers' G-VAE + act).

    The KL divergence is that of the Gaussian before the activation.

    Args:
        latent_dim: number of latents K.
        reparameterised: whether samples carry a gradient in training mode; else Pyro uses its score function.
        activation: ``"identity"``, ``"relu"``, ``"softplus"`` or ``"exp"``.

    Raises:
        InputError: for another activation.

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
    def build(cls, latent_dim: int, options: LatentOptions) -> Self:
        """A family from the options of a command line."""
        return cls(latent_dim, options.estimator != "score", options.activation)

    def activity(self, z: Tensor) -> Tensor:
        """The activation of samples."""
        return ACTIVATIONS[self.activation](z)

    def moments(self, posterior: Normal) -> tuple[Tensor, Tensor]:
        """Mean and variance of the activated Gaussian, both (N, K).

        Raises:
            InputError: for softplus, which has no closed form.
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
        problem = f"'exact' for Gaussian latents with {self.activation}"
        raise InputError("estimator", problem, "an activation whose mean and variance are closed: identity, relu, exp")


class LaplaceLatent(_LocationScaleLatent):
    """Laplace latents, whose prior favours sparse codes.

    Args:
        latent_dim: number of latents K.
        reparameterised: whether samples carry a gradient in training mode; else Pyro uses its score function.

    Reference:
        Vafaii, Galor and Yates, Poisson Variational Autoencoder, NeurIPS 2024, section 4.
    """

    families = (Laplace, _ScoredLaplace)
