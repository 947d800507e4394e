"""Figures of what latents do to data, and of what data do to latents."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from .layout import DATA, FIRST, SECOND, Array, grid, legend, mosaic, plain

# Number of columns, each of a latent.
COLUMNS = 12


def sensitivity(silencing: Array, stimulation: Array, errors: Array, unit: str) -> Figure:
    """Draws the effect of silencing and of stimulating each latent, the largest first, and one against the other.

    Args:
        silencing: mean rise of the negative log likelihood where a latent is silenced, in nats, shape (K,).
        stimulation: mean size of the change where a latent is stimulated, in units of the data, shape (K,).
        errors: half the width of the interval of each mean rise, shape (K,).
        unit: name of the stimulation, for example "one spike added".
    """
    figure = Figure(figsize=(9.5, 2.8), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    order = np.argsort(-silencing)
    rank = np.arange(1, len(order) + 1)
    left.errorbar(rank, silencing[order], errors[order], fmt=".", color=FIRST, markersize=4, linewidth=0.6)
    left.axhline(0, color=DATA, linewidth=0.8, zorder=0)
    left.set_xlabel("latent, by its rise", fontsize=8)
    left.set_ylabel("rise of the NLL, silenced (nats)", fontsize=8)
    middle.plot(rank, np.sort(stimulation)[::-1], ".", color=SECOND, markersize=4)
    middle.set_ylim(bottom=0)
    middle.set_xlabel("latent, by its change", fontsize=8)
    middle.set_ylabel(f"RMS change, {unit}", fontsize=8)
    right.plot(stimulation, silencing, ".", color="0.3", markersize=4)
    right.axhline(0, color=DATA, linewidth=0.8, zorder=0)
    right.set_xlabel(f"RMS change, {unit}", fontsize=8)
    right.set_ylabel("rise of the NLL, silenced (nats)", fontsize=8)
    for axis in (left, middle, right):
        plain(axis)
    return figure


def by_latent(rows: Mapping[str, Array], names: Sequence[str], *, signed: Sequence[str] = ()) -> Figure:
    """Draws something of several kinds for each of some latents: a column a latent, a row a kind.

    Observations that are not images are drawn as curves, one panel a latent and one curve a kind.

    Args:
        rows: images (L, channels, height, width), or curves (L, features), of the L latents by the name of the kind.
        names: names of the latents.
        signed: kinds that are changes: each is drawn on a scale of its own, on which 0 is mid-grey.
    """
    first = next(iter(rows.values()))
    scaled = {kind: _signed(part) if kind in signed else part for kind, part in rows.items()}
    plain = [part for kind, part in rows.items() if kind not in signed]
    if first.ndim == 2:
        figure, axes = grid(len(first), 4, width=2.2, height=1.4, below=0.45)
        colors = [FIRST, SECOND, DATA]
        for place, (axis, name) in enumerate(zip(axes, names, strict=False)):
            for part, color in zip(scaled.values(), colors, strict=False):
                axis.plot(part[place], ".-" if len(part[place]) < 30 else "-", color=color, linewidth=0.9, markersize=3)
            axis.set_title(name, fontsize=7)
            axis.locator_params(nbins=4)
            axis.tick_params(labelsize=6)
            axis.spines[["top", "right"]].set_visible(False)
        for axis in axes[len(first) :]:
            axis.set_axis_off()
        legend(figure, list(zip(scaled, colors, strict=False)))
        figure.supxlabel("channel", fontsize=8)
        if not plain:
            figure.supylabel("changes over their largest magnitude", fontsize=8)
        return figure
    low, high = (min(map(np.min, plain)), max(map(np.max, plain))) if plain else (-1.0, 1.0)
    shown = [(low + high) / 2 + (high - low) / 2 * part if kind in signed else part for kind, part in scaled.items()]
    figure = mosaic(np.concatenate(shown), len(first), (float(low), float(high)), labels=list(rows))
    axis = figure.axes[0]
    step = first.shape[-1] + max(1, first.shape[-1] // 8)
    axis.set_xticks(np.arange(len(first)) * step + (first.shape[-1] - 1) / 2, names, fontsize=6)
    axis.xaxis.tick_top()
    axis.tick_params(length=0)
    return figure


def _signed(changes: Array) -> Array:
    """Returns changes, each divided by its largest magnitude."""
    largest = np.abs(changes).max(axis=tuple(range(1, changes.ndim)), keepdims=True)
    return changes / np.maximum(largest, np.finfo(changes.dtype).tiny)
