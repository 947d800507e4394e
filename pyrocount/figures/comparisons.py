"""Figures of many runs beside each other."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .layout import DATA, FIRST, plain

# Limit on the distance of a mean from the median mean, in median distances; means beyond it are off a figure's scale.
FAR = 20
# Names of options and metrics on axes, where they are not plain.
TITLES = {
    "beta": "weight of the KL divergence, beta",
    "latent_dim": "number of latents",
    "kl": "rate: KL divergence, nats",
    "mse": "distortion: mean squared error",
    "r2": "R²",
    "zero_fraction": "zeros, part of all counts",
}


def comparison(labels: Sequence[str], values: Sequence[Sequence[float]], margins: Sequence[float], name: str) -> Figure:
    """Draws a metric of several configurations, one row each: the runs as dots, and their mean with its interval.

    A mean far from all others is written at the edge, because the axis would otherwise squeeze the rest.

    Args:
        labels: names of the configurations.
        values: values of the metric for the runs of each configuration.
        margins: half the width of the interval of each mean; NaN draws no interval.
        name: name of the metric.
    """
    longest = max(map(len, labels))
    figure = Figure(figsize=(4.0 + 0.075 * longest, 0.3 * len(labels) + 0.8), layout="constrained")
    axis = figure.subplots()
    rows = np.arange(len(labels))[::-1]
    means = np.array([np.mean(runs) for runs in values])
    middle = float(np.median(means))
    far = np.abs(means - middle) > FAR * np.median(np.abs(means - middle))
    for row, runs, mean, margin, outside in zip(rows, values, means, margins, far & (len(labels) > 2), strict=True):
        if outside:
            text, place, side = (f"{mean:.4g} >", 1.0, "right") if mean > middle else (f"< {mean:.4g}", 0.0, "left")
            axis.text(place, row, text, transform=axis.get_yaxis_transform(), ha=side, va="center", fontsize=7)
            continue
        axis.plot(runs, np.full(len(runs), row), "o", color=DATA, markersize=4)
        axis.errorbar(mean, row, xerr=margin, fmt="|", color=FIRST, markersize=10, capsize=3)
    axis.set_yticks(rows, labels, fontsize=7)
    axis.set_ylim(-0.6, len(labels) - 0.4)
    axis.set_xlabel(f"{name.replace('_', ' ')}: runs, mean and 99 % interval", fontsize=8)
    axis.tick_params(axis="x", labelsize=7)
    axis.grid(axis="y", color="0.92")
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def relations(
    curves: Mapping[str, Sequence[Mapping[str, tuple[float, float]]]],
    pairs: Sequence[tuple[str, str]],
    options: Sequence[str] = (),
    along: str | None = None,
) -> Figure:
    """Draws metrics over options and over each other, a curve for each configuration, with intervals of the means.

    Axes show the range of the means, and intervals that are longer are cut off.

    Args:
        curves: points of each configuration in the order in which they are joined; of each point the mean of every
            metric and half the width of its interval (NaN for none), by name.
        pairs: names of the metrics across and up of each pair of axes; a point that lacks one is left out.
        options: names of those that are options, positive numbers, drawn on a logarithmic scale.
        along: option whose value is written beside each point where it is not on an axis.
    """
    figure = Figure(figsize=(3.4 * len(pairs) + 0.2, 3.0 + 0.17 * len(curves)), layout="constrained")
    axes = figure.subplots(1, len(pairs), squeeze=False)[0]
    for axis, (across, up) in zip(axes, pairs, strict=True):
        drawn = {label: [point for point in points if {across, up} <= point.keys()] for label, points in curves.items()}
        for place, (label, points) in enumerate(drawn.items()):
            if points:
                _curve(axis, points, (across, up), f"C{place % 10}", label, None if along == across else along)
        known = [point for points in drawn.values() for point in points]
        if across in options:
            _option_axis(axis, sorted({point[across][0] for point in known}))
        elif known:
            axis.set_xlim(_limits([point[across][0] for point in known]))
        if known:
            axis.set_ylim(_limits([point[up][0] for point in known]))
        axis.set_xlabel(_title(across), fontsize=8)
        axis.set_ylabel(_title(up), fontsize=8)
        plain(axis)
    handles = {label: line for axis in axes for line, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    margins = [margin for points in curves.values() for point in points for _, margin in point.values()]
    bars = ["means and 99 % intervals"] if np.isfinite(margins).any() else []
    title = "; ".join(bars + ([] if along is None else [f"numbers: {_title(along)}"])) or None
    figure.legend(
        handles.values(), handles.keys(), loc="outside upper center", title=title, fontsize=6, title_fontsize=6
    ).set_frame_on(False)
    return figure


def _curve(
    axis: Axes,
    points: Sequence[Mapping[str, tuple[float, float]]],
    pair: tuple[str, str],
    color: str,
    label: str,
    along: str | None,
) -> None:
    (x, x_margin), (y, y_margin) = (np.array([point[name] for point in points]).T for name in pair)
    axis.errorbar(x, y, y_margin, x_margin, fmt="none", ecolor=color, elinewidth=0.7, alpha=0.4, capsize=2)
    axis.plot(x, y, "o-", markersize=4, linewidth=1, color=color, label=label)
    if along is not None:
        for point, across, up in zip(points, x, y, strict=True):
            text = f"{point[along][0]:g}"
            axis.annotate(text, (across, up), (3, 3), textcoords="offset points", fontsize=6, color=color)


def _option_axis(axis: Axes, known: Sequence[float]) -> None:
    axis.set_xscale("log")
    axis.set_xticks(known, [f"{value:g}" for value in known], rotation=45 if len(known) > 5 else 0)
    axis.minorticks_off()


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """Returns limits of an axis around values, with room beside them."""
    low, high = min(values), max(values)
    room = 0.25 * (high - low) or 0.1 * abs(high) or 1.0
    return low - room, high + room


def _title(name: str) -> str:
    return TITLES.get(name, name.replace("_", " "))
