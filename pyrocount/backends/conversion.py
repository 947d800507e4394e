"""Exchange of decoders, priors and likelihoods between the backends."""

import jax.numpy as jnp
import numpy as np
import torch
from torch import Tensor

from pyrocount.errors import InputError
from pyrocount.inference.natural_families import Drive, Potentials
from pyrocount.models import (
    LIKELIHOODS,
    VAE,
    GaussianLatent,
    Latent,
    NegativeBinomialLatent,
    PoissonLatent,
    likelihood_name,
    make_encoder,
)
from pyrocount.models.iterative import IterativeModel, parameters_of
from pyrocount.models.jax_networks import jax_decoder, torch_decoder

from .iterative_model import Iterative, as_array

CONVERTED = "a model of Poisson, negative-binomial or Gaussian latents"


def from_pyro(vae: VAE, *, step_size: float = 0.1, drive: Drive = "exact", leak: float | None = None) -> Iterative:
    """Returns the decoder, prior and likelihood of a Pyro VAE with iterative inference in the place of its encoder.

    Args:
        vae: VAE of Poisson, negative-binomial or Gaussian latents.
        step_size: size of the steps of the inference.
        drive: ``"sampled"`` or ``"exact"``.
        leak: weight of the divergence from the prior; None for online inference.

    Raises:
        InputError: naming ``vae`` or ``decoder``, if its latents or a layer of its decoder have no twin in JAX.
    """
    latent = vae.latent
    prior: dict[str, Tensor]
    match latent:
        case PoissonLatent():
            kind, prior = "iterative-poisson", {"log_rate": latent.log_rate}
        case NegativeBinomialLatent():
            counts = latent.prior()
            log_total_count = counts.total_count.log()
            kind, prior = (
                "iterative-negbio",
                {"log_rate": counts.logits + log_total_count, "log_total_count": log_total_count},
            )
        case GaussianLatent():
            kind, prior = "iterative-gaussian", {"loc": latent.location, "log_scale": torch.zeros_like(latent.location)}
        case _:
            raise InputError("vae", f"a VAE with a {type(latent).__name__}", CONVERTED)
    function, weights = jax_decoder(vae.decoder)
    model = IterativeModel(
        kind,
        latent.latent_dim,
        vae.shape,
        function,
        likelihood_name(vae.likelihood),
        getattr(latent, "activation", "identity"),
    )
    parameters = {f"decoder.{name}": value for name, value in weights.items()}
    parameters |= {f"prior.{name}": as_array(value) for name, value in prior.items()}
    parameters |= {f"likelihood.{name}": as_array(value) for name, value in vae.likelihood.state_dict().items()}
    parameters["step.log_size"] = jnp.log(jnp.asarray(step_size))
    return Iterative(model, parameters, drive, leak)


def encoded_potentials(vae: VAE, x: Tensor, exposure: Tensor | None = None) -> Potentials:
    """Returns the potentials of a VAE's posteriors of data (N, \\*shape), from which hybrid inference starts.

    Raises:
        InputError: naming ``vae``, if its posteriors have no potentials in JAX.
    """
    with torch.no_grad():
        posterior = vae.posterior(x, exposure)
    match vae.latent:
        case PoissonLatent():
            return as_array(posterior.log_rate)
        case NegativeBinomialLatent():
            return as_array(posterior.logits + posterior.total_count.log())
        case GaussianLatent():
            return as_array(posterior.loc), as_array(posterior.scale.log())
    raise InputError("vae", f"a VAE with a {type(vae.latent).__name__}", CONVERTED)


def to_pyro(iterative: Iterative, *, encoder: str = "mlp") -> VAE:
    """Returns a Pyro VAE with the decoder, prior and likelihood of an iterative model, and a fresh encoder.

    Its decoder is ready for sparse coding (``pyrocount.amortization``), and for an encoder to be trained for it.

    Args:
        iterative: model of Poisson, negative-binomial or Gaussian latents.
        encoder: kind of the encoder: ``"lin"``, ``"mlp"`` or ``"conv"``.

    Raises:
        InputError: naming ``iterative`` or ``encoder``.
    """
    model, parameters = iterative.model, iterative.parameters
    tensors = {name: torch.from_numpy(np.array(value)) for name, value in parameters.items()}
    latent: Latent
    with torch.no_grad():
        match model.kind:
            case "iterative-poisson":
                latent = PoissonLatent(model.latent_dim)
                latent.log_rate.copy_(tensors["prior.log_rate"])
            case "iterative-negbio":
                latent = NegativeBinomialLatent(model.latent_dim)
                latent.log_total_count.copy_(tensors["prior.log_total_count"])
                latent.logits.copy_(tensors["prior.log_rate"] - tensors["prior.log_total_count"])
            case "iterative-gaussian":
                latent = GaussianLatent(model.latent_dim, activation=model.activation)
            case _:
                raise InputError("iterative", f"a model of {model.kind}", CONVERTED)
    likelihood = LIKELIHOODS[model.likelihood].build(model.shape, 1.0, False)
    likelihood.load_state_dict(parameters_of(tensors, "likelihood"))
    decoder = torch_decoder(model.decoder, parameters_of(parameters, "decoder"))
    return VAE(make_encoder(encoder, model.shape, latent.features), latent, decoder, likelihood, model.shape).eval()
