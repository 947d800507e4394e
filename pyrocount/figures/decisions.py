"""Figures of what spikes tell, and when."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .layout import DATA, FIRST, SECOND, Array

# Largest number of bars in a histogram.
BARS = 30


def energy(totals: Array, spikes: Sequence[float], accuracy: Array, chance: float) -> Figure:
    """Draws the number of spikes of each observation, and the accuracy of a probe as spikes are left out.

    Args:
        totals: number of spikes of each observation, shape (N,).
        spikes: mean number of spikes that are left, for each part of them that is kept, all of them last.
        accuracy: accuracy of the probe, and the ends of its interval, shape (parts, 3); of shape (0, 3) without labels.
        chance: accuracy of the most frequent label.
    """
    figure = Figure(figsize=(7.0 if len(accuracy) else 3.6, 2.7), layout="constrained")
    left, *others = figure.subplots(1, 2 if len(accuracy) else 1, squeeze=False)[0]
    width = max(1, int(np.ceil(np.ptp(totals) / BARS)))
    left.hist(totals, np.arange(totals.min(), totals.max() + 2 * width, width) - 0.5, color=FIRST)
    left.axvline(totals.mean(), color=SECOND, linewidth=1)
    left.set_xlabel("spikes of an observation (line: mean)", fontsize=8)
    left.set_ylabel("observations", fontsize=8)
    left.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    for axis in others:
        middle, low, high = accuracy.T
        bars = np.maximum([middle - low, high - middle], 0)
        axis.errorbar(spikes, middle, bars, fmt="o-", color=FIRST, markersize=4, linewidth=1, capsize=2)
        axis.axhline(chance, color=DATA, linewidth=1)
        axis.annotate(
            "most frequent label", (0, chance), (2, 2), ("axes fraction", "data"), "offset points", fontsize=6
        )
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter("{x:g}")
        axis.set_ylim(0, 1.02)
        axis.set_xlabel("spikes that are kept, per observation", fontsize=8)
        axis.set_ylabel("accuracy of logistic regression", fontsize=8)
    _plain(left, *others)
    return figure


def _plain(*axes: Axes) -> None:
    for axis in axes:
        axis.tick_params(labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
