"""Layout of figures: mosaics of images, grids of axes, legends."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

# Colours of the data, and of the first and the second series beside them.
DATA, FIRST, SECOND = "0.65", "#0072b2", "#d55e00"
# Width and height of a cell of a gallery of curves, in those of a curve.
CELL = 1.15


def gallery(items: Array, columns: int, limits: tuple[float, float]) -> Figure:
    """Draws images in rows, or curves (N, features) in a grid, all on one scale."""
    if items.ndim > 2:
        return mosaic(items, min(columns, len(items)), limits)
    columns = min(columns, len(items))
    rows = math.ceil(len(items) / columns)
    figure = Figure(figsize=(1.2 * columns + 0.4, 0.7 * rows + 0.3), layout="constrained")
    # One pair of axes for all curves: a pair for each takes most of the time of a fit to a table.
    axis = figure.subplots()
    axis.set_axis_off()
    low, high = limits
    height = max(high - low, 1e-6)
    for place, item in enumerate(items):
        row, column = divmod(place, columns)
        left, base = CELL * column, -CELL * height * row
        across = left + (np.linspace(0, 1, len(item)) if len(item) > 1 else np.array([0.5]))
        axis.plot(across, base + item, marker(item), color=FIRST, linewidth=0.8)
        if low <= 0 <= high:
            axis.plot([left, left + 1], [base, base], color=DATA, linewidth=0.4, zorder=0)
    return figure


def mosaic(images: Array, columns: int, limits: tuple[float, float], labels: Sequence[str] = ()) -> Figure:
    """Draws images (N, channels, height, width) in rows on white.

    Images of three channels are drawn in colour, others as the mean of their channels in grey. The space between
    images is an eighth of an image's width, and at least one pixel. The labels name the rows in turn, and start anew
    after the last label.
    """
    low, high = limits
    shown = images if images.shape[1] == 3 else images.mean(1, keepdims=True).repeat(3, 1)
    shown = np.clip((shown - low) / max(high - low, 1e-12), 0, 1)
    rows = math.ceil(len(shown) / columns)
    gap = max(1, shown.shape[-1] // 8)
    blank = np.full((rows * columns - len(shown), *shown.shape[1:]), np.nan)
    tiles = np.pad(np.concatenate([shown, blank]), [(0, 0), (0, 0), (0, gap), (0, gap)], constant_values=np.nan)
    _, _, height, width = tiles.shape
    canvas = tiles.reshape(rows, columns, 3, height, width).transpose(0, 3, 1, 4, 2).reshape(rows * height, -1, 3)

    tile = min(0.6, 10 / columns)
    figure = Figure(figsize=(tile * columns + 0.4, tile * rows * height / width + 0.1), layout="constrained")
    axis = figure.subplots()
    axis.imshow(np.nan_to_num(canvas[:-gap, :-gap], nan=1.0), interpolation="nearest")
    axis.set_xticks([])
    centres = np.arange(rows) * height + (height - gap - 1) / 2 if labels else []
    axis.set_yticks(centres, [labels[row % len(labels)] for row in range(len(centres))], fontsize=7)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    return figure


def marker(points: Array) -> str:
    """Returns the style of a curve: a line, or a dot if it has a single point."""
    return "o" if len(points) == 1 else "-"


def plain(*axes: Axes) -> None:
    """Gives axes small labels and no frame at the top and the right."""
    for axis in axes:
        axis.tick_params(labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)


def intervals(axis: Axes, x: Any, values: Array, fmt: str = "o-") -> None:
    """Draws values, and the ends of their intervals, shape (N, 3), over x, shape (N,)."""
    middle, low, high = values.T
    bars = np.maximum([middle - low, high - middle], 0)
    axis.errorbar(x, middle, bars, fmt=fmt, color=FIRST, markersize=4, linewidth=1, capsize=2)


def legend(figure: Figure, entries: Sequence[tuple[str, str]]) -> None:
    """Adds a legend of names and colours at the top of the figure."""
    handles = [
        Line2D([], [], color=color, label=label, linewidth=4 if color == DATA else 1.5) for label, color in entries
    ]
    figure.legend(handles=handles, loc="upper center", borderaxespad=0.2, ncols=len(entries), fontsize=7, frameon=False)


def grid(
    number: int, columns: int, width: float, height: float, share: bool = False, below: float = 0.25
) -> tuple[Figure, list[Axes]]:
    """Returns a figure with a grid of axes, and the axes in one list.

    Margins are fixed, as a constrained layout of many axes takes longer than all other drawing of a fit.

    Args:
        number: number of pairs of axes.
        columns: number of axes in a row.
        width: width of one pair of axes with the space beside it, in inches.
        height: height of one pair of axes with the space below it, in inches.
        share: whether all axes have the same limits, and only the outer ones have labels.
        below: space between rows, for ticks and titles, in inches.
    """
    columns = min(columns, number)
    rows = math.ceil(number / columns)
    left, right, bottom, top, beside = 0.55, 0.1, 0.5, 0.42, 0.12 if share else 0.4
    size = width * columns + left + right, height * rows + bottom + top
    figure = Figure(figsize=size)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=share, sharey=share)
    figure.subplots_adjust(
        left=left / size[0],
        right=1 - right / size[0],
        bottom=bottom / size[1],
        top=1 - top / size[1],
        wspace=beside / (width - beside),
        hspace=below / (height - below),
    )
    return figure, list(axes.flat)
