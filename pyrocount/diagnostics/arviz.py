"""Posterior spike counts for ArviZ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyrocount.errors import InputError, require_extra

from .latents import match_latents

if TYPE_CHECKING:
    from xarray import DataTree

AXES = ("channel", "row", "column")
# Attribute of the group log_likelihood.
ABOUT_LOO = (
    "Leave-one-out cross-validation (arviz_stats.loo) does not apply: each observation has latents of its own, which "
    "are unknown without it. Compare models by the importance-weighted bounds of held-out observations "
    "(pyrocount.metrics.importance), which sample_stats and this group give: x + log_prior - log_posterior."
)
Array = NDArray[Any]


@dataclass(frozen=True)
class Chain:
    """Samples of one fit, S of each of N observations.

    Attributes:
        z: posterior latents, shape (S, N, K).
        prior: latents of the prior, shape (S, K).
        replicates: data drawn given each posterior sample, shape (S, N, \\*shape).
        log_likelihood: log p(x | z), in nats, shape (S, N).
        log_prior: log p(z), in nats, shape (S, N).
        log_posterior: log q(z | x), in nats, shape (S, N).
        dictionary: response of the decoder to one unit of each latent, shape (K, \\*shape), by which the latents of
            several fits are matched.
    """

    z: Array
    prior: Array
    replicates: Array
    log_likelihood: Array
    log_prior: Array
    log_posterior: Array
    dictionary: Array


def chains_to_arviz(
    chains: Mapping[str, Chain],
    x: ArrayLike,
    *,
    count_latents: bool = True,
    count_data: bool = False,
    symmetric: bool = False,
    observations: Sequence[Any] | None = None,
    latents: Sequence[str] | None = None,
    channels: Sequence[str] | None = None,
) -> "DataTree":
    """Builds a tree of posterior latents, and of all that belongs to them, for ArviZ.

    The latents of all chains are put in the order of the first one's, by ``match_latents``.

    Args:
        chains: samples of restarts, fits of one model from several seeds, by their names. Draws within a chain are
            independent.
        x: observations, shape (N, \\*shape).
        count_latents: whether the latents are counts, and become integers.
        count_data: whether the data are counts, and become integers.
        symmetric: whether a latent may change its sign together with its column of the dictionary.
        observations: names of the observations; by default their numbers.
        latents: names of the latents of the first chain; by default their numbers.
        channels: names of the features of data (N, features), which are then the dimension ``channel``.

    Returns:
        A tree with the groups ``posterior`` (z: chain, draw, observation, latent), ``prior`` (z: chain, draw, latent),
        ``posterior_predictive`` (x), ``log_likelihood`` (x, summed over the features of an observation, in nats) and
        ``observed_data``, where counts are integers unless some are missing. The variables ``log_prior`` and
        ``log_posterior``, in nats, stand in ``sample_stats``. Its method ``to_netcdf`` saves it.

    Raises:
        InputError: naming ``observations``, ``latents`` or ``channels``, if their number is not that of the arrays, or
            ``diagnostics``, if arviz-base is not installed.
    """
    with require_extra("evaluate", "diagnostics", "ArviZ"):
        import arviz_base
    data = np.asarray(x, np.float32)
    first = next(iter(chains.values()))
    coords = {
        "chain": list(chains),
        "observation": _labels("observations", observations, len(data)),
        "latent": _labels("latents", latents, first.z.shape[-1]),
    }
    features = list(AXES) if data.ndim > 2 else ["feature" if channels is None else "channel"]
    if channels is not None and data.ndim == 2:
        coords["channel"] = _labels("channels", channels, data.shape[1])
    kind = np.int64 if count_latents else np.float32
    whole = count_data and not np.isnan(data).any()
    found = []
    for chain in chains.values():
        order, cosine = match_latents(first.dictionary, chain.dictionary, symmetric=symmetric)
        sign = np.sign(cosine) if symmetric else np.ones_like(cosine)
        found.append(
            {
                "posterior": (sign * chain.z[..., order]).astype(kind),
                "prior": (sign * chain.prior[..., order]).astype(kind),
                "posterior_predictive": chain.replicates.astype(np.int64) if whole else chain.replicates,
                "log_likelihood": chain.log_likelihood,
                "log_prior": chain.log_prior,
                "log_posterior": chain.log_posterior,
            }
        )
    stacked = {name: np.stack([each[name] for each in found]) for name in found[0]}
    of_each = ["observation"]
    groups = {
        "posterior": {"z": stacked["posterior"]},
        "prior": {"z_prior": stacked["prior"]},
        "posterior_predictive": {"x": stacked["posterior_predictive"]},
        "log_likelihood": {"x_total": stacked["log_likelihood"]},
        "sample_stats": {name: stacked[name] for name in ("log_prior", "log_posterior")},
        "observed_data": {"x": data.astype(np.int64) if whole else data},
    }
    dims = {
        "z": ["observation", "latent"],
        "z_prior": ["latent"],
        "x": ["observation", *features],
        "x_total": of_each,
        "log_prior": of_each,
        "log_posterior": of_each,
    }
    tree: DataTree = arviz_base.from_dict(groups, coords=coords, dims=dims)
    # One name each for the latents and the data in all groups, though their dimensions differ.
    for group, name, final in (("prior", "z_prior", "z"), ("log_likelihood", "x_total", "x")):
        tree[group] = tree[group].to_dataset().rename({name: final})
    tree["log_likelihood"].attrs["loo"] = ABOUT_LOO
    return tree


def _labels(argument: str, labels: Sequence[Any] | None, number: int) -> list[Any]:
    if labels is None:
        return list(range(number))
    if len(labels) != number:
        raise InputError(argument, f"{len(labels)} names", f"{number}")
    return list(labels)
