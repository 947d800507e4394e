"""Pyro and NumPyro programs, and the registry by which the command line finds them."""

from .baseline import Baseline
from .collapsed import CollapsedVAE, prediction_moments
from .latents import (
    CategoricalLatent,
    CountLatent,
    GaussianLatent,
    LaplaceLatent,
    Latent,
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
from .networks import linear_weight, make_decoder, make_encoder
from .registry import LIKELIHOODS, MODELS, ModelSpec, likelihood_name, make_likelihood, make_vae
from .vae import VAE

__all__ = [
    "LIKELIHOODS",
    "MODELS",
    "VAE",
    "Baseline",
    "BernoulliLikelihood",
    "CategoricalLatent",
    "CollapsedVAE",
    "CountLatent",
    "GaussianLatent",
    "GaussianLikelihood",
    "LaplaceLatent",
    "Latent",
    "Likelihood",
    "ModelSpec",
    "NegativeBinomialLatent",
    "NegativeBinomialLikelihood",
    "PoissonLatent",
    "PoissonLikelihood",
    "SparseLatent",
    "likelihood_name",
    "linear_weight",
    "make_decoder",
    "make_encoder",
    "make_likelihood",
    "make_vae",
    "prediction_moments",
]
