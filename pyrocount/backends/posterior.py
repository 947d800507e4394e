"""Posterior samples of fitted models for ArviZ."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from pyrocount.diagnostics.arviz import Chain, chains_to_arviz
from pyrocount.errors import InputError

from .base import Backend, Model, derived_seed
from .factory import as_backend

if TYPE_CHECKING:
    from xarray import DataTree


def to_arviz(
    models: "Model | Backend | Sequence[Model | Backend] | Mapping[str, Model | Backend]",
    x: ArrayLike,
    exposure: ArrayLike | None = None,
    *,
    samples: int = 100,
    steps: int = 1000,
    seed: int = 0,
    observations: Sequence[Any] | None = None,
    latents: Sequence[str] | None = None,
    channels: Sequence[str] | None = None,
) -> "DataTree":
    """Draws posterior latents of data, and all that belongs to them, for ArviZ.

    The chains are restarts: fits of one model from several seeds, by their names.

    Args:
        models: a fitted model of either backend, or several of one kind and size.
        x: observations, shape (N, \\*shape), in the units of training.
        exposure: length of each observation's window, shape (N,), for likelihoods of counts.
        samples: number of draws of each restart.
        steps: number of steps of iterative inference.
        seed: seed of the samples.
        observations: names of the observations; by default their numbers.
        latents: names of the latents of the first restart; by default their numbers.
        channels: names of the features of data (N, features), which are then the dimension ``channel``.

    Returns:
        The tree of ``pyrocount.diagnostics.chains_to_arviz``.

    Raises:
        InputError: naming ``models``, ``samples``, ``observations``, ``latents`` or ``channels``, if they do not fit
            together, ``x``, if it does not have the shape, or ``diagnostics``, if arviz-base is not installed.
    """
    if samples < 1:
        raise InputError("samples", samples, "a positive whole number")
    backends = {name: as_backend(model, steps=steps) for name, model in _named(models).items()}
    first = next(iter(backends.values()))
    for name, other in backends.items():
        if (other.shape, other.latent_dim, other.has_counts) != (first.shape, first.latent_dim, first.has_counts):
            raise InputError("models", f"{name} with {_sizes(other)} beside {_sizes(first)}", "restarts of one model")
    data = np.asarray(x, np.float32)
    if data.shape[1:] != first.shape:
        raise InputError("x", f"shape {data.shape}", f"({', '.join(map(str, ('N', *first.shape)))})")
    windows = None if exposure is None else np.asarray(exposure, np.float32)
    chains = {}
    for number, (name, backend) in enumerate(backends.items()):
        drawn = backend.draws(data, windows, samples=samples, seed=derived_seed(seed, number, 0), replicate=True)
        assert drawn.replicates is not None
        chains[name] = Chain(
            z=drawn.z,
            prior=backend.prior_latents(samples, seed=derived_seed(seed, number, 1)),
            replicates=drawn.replicates,
            log_likelihood=drawn.log_likelihood,
            log_prior=drawn.log_prior,
            log_posterior=drawn.log_posterior,
            dictionary=backend.dictionary(),
        )
    return chains_to_arviz(
        chains,
        data,
        count_latents=first.has_counts,
        count_data=first.observes_counts,
        symmetric=first.is_symmetric,
        observations=observations,
        latents=latents,
        channels=channels,
    )


def _named(
    models: "Model | Backend | Sequence[Model | Backend] | Mapping[str, Model | Backend]",
) -> "dict[str, Model | Backend]":
    named: dict[str, Model | Backend]
    if isinstance(models, Mapping):
        named = {str(name): model for name, model in models.items()}
    elif isinstance(models, Sequence):
        named = {f"restart {number}": model for number, model in enumerate(models)}
    else:
        named = {"restart 0": models}
    if not named:
        raise InputError("models", "none", "at least one fitted model")
    return named


def _sizes(backend: Backend) -> str:
    kind = "counts" if backend.has_counts else "real values"
    return f"{backend.latent_dim} latents ({kind}) of observations of shape {backend.shape}"
