"""Figures of recordings: counts and predictions, tuning of latents and channels, and how each channel is fitted."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import LogLocator, NullLocator

from .layout import DATA, FIRST, SECOND, Array

# Largest number of names along an axis, and of names beside each other that are not turned.
NAMED, FLAT = 40, 10


def raster(x: Array, predicted: Array, channels: Sequence[str], groups: Sequence[tuple[str, int]] = ()) -> Figure:
    """Draws recorded counts beside their predictions: a row a channel, a column an observation.

    Counts are shown relative to the mean recorded count of their channel, so that quiet channels are seen.

    Args:
        x: recorded counts, shape (N, C), in the order of the figure; NaN where they are missing.
        predicted: predicted counts, shape (N, C).
        channels: names of the channels.
        groups: labels of the observations in their order, and how many observations each has.
    """
    scale = np.nansum(x, 0) / np.maximum((~np.isnan(x)).sum(0), 1)
    scale = np.where(scale > 0, scale, 1.0)
    figure = Figure(figsize=(10, min(8.0, 1.6 + 0.09 * x.shape[1])), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, values, title in zip(axes, (x, predicted), ("recorded", "predicted from other channels"), strict=True):
        shown = np.sqrt(values / scale).T
        image = axis.imshow(shown, aspect="auto", interpolation="nearest", cmap="magma", vmin=0, vmax=2.5)
        axis.set_title(title, fontsize=8)
        axis.set_xlabel("observation, by label" if groups else "observation", fontsize=8)
        edges = np.cumsum([0, *(number for _, number in groups)])
        for edge in edges[1:-1]:
            axis.axvline(edge - 0.5, color="white", linewidth=0.4)
        if groups:
            _names(axis, [label for label, _ in groups], "x", (edges[:-1] + edges[1:] - 1) / 2)
        axis.tick_params(labelsize=6)
    _names(axes[0], channels, "y")
    axes[0].set_ylabel("channel", fontsize=8)
    _scale(figure, image, axes, "root of the count over the mean count of its channel")
    return figure


def tuning(latents: Array, channels: Array, labels: Sequence[str], names: Sequence[str]) -> Figure:
    """Draws the mean code of each latent and the mean rate of each channel by label, each between its extremes.

    Args:
        latents: mean codes by label, shape (L, K), in the order of the figure.
        channels: mean rates by label, shape (L, C), in the order of the figure.
        labels: names of the labels.
        names: names of the channels.
    """
    figure = Figure(figsize=(8, min(8.0, 1.4 + 0.09 * channels.shape[1])), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axis, values, title in ((left, latents, "latents: mean code"), (right, channels, "channels: mean rate")):
        low, high = values.min(0), values.max(0)
        shown = ((values - low) / np.maximum(high - low, 1e-12)).T
        image = axis.imshow(shown, aspect="auto", interpolation="nearest", cmap="viridis")
        axis.set_title(title, fontsize=8)
        _names(axis, labels, "x")
        axis.set_xlabel("label", fontsize=8)
        axis.tick_params(labelsize=6)
    left.set_ylabel("latent, by information", fontsize=8)
    _names(right, names, "y")
    _scale(figure, image, [left, right], "from its least to its largest")
    return figure


def channel_fits(
    recorded: Array, predicted: Array, fano: Array, replicated: tuple[Array, Array, Array], bits: Array
) -> Figure:
    """Draws for each channel mean counts, Fano factors, and bits per spike.

    Args:
        recorded: mean recorded count, shape (C,).
        predicted: mean predicted count, shape (C,).
        fano: Fano factor of the recorded counts, shape (C,).
        replicated: median and ends of the interval of the Fano factor of replicated counts, each of shape (C,).
        bits: bits per spike, shape (C,).
    """
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    means, spread, gains = figure.subplots(1, 3)
    shown = [np.maximum(part, 1e-3) for part in (recorded, predicted)]
    means.loglog(*shown, ".", color=FIRST, markersize=4)
    for side in (means.xaxis, means.yaxis):
        # A recording's means may all lie within one decade.
        side.set_major_locator(LogLocator(subs=(1, 2, 5)))
        side.set_major_formatter("{x:g}")
        side.set_minor_locator(NullLocator())
    means.set_xlabel("mean count, recorded", fontsize=8)
    means.set_ylabel("mean count, predicted from other channels", fontsize=8)
    middle, low, high = replicated
    bars = [np.maximum(middle - low, 0), np.maximum(high - middle, 0)]
    spread.errorbar(fano, middle, bars, fmt=".", color=FIRST, markersize=4, linewidth=0.6)
    spread.set_xlabel("Fano factor, recorded", fontsize=8)
    spread.set_ylabel("Fano factor, replicated (90 %)", fontsize=8)
    for axis in (means, spread):
        limits = axis.get_xlim() + axis.get_ylim()
        axis.plot([min(limits), max(limits)], [min(limits), max(limits)], color=DATA, linewidth=0.8, zorder=0)
    ordered = np.sort(bits[~np.isnan(bits)])[::-1]
    gains.bar(np.arange(len(ordered)), ordered, color=np.where(ordered < 0, SECOND, FIRST), width=1.0)
    gains.set_xlabel("channel, by its gain", fontsize=8)
    gains.set_ylabel("bits per spike, from other channels", fontsize=8)
    for axis in (means, spread, gains):
        axis.tick_params(labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def loadings(dictionary: Array, channels: Sequence[str]) -> Figure:
    """Draws what one unit of each latent adds to each channel.

    Args:
        dictionary: response of the decoder to one unit of each latent, shape (K, C), in the order of the figure.
        channels: names of the channels.
    """
    latents, number = dictionary.shape
    figure = Figure(figsize=(min(12.0, 2 + 0.12 * number), min(10.0, 1 + 0.16 * latents)), layout="constrained")
    axis = figure.subplots()
    limit = float(np.abs(dictionary).max()) or 1.0
    image = axis.imshow(dictionary, aspect="auto", interpolation="nearest", cmap="RdBu_r", vmin=-limit, vmax=limit)
    _names(axis, channels, "x")
    axis.set_xlabel("channel", fontsize=8)
    axis.set_ylabel("latent, by information", fontsize=8)
    _scale(figure, image, [axis], "added to the log rate")
    return figure


def _scale(figure: Figure, image: AxesImage, axes: Any, label: str) -> None:
    bar = figure.colorbar(image, ax=axes, shrink=0.8)
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=7)


def _names(axis: Axes, names: Sequence[str], side: str, places: Array | None = None) -> None:
    """Names the rows or columns of an image, or other places along an axis, as many as can be read."""
    shown = list(range(0, len(names), -(-len(names) // NAMED)))
    at = shown if places is None else places[shown]
    set_ticks, upright = (axis.set_yticks, True) if side == "y" else (axis.set_xticks, len(shown) <= FLAT)
    set_ticks(at, [names[place] for place in shown], fontsize=6, rotation=0 if upright else 90)
