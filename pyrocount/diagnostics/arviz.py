"""Posterior spike counts for ArviZ."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyrocount.errors import InputError, needing

from .latents import match_latents

if TYPE_CHECKING:
    from xarray import DataTree

    from pyrocount.adapters import Adapter, Model

AXES = ("channel", "row", "column")


def to_arviz(
    models: "Model | Adapter | Sequence[Model] | Mapping[str, Model | Adapter]",
    x: ArrayLike,
    exposure: ArrayLike | None = None,
    *,
    samples: int = 100,
    steps: int = 1000,
    seed: int = 0,
    observations: Sequence[Any] | None = None,
    latents: Sequence[str] | None = None,
) -> "DataTree":
    """Posterior latents of data and all that belongs to them, for ArviZ.

    The chains are restarts: fits of one model from several seeds, by their names. Their latents are put in the order of
    the first one's, by ``match_latents``. Draws within a chain are independent.

    Args:
        models: a fitted model of either backend, or several of one kind and size; or their views by ``adapt``.
        x: observations, shape (N, \\*shape), in the units of training.
        exposure: length of each observation's window, shape (N,), for likelihoods of counts.
        samples: draws of each restart.
        steps: of iterative inference.
        seed: of the samples.
        observations: names of the observations; by default their numbers.
        latents: names of the latents of the first restart; by default their numbers.

    Returns:
        A tree with the groups ``posterior`` (z: chain, draw, observation, latent; integers where they are counts),
        ``prior`` (z: chain, draw, latent), ``posterior_predictive`` (x), ``log_likelihood`` (x, summed over the
        features of an observation, in nats) and ``observed_data``; the variables ``log_prior`` and ``log_posterior``,
        also in nats, stand in ``sample_stats``. Its method ``to_netcdf`` saves it.

    Raises:
        InputError: naming ``models``, ``samples``, ``observations`` or ``latents``, if they do not fit together, ``x``,
            if it does not have the shape, or ``diagnostics``, if arviz-base is not installed.
    """
    from pyrocount.adapters import adapt, derived_seed

    with needing("evaluate", "diagnostics", "ArviZ"):
        import arviz_base
    named = _named(models)
    if samples < 1:
        raise InputError("samples", samples, "a positive whole number")
    adapters = {name: adapt(model, steps=steps) for name, model in named.items()}
    first, *others = adapters.values()
    if any(
        (other.shape, other.latent_dim, other.has_counts) != (first.shape, first.latent_dim, first.has_counts)
        for other in others
    ):
        raise InputError("models", "fits of different kinds or sizes", "restarts of one model")
    data = np.asarray(x, np.float32)
    if data.shape[1:] != first.shape:
        raise InputError("x", f"shape {data.shape}", f"({', '.join(map(str, ('N', *first.shape)))})")
    windows = None if exposure is None else np.asarray(exposure, np.float32)
    coords = {
        "chain": list(adapters),
        "observation": _labels("observations", observations, len(data)),
        "latent": _labels("latents", latents, first.latent_dim),
    }

    chains: list[dict[str, NDArray[Any]]] = []
    kind = np.int64 if first.has_counts else np.float32
    for number, adapter in enumerate(adapters.values()):
        order, cosine = match_latents(first.dictionary(), adapter.dictionary(), symmetric=first.is_symmetric)
        sign = np.sign(cosine) if first.is_symmetric else np.ones_like(cosine)
        drawn = adapter.draws(data, windows, samples=samples, seed=derived_seed(seed, number, 0), replicate=True)
        prior = adapter.prior_latents(samples, seed=derived_seed(seed, number, 1))
        assert drawn.replicates is not None
        observed = drawn.replicates.astype(np.int64) if first.observes_counts else drawn.replicates
        chains.append(
            {
                "posterior": (sign * drawn.z[..., order]).astype(kind),
                "prior": (sign * prior[..., order]).astype(kind),
                "posterior_predictive": observed,
                "log_likelihood": drawn.log_likelihood,
                "log_prior": drawn.log_prior,
                "log_posterior": drawn.log_posterior,
            }
        )
    stacked = {name: np.stack([chain[name] for chain in chains]) for name in chains[0]}
    features = ["feature"] if len(first.shape) == 1 else list(AXES)
    each = ["observation"]
    groups = {
        "posterior": {"z": stacked["posterior"]},
        "prior": {"z_prior": stacked["prior"]},
        "posterior_predictive": {"x": stacked["posterior_predictive"]},
        "log_likelihood": {"x_total": stacked["log_likelihood"]},
        "sample_stats": {name: stacked[name] for name in ("log_prior", "log_posterior")},
        "observed_data": {"x": data.astype(np.int64) if first.observes_counts else data},
    }
    dims = {
        "z": ["observation", "latent"],
        "z_prior": ["latent"],
        "x": ["observation", *features],
        "x_total": each,
        "log_prior": each,
        "log_posterior": each,
    }
    tree: DataTree = arviz_base.from_dict(groups, coords=coords, dims=dims)
    # One name each for the latents and the data in all groups, though their dimensions differ.
    for group, name, final in (("prior", "z_prior", "z"), ("log_likelihood", "x_total", "x")):
        tree[group] = tree[group].to_dataset().rename({name: final})
    return tree


def _named(
    models: "Model | Adapter | Sequence[Model] | Mapping[str, Model | Adapter]",
) -> "dict[str, Model | Adapter]":
    named: dict[str, Model | Adapter]
    if isinstance(models, Mapping):
        named = {str(name): model for name, model in models.items()}
    elif isinstance(models, Sequence):
        named = {f"restart {number}": model for number, model in enumerate(models)}
    else:
        named = {"restart 0": models}
    if not named:
        raise InputError("models", "none", "at least one fitted model")
    return named


def _labels(argument: str, labels: Sequence[Any] | None, number: int) -> list[Any]:
    if labels is None:
        return list(range(number))
    if len(labels) != number:
        raise InputError(argument, f"{len(labels)} names", f"{number}")
    return list(labels)
