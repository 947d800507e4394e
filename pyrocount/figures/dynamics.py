"""Figures of iterative inference as a response in time."""

from collections.abc import Mapping

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from .layout import DATA, FIRST, SECOND, Array, intervals, plain


def serial_dependence(left: Array, shuffled: Array, labels: Array | None) -> Figure:
    """Draws how much of the previous input is left over the steps of the current one.

    Args:
        left: part of the previous code that is left after each step, with its interval, shape (T, 3).
        shuffled: the same for random orders of the inputs: mean, and the ends within which most of them lie.
        labels: number of steps, and the attraction of the label by the previous one with its interval, shape (S, 4);
            None without labels.
    """
    figure = Figure(figsize=(7.0 if labels is not None else 3.8, 2.8), layout="constrained")
    codes, *others = figure.subplots(1, 1 if labels is None else 2, squeeze=False)[0]
    steps = np.arange(1, len(left) + 1)
    for (mean, low, high), color, name in (
        (left.T, FIRST, "previous input"),
        (shuffled.T, SECOND, "order shuffled"),
    ):
        codes.plot(steps, mean, color=color, linewidth=1, label=name)
        codes.fill_between(steps, low, high, color=color, alpha=0.25, linewidth=0)
    codes.set_ylabel("part of its code that is left", fontsize=8)
    codes.legend(fontsize=7, frameon=False)
    for axis in others:
        assert labels is not None
        intervals(axis, labels[:, 0], labels[:, 1:])
        axis.set_ylabel("evidence for the previous label (nats)", fontsize=8)
    for axis in (codes, *others):
        axis.axhline(0, color=DATA, linewidth=0.8, zorder=0)
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter("{x:g}")
        axis.set_xlabel("steps since the current input appeared", fontsize=8)
    plain(codes, *others)
    return figure


def latency(responses: Mapping[float, Array], first: Array, half: Array, spontaneous: float) -> Figure:
    """Draws responses to inputs of several contrasts, and their latencies.

    Args:
        responses: mean rate of the responsive latents after each step, above that at no contrast, shape (T,), by
            contrast.
        first: contrast, and mean step of the first spike with its interval, shape (contrasts, 4).
        half: contrast, and step at which half of the response is reached with its interval, shape (contrasts, 4).
        spontaneous: mean step of the first spike at no contrast.
    """
    figure = Figure(figsize=(9.5, 2.8), layout="constrained")
    course, spikes, rises = figure.subplots(1, 3)
    colors = colormaps["viridis"](np.linspace(0.9, 0, len(responses)))
    for response, color in zip(responses.values(), colors, strict=True):
        course.plot(np.arange(1, len(response) + 1), response, color=color, linewidth=1)
    course.axhline(0, color=DATA, linewidth=0.8, zorder=0)
    course.set_xlabel("step of inference", fontsize=8)
    course.set_ylabel("evoked count of a step", fontsize=8)
    names = [f"{contrast:g}" for contrast in responses]
    names[0] = f"contrast {names[0]}"
    course.legend(names, fontsize=7, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(names))
    for axis, points, name in ((spikes, first, "first spike (step)"), (rises, half, "half of the response (step)")):
        contrast = points[:, 0]
        intervals(axis, contrast, points[:, 1:])
        axis.set_xscale("log")
        axis.set_xticks(contrast, [f"{value:g}" for value in contrast])
        axis.minorticks_off()
        axis.set_ylim(bottom=0)
        axis.set_xlabel("contrast", fontsize=8)
        axis.set_ylabel(name, fontsize=8)
    spikes.axhline(spontaneous, color=DATA, linewidth=1)
    spikes.set_ylim(0, 1.1 * max(spontaneous, float(np.nanmax(first[:, 1:]))))
    spikes.annotate("no contrast", (0.02, spontaneous), (0, 2), ("axes fraction", "data"), "offset points", fontsize=6)
    plain(course, spikes, rises)
    return figure
