"""Pictures of a fitted model: functions of arrays that return matplotlib figures."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.floating[Any]]

DATA, FIRST, SECOND = "0.65", "#0072b2", "#d55e00"


def reconstructions(x: Array, reconstruction: Array, *, columns: int = 12, rows: int = 3) -> Figure:
    """Observations and below each its reconstruction.

    Args:
        x: shape (N, channels, height, width), or (N, features), which are drawn as curves.
        reconstruction: of the same shape.
        columns: pairs in a row.
        rows: rows of pairs.
    """
    number = min(len(x), columns * rows)
    if x.ndim == 2:
        figure, axes = _grid(number, min(columns, 4), width=2.0, height=1.2)
        for axis, data, model in zip(axes, x, reconstruction, strict=False):
            axis.plot(data, color=DATA, label="data")
            axis.plot(model, color=FIRST, linewidth=1, label="reconstruction")
            axis.set_axis_off()
        axes[0].legend(fontsize=6, frameon=False)
        return figure
    columns = min(columns, number)
    figure, axes = _grid(2 * columns * math.ceil(number / columns), columns)
    limits = float(x.min()), float(x.max())
    for index, axis in enumerate(axes):
        row, column = divmod(index, columns)
        pair = row // 2 * columns + column
        axis.set_axis_off()
        if pair < number:
            _show(axis, (reconstruction if row % 2 else x)[pair], limits)
        if column == 0:
            label = "model" if row % 2 else "data"
            axis.text(-0.15, 0.5, label, transform=axis.transAxes, ha="right", va="center", fontsize=7)
    return figure


def samples(decoded: Array, *, limits: tuple[float, float] | None = None, columns: int = 12) -> Figure:
    """Decoded samples of the prior, shape (N, channels, height, width) or (N, features), drawn as curves.

    Args:
        decoded: the samples.
        limits: values shown as black and white; by default those of the samples.
        columns: samples in a row.
    """
    return _gallery(decoded, columns, limits or (float(decoded.min()), float(decoded.max())))


def dictionary(atoms: Array, *, columns: int = 12) -> Figure:
    """What each latent adds to the decoder's output, shape (K, channels, height, width) or (K, features).

    Each atom is scaled by its own largest magnitude; 0 is mid-grey.
    """
    largest = np.abs(atoms).max(axis=tuple(range(1, atoms.ndim)), keepdims=True)
    return _gallery(atoms / np.maximum(largest, np.finfo(atoms.dtype).tiny), columns, (-1.0, 1.0))


def training_curves(history: Sequence[Mapping[str, float]]) -> Figure:
    """Objective, KL divergence, firing rate and what was annealed, over the epochs.

    Args:
        history: rows with ``epoch``, ``elbo``, ``test_nelbo``, ``test_kl``, ``mean_rate``, ``kl_weight``,
            ``temperature`` and ``learning_rate``.
    """
    column = {name: np.array([row[name] for row in history]) for name in history[0]}
    figure = Figure(figsize=(7.5, 5), layout="constrained")
    objective, divergence, rate, schedule = figure.subplots(2, 2, sharex=True).flat
    objective.plot(column["epoch"], -column["elbo"], color=DATA, label="training (annealed, relaxed)")
    objective.plot(column["epoch"], column["test_nelbo"], color=FIRST, label="held out (exact counts)")
    objective.set_ylabel("negative ELBO (nats)")
    # The first epochs would squeeze the rest of the curve.
    settled = np.concatenate([-column["elbo"], column["test_nelbo"]])
    low, high = settled.min(), np.quantile(settled, 0.95)
    objective.set_ylim(low - 0.05 * (high - low) - 1e-6, high + 0.1 * (high - low) + 1e-6)
    objective.legend(fontsize=7, frameon=False)
    divergence.plot(column["epoch"], column["test_kl"], color=FIRST)
    divergence.set_ylabel("held-out KL (nats)")
    rate.plot(column["epoch"], column["mean_rate"], color=FIRST)
    rate.set_ylabel("mean count per latent")
    for name, color in (("kl_weight", FIRST), ("temperature", SECOND), ("learning_rate", DATA)):
        schedule.plot(column["epoch"], column[name] / column[name].max(), color=color, label=name.replace("_", " "))
    schedule.set_ylabel("fraction of largest")
    schedule.legend(fontsize=7, frameon=False)
    for axis in (rate, schedule):
        axis.set_xlabel("epoch")
    for axis in (objective, divergence, rate, schedule):
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def count_histograms(counts: Array, latents: Sequence[int]) -> Figure:
    """Counts of some latents over observations, against a Poisson and a negative binomial fitted to them by moments.

    Args:
        counts: posterior counts, shape (..., K).
        latents: which of the K to show.
    """
    figure, axes = _grid(len(latents), min(4, len(latents)), width=2.2, height=1.8)
    for axis, latent in zip(axes, latents, strict=False):
        values = counts[..., latent].ravel()
        mean, variance = float(values.mean()), float(values.var())
        largest = int(values.max())
        support = np.arange(largest + 2)
        axis.bar(
            support, np.bincount(values.astype(np.int64), minlength=len(support)) / values.size, color=DATA, width=0.9
        )
        axis.plot(support, stats.poisson.pmf(support, mean), "o-", color=FIRST, markersize=2.5, linewidth=1)
        if variance > mean > 0:
            size = mean**2 / (variance - mean)
            axis.plot(
                support,
                stats.nbinom.pmf(support, size, size / (size + mean)),
                "s-",
                color=SECOND,
                markersize=2.5,
                linewidth=1,
            )
        axis.set_yscale("log")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set_ylim(0.3 / values.size, 2)
        fano = variance / mean if mean > 0 else math.nan
        axis.set_title(f"latent {latent}: mean {mean:.2f}, Fano {fano:.2f}", fontsize=7)
        axis.tick_params(labelsize=6)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[len(latents) :]:
        axis.set_axis_off()
    entries = [("counts", DATA), ("Poisson, same mean", FIRST), ("negative binomial, same mean and variance", SECOND)]
    handles = [
        Line2D([], [], color=color, label=label, linewidth=4 if color == DATA else 1.5) for label, color in entries
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, fontsize=7, frameon=False)
    figure.supxlabel("count per observation", fontsize=8)
    figure.supylabel("frequency", fontsize=8)
    return figure


def _gallery(items: Array, columns: int, limits: tuple[float, float]) -> Figure:
    curves = items.ndim == 2
    figure, axes = _grid(len(items), columns, width=1.2 if curves else 0.7)
    for axis in axes:
        axis.set_axis_off()
    for axis, item in zip(axes, items, strict=False):
        if curves:
            axis.plot(item, color=FIRST, linewidth=0.8)
            axis.set_ylim(*limits)
        else:
            _show(axis, item, limits)
    return figure


def _grid(number: int, columns: int, width: float = 0.7, height: float = 0.7) -> tuple[Figure, list[Axes]]:
    columns = min(columns, number)
    rows = math.ceil(number / columns)
    figure = Figure(figsize=(width * columns + 0.4, height * rows + 0.3), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def _show(axis: Axes, image: Array, limits: tuple[float, float]) -> None:
    """Draws an image (channels, height, width): three channels in colour, any other number as their mean in grey."""
    low, high = limits
    if len(image) == 3:
        axis.imshow(np.clip((image.transpose(1, 2, 0) - low) / max(high - low, 1e-12), 0, 1))
    else:
        axis.imshow(image.mean(0), cmap="gray", vmin=low, vmax=high)
