"""Sparse codes: latents with an exponential prior, for which only the most probable values are inferred."""

from typing import Self

import torch
from pyro.distributions import Delta, Exponential
from torch import Tensor

from pyrocount.options import Options

from ..options import LatentOptions
from .base import Latent


class SparseLatent(Latent):
    """Nonnegative codes that an optimisation infers in place of an encoder network; the posterior is a point.

    The KL divergence of this point from the prior is the sum of the codes.

    Args:
        latent_dim: number of codes K.

    Reference:
        Olshausen and Field, Sparse Coding with an Overcomplete Basis Set, Vision Research 1997.
    """

    rate: Tensor

    def __init__(self, latent_dim: int) -> None:
        super().__init__(latent_dim)
        self.features = latent_dim
        self.register_buffer("rate", torch.ones(latent_dim), persistent=False)

    @classmethod
    def build(cls, options: Options) -> Self:
        """Builds the family from the options of a model."""
        return cls(options[LatentOptions].latent_dim)

    def prior(self) -> Exponential:
        """Returns the prior of the latents of one observation, batch shape (K,)."""
        return Exponential(self.rate)

    def posterior(self, features: Tensor) -> Delta:
        """Returns the posterior that has all its probability on these codes (N, K), batch shape (N, K)."""
        return Delta(features)

    def code(self, posterior: Delta) -> Tensor:
        """Returns the representation: the codes, shape (N, K)."""
        return posterior.v
