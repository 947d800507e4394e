"""Figures of what spikes tell, and when."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .layout import DATA, FIRST, SECOND, Array, intervals, plain

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
        intervals(axis, spikes, accuracy)
        axis.axhline(chance, color=DATA, linewidth=1)
        axis.annotate(
            "most frequent label", (0, chance), (2, 2), ("axes fraction", "data"), "offset points", fontsize=6
        )
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter("{x:g}")
        axis.set_ylim(0, 1.02)
        axis.set_xlabel("spikes that are kept, per observation", fontsize=8)
        axis.set_ylabel("accuracy of logistic regression", fontsize=8)
    plain(left, *others)
    return figure


def reaction_time(
    curves: Mapping[int, tuple[Array, Array]],
    accuracy: float | None,
    law: tuple[float, float, Array] | None,
    times: Array,
) -> Figure:
    """Draws speed against accuracy, Hick's law, and the distribution of the reaction times.

    Args:
        curves: accuracy and mean reaction time in windows over the bounds, by number of alternatives.
        accuracy: accuracy at which reaction times are compared, where there is one.
        law: slope and intercept of Hick's law, and mean reaction times with the ends of their intervals, one for each
            number of alternatives, shape (numbers, 3).
        times: reaction times among all alternatives at the bound of this accuracy, in windows, shape (N,).
    """
    figure = Figure(figsize=(9.5, 2.9), layout="constrained")
    speed, hick, distribution = figure.subplots(1, 3)
    colors = colormaps["viridis"](np.linspace(0, 0.9, len(curves)))
    for (number, (reached, time)), color in zip(curves.items(), colors, strict=True):
        speed.plot(time, reached, ".-", color=color, markersize=3, linewidth=0.9, label=f"{number}")
    if accuracy is not None:
        speed.axhline(accuracy, color=DATA, linewidth=0.8, zorder=0)
    speed.set_xlabel("mean reaction time (windows)", fontsize=8)
    speed.set_ylabel("accuracy", fontsize=8)
    speed.legend(title="alternatives", title_fontsize=6, fontsize=6, frameon=False, loc="lower right")
    numbers = np.array(list(curves))
    if law is not None:
        slope, intercept, points = law
        intervals(hick, np.log2(numbers), points, "o")
        ends = np.array([0.9, np.log2(numbers[-1]) + 0.1])
        hick.plot(ends, intercept + slope * ends, color=SECOND, linewidth=1)
        hick.set_title(f"{slope:.2g} windows per bit", fontsize=7)
        hick.set_ylim(bottom=min(0.0, float(points[:, 1].min())))
    hick.set_xticks(np.log2(numbers), [f"{number}" for number in numbers])
    hick.set_xlabel("alternatives (logarithmic)", fontsize=8)
    hick.set_ylabel(
        "reaction time (windows)" if accuracy is None else f"reaction time at {accuracy:.0%} (windows)", fontsize=8
    )
    distribution.hist(times, BARS, color=FIRST)
    distribution.set_title("at this accuracy; the last bar may be undecided", fontsize=7)
    distribution.set_xlabel(f"reaction time, {numbers[-1]} alternatives (windows)", fontsize=8)
    distribution.set_ylabel("observations", fontsize=8)
    plain(speed, hick, distribution)
    return figure
