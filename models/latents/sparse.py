"""Sparse codes: latents with an exponential prior of which only the most probable values are inferred."""

from typing import ClassVar, Self

import torch
from pyro.distributions import Delta, Exponential
from torch import Tensor

from .base import Latent, LatentOptions


class SparseLatent(Latent):
    """Nonnegative codes that an optimisation gives, in place of a network: the posterior is a point.

    The KL divergence is that of the point, the sum of the codes.

    Args:
        latent_dim: number of codes K.

    Reference:
        Olshausen and Field, Sparse Coding with an Overcomplete Basis Set, Vision Research 1997.
    """

    estimators: ClassVar = ("pathwise",)
    rate: Tensor

    def __init__(self, latent_dim: int) -> None:
        super().__init__(latent_dim)
        self.features = latent_dim
        self.register_buffer("rate", torch.ones(latent_dim), persistent=False)

    @classmethod
    def build(cls, latent_dim: int, options: LatentOptions) -> Self:
        """A family from the options of a command line."""
        return cls(latent_dim)

    def prior(self) -> Exponential:
        """The prior of one observation, batch shape (K,)."""
        return Exponential(self.rate)

    def posterior(self, features: Tensor) -> Delta:
        """All probability on the codes (N, K), batch shape (N, K)."""
        return Delta(features)

    def code(self, posterior: Delta) -> Tensor:
        """The representation: the codes, shape (N, K)."""
        return posterior.v
