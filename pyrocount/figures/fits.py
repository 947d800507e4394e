"""Figures of fitted models, and of comparisons of estimators and configurations."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter
from numpy.typing import NDArray
from scipy import stats

from .layout import DATA, FIRST, SECOND, Array, gallery, grid, legend, marker, mosaic

# Largest number of bars in a histogram.
BARS = 40


def reconstructions(x: Array, reconstruction: Array, *, columns: int = 12, rows: int = 3) -> Figure:
    """Draws observations and, below each, its reconstruction.

    Args:
        x: observations, shape (N, channels, height, width), or (N, features), which are drawn as curves.
        reconstruction: reconstructions, of the shape of ``x``.
        columns: number of pairs in a row.
        rows: number of rows of pairs.
    """
    number = min(len(x), columns * rows)
    if x.ndim == 2:
        figure, axes = grid(min(number, 12), 4, width=2.2, height=1.2, share=True)
        for axis, data, model in zip(axes, x, reconstruction, strict=False):
            axis.plot(data, marker(data), color=DATA)
            axis.plot(model, marker(model), color=FIRST, linewidth=1)
            # Few ticks: those of all axes together take longer than anything else of a fit's figures.
            axis.locator_params(nbins=3)
            axis.tick_params(labelsize=6)
            axis.spines[["top", "right"]].set_visible(False)
        legend(figure, [("data", DATA), ("reconstruction", FIRST)])
        figure.supxlabel("feature", fontsize=8)
        figure.supylabel("value", fontsize=8)
        return figure
    columns = min(columns, number)
    blank = np.full((-number % columns, *x.shape[1:]), np.nan, x.dtype)
    rows_of = [
        np.split(np.concatenate([part[:number], blank]), math.ceil(number / columns)) for part in (x, reconstruction)
    ]
    pairs = np.concatenate([row for pair in zip(*rows_of, strict=True) for row in pair])
    return mosaic(pairs, columns, (float(x.min()), float(x.max())), labels=("data", "model"))


def samples(decoded: Array, *, limits: tuple[float, float] | None = None, columns: int = 12) -> Figure:
    """Draws decoded samples of the prior.

    Args:
        decoded: decoded samples, shape (N, channels, height, width), or (N, features), which are drawn as curves.
        limits: values that are shown as black and white; by default the smallest and largest value of the samples.
        columns: number of samples in a row.
    """
    return gallery(decoded, columns, limits or (float(decoded.min()), float(decoded.max())))


def dictionary(atoms: Array, *, columns: int | None = None) -> Figure:
    """Draws the dictionary: the response of the decoder to one unit of each latent.

    Each atom is scaled by its own largest magnitude; 0 is mid-grey.

    Args:
        atoms: responses of the decoder, shape (K, channels, height, width), or (K, features), which are drawn as
            curves.
        columns: number of atoms in a row; by default at least 12, and such that a large dictionary is twice as wide
            as high.
    """
    columns = columns or max(12, math.ceil(math.sqrt(2 * len(atoms))))
    largest = np.abs(atoms).max(axis=tuple(range(1, atoms.ndim)), keepdims=True)
    return gallery(atoms / np.maximum(largest, np.finfo(atoms.dtype).tiny), columns, (-1.0, 1.0))


def gradient_estimators(
    names: Sequence[str],
    bias: Sequence[float],
    resolution: Sequence[float],
    spread: Sequence[float],
    milliseconds: Sequence[float],
) -> Figure:
    """Draws bias, spread and time of gradient estimators, one row for each estimator, on logarithmic scales.

    Args:
        names: names of the estimators.
        bias: bias of each estimator, relative to the norm of the exact gradient; a bias below twice its resolution is
            drawn at twice its resolution, as an upper bound.
        resolution: bias that chance alone would show, relative to the norm of the exact gradient.
        spread: standard deviation of one sample, relative to the norm of the exact gradient.
        milliseconds: time of one sample.
    """
    figure = Figure(figsize=(7.0, 0.26 * len(names) + 0.7), layout="constrained")
    rows = np.arange(len(names))[::-1]
    bound = 2 * np.asarray(resolution)
    seen = np.asarray(bias) > bound
    left, middle, right = figure.subplots(1, 3, sharey=True)
    left.plot(np.asarray(bias)[seen], rows[seen], "o", color=FIRST, markersize=4)
    left.plot(bound[~seen], rows[~seen], "<", color=FIRST, fillstyle="none", markersize=5)
    middle.plot(spread, rows, "o", color=FIRST, markersize=4)
    right.plot(milliseconds, rows, "o", color=FIRST, markersize=4)
    left.set_yticks(rows, names)
    titles = ("relative bias", "relative standard deviation", "milliseconds a sample")
    for axis, title in zip((left, middle, right), titles, strict=True):
        axis.set_xscale("log")
        # The axis spans whole decades; a spread of 0 has no place on it.
        if math.isfinite(low := float(axis.dataLim.minposx)):
            high = float(axis.dataLim.x1)
            axis.set_xlim(10 ** math.floor(math.log10(0.9 * low)), 10 ** math.ceil(math.log10(1.1 * high)))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_xlabel(title, fontsize=8)
        axis.set_ylim(-0.5, len(names) - 0.5)
        axis.tick_params(labelsize=7)
        axis.grid(axis="y", color="0.9")
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def amortization(own: tuple[float, float], codes: Sequence[tuple[float, float]], name: str) -> Figure:
    """Draws a model's sparsity and error beside those of sparse codes with the same dictionary.

    The distance between the two shows how far the encoder is from what the dictionary can do.

    Args:
        own: lifetime sparsity and mean squared error of the model's own latents.
        codes: lifetime sparsity and mean squared error of sparse codes with the model's dictionary, from the least to
            the most sparse.
        name: name of the algorithm that found the sparse codes.
    """
    figure = Figure(figsize=(4.2, 3.2), layout="constrained")
    axis = figure.subplots()
    axis.plot(*zip(*codes, strict=True), "o-", color=FIRST, markersize=4, label=f"{name} on its dictionary")
    axis.plot(*own, "o", color=SECOND, markersize=8, fillstyle="none", label="the model")
    axis.set_xlabel("lifetime sparsity", fontsize=8)
    axis.set_ylabel("mean squared error", fontsize=8)
    axis.set_ylim(bottom=0)
    axis.tick_params(labelsize=7)
    axis.legend(fontsize=7, frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def training_curves(
    history: Sequence[Mapping[str, float]],
    objective_name: str = "training (annealed)",
) -> Figure:
    """Draws the objective, the KL divergence, the firing rate and the annealed quantities over the epochs.

    Args:
        history: one row for each epoch, with ``epoch``, ``elbo``, ``test_nelbo``, ``test_kl``, ``mean_rate``,
            ``kl_weight``, ``learning_rate`` and, for relaxed samples, ``temperature``.
        objective_name: name of minus ``elbo`` in the legend.
    """
    column = {name: np.array([row[name] for row in history]) for name in history[0]}
    figure = Figure(figsize=(7.5, 5), layout="constrained")
    objective, divergence, rate, schedule = figure.subplots(2, 2, sharex=True).flat
    epoch, style = column["epoch"], marker(column["epoch"])
    objective.plot(epoch, -column["elbo"], style, color=DATA, label=objective_name)
    objective.plot(epoch, column["test_nelbo"], style, color=FIRST, label="held out (exact counts)")
    objective.set_ylabel("negative ELBO (nats)")
    # Without these limits, the first epochs would squeeze the rest of the curve.
    settled = np.concatenate([-column["elbo"], column["test_nelbo"]])
    low, high = settled.min(), np.quantile(settled, 0.95)
    objective.set_ylim(low - 0.05 * (high - low) - 1e-6, high + 0.1 * (high - low) + 1e-6)
    objective.legend(fontsize=7, frameon=False)
    divergence.plot(epoch, column["test_kl"], style, color=FIRST)
    divergence.set_ylabel("held-out KL (nats)")
    rate.plot(epoch, column["mean_rate"], style, color=FIRST)
    rate.set_ylabel("mean count per latent")
    for name, color in (("kl_weight", FIRST), ("temperature", SECOND), ("learning_rate", DATA)):
        if name not in column:
            continue
        largest = column[name].max()
        label = f"{name.replace('_', ' ')} / {largest:.2g}"
        schedule.plot(epoch, column[name] / largest, style, color=color, label=label)
    schedule.set_ylabel("schedule")
    schedule.legend(fontsize=7, frameon=False)
    for axis in (rate, schedule):
        axis.set_xlabel("epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axis in (objective, divergence, rate, schedule):
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def count_histograms(counts: Array, latents: Sequence[int]) -> Figure:
    """Draws histograms of the counts of some latents, with a Poisson and a negative binomial fitted by moments.

    Args:
        counts: posterior counts, shape (..., K).
        latents: numbers of the latents to show, from 0 to K - 1.
    """
    figure, axes = grid(len(latents), 4, width=2.3, height=1.8, below=0.45)
    for axis, latent in zip(axes, latents, strict=False):
        values = counts[..., latent].ravel()
        mean, variance = float(values.mean(dtype=np.float64)), float(values.var(dtype=np.float64))
        # A bar covers one count, or so many counts that there are at most BARS bars.
        width = math.ceil((int(values.max()) + 2) / BARS)
        edges = np.arange(math.ceil((int(values.max()) + 2) / width) + 1) * width - 0.5
        centres = (edges[:-1] + edges[1:]) / 2
        axis.bar(centres, np.histogram(values, edges)[0] / values.size, color=DATA, width=0.9 * width)
        distributions: list[tuple[Any, str, str]] = [(stats.poisson(mean), "o-", FIRST)]
        if variance > mean > 0:
            size = mean**2 / (variance - mean)
            distributions.append((stats.nbinom(size, size / (size + mean)), "s-", SECOND))
        for distribution, style, color in distributions:
            axis.plot(centres, np.diff(distribution.cdf(edges)), style, color=color, markersize=2.5, linewidth=1)
        axis.set_yscale("log")
        # Ticks within decades take longer than all the rest of a fit takes to draw.
        axis.minorticks_off()
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axis.set_ylim(0.3 / values.size, 2)
        fano = f"Fano {variance / mean:.2f}" if mean > 0 else "silent"
        axis.set_title(f"latent {latent}: mean {mean:.3g}, {fano}", fontsize=7)
        axis.tick_params(labelsize=6)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[len(latents) :]:
        axis.set_axis_off()
    entries = [("counts", DATA), ("Poisson, same mean", FIRST), ("negative binomial, same mean and variance", SECOND)]
    legend(figure, entries)
    figure.supxlabel("count per observation", fontsize=8)
    figure.supylabel("frequency", fontsize=8)
    return figure


def inference_curves(curves: Mapping[str, Array]) -> Figure:
    """Draws the convergence of iterative inference: R^2, zeros and free energy over its steps, on a logarithmic axis.

    Args:
        curves: values after each step under the names ``r2`` (the mean over observations), ``r2_median``,
            ``zero_fraction`` and ``free_energy``, each of shape (T,).
    """
    figure = Figure(figsize=(9, 2.8), layout="constrained")
    fit, zeros, energy = figure.subplots(1, 3)
    steps = np.arange(1.0, len(curves["r2"]) + 1)
    for name, label, color in (("r2", "mean", FIRST), ("r2_median", "median", SECOND)):
        fit.plot(steps, curves[name], marker(steps), color=color, label=label)
    # A few diverged observations can lower the mean so far that the other curves would be flat.
    low, high = fit.get_ylim()
    fit.set_ylim(max(low, -0.5), min(high, 1.05))
    fit.legend(fontsize=7, frameon=False)
    zeros.plot(steps, curves["zero_fraction"], marker(steps), color=FIRST)
    energy.plot(steps, curves["free_energy"], marker(steps), color=FIRST)
    labels = ("$R^2$", "fraction of zero counts", "free energy of a step (nats)")
    for axis, label in zip((fit, zeros, energy), labels, strict=True):
        _logarithmic_steps(axis, len(steps))
        axis.set_xlabel("step of inference")
        axis.set_ylabel(label)
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def _logarithmic_steps(axis: Axes, number: int) -> None:
    """Puts steps from 1 on a logarithmic axis, also where no curve has a value."""
    axis.set_xscale("log")
    axis.set_xlim(0.95, 1.05 * max(2, number))


def convergence(curves: Mapping[str, Array]) -> Figure:
    """Draws R^2 over the steps of several inferences, on a logarithmic axis.

    Args:
        curves: R^2 after each step, by name of the inference, each of shape (T,).
    """
    figure = Figure(figsize=(5, 3), layout="constrained")
    axis = figure.subplots()
    for (name, curve), color in zip(curves.items(), (FIRST, SECOND, DATA), strict=False):
        axis.plot(np.arange(1, len(curve) + 1), curve, marker(curve), color=color, label=name)
    _logarithmic_steps(axis, max(map(len, curves.values())))
    axis.set_xlabel("step of inference")
    axis.set_ylabel("$R^2$")
    axis.legend(fontsize=7, frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def fit_over_steps(times: NDArray[np.int64], curves: Mapping[str, Array]) -> Figure:
    """Draws R^2, diverged observations and accuracy after some numbers of steps of inference, on a logarithmic axis.

    Args:
        times: numbers of steps, shape (T,).
        curves: values under the names ``r2`` (the mean over observations), ``r2_median``, ``diverged``,
            ``codes`` and ``means`` (the accuracy of a regression that reads these), each of shape (T,); NaN where there
            is no value.
    """
    figure = Figure(figsize=(9, 2.8), layout="constrained")
    fit, runaway, read = figure.subplots(1, 3)
    for name, label, color in (("r2", "mean", FIRST), ("r2_median", "median", SECOND)):
        fit.plot(times, curves[name], ".-", color=color, label=label)
    # A few diverged observations can lower the mean so far that the median would be flat.
    low, high = fit.get_ylim()
    fit.set_ylim(max(low, -0.5), min(high, 1.05))
    runaway.plot(times, curves["diverged"], ".-", color=FIRST)
    for name, color in (("codes", FIRST), ("means", SECOND)):
        read.plot(times, curves[name], ".-", color=color, label=f"from {name}")
    for axis in (runaway, read):
        axis.set_ylim(-0.03, 1.03)
    for axis in (fit, read):
        axis.legend(fontsize=7, frameon=False)
    labels = ("$R^2$", "fraction diverged", "accuracy of classes read")
    for axis, label in zip((fit, runaway, read), labels, strict=True):
        _logarithmic_steps(axis, int(times[-1]))
        axis.set_xlabel("steps of inference")
        axis.set_ylabel(label)
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def reconstructions_by_kind(pairs: Mapping[str, tuple[Array, Array]]) -> Figure:
    """Draws a row of inputs of each kind, and below it their reconstructions.

    Args:
        pairs: inputs and reconstructions by name of the kind, all of one shape, (N, channels, height, width), or
            (N, features), which are drawn as curves.
    """
    first, _ = next(iter(pairs.values()))
    if first.ndim > 2:
        rows = np.concatenate([part for pair in pairs.values() for part in pair])
        labels = [label for kind in pairs for label in (kind, "model")]
        return mosaic(rows, len(first), (float(first.min()), float(first.max())), labels=labels)
    figure, axes = grid(4 * len(pairs), 4, width=2.2, height=1.3, below=0.4)
    for row, (kind, (inputs, outputs)) in enumerate(pairs.items()):
        for axis, data, model in zip(axes[4 * row : 4 * row + 4], inputs, outputs, strict=False):
            axis.plot(data, marker(data), color=DATA)
            axis.plot(model, marker(model), color=FIRST, linewidth=1)
            axis.tick_params(labelsize=6)
        axes[4 * row].set_title(kind, fontsize=7, loc="left")
    legend(figure, [("data", DATA), ("reconstruction", FIRST)])
    return figure


def spike_raster(counts: Array, rates: Array) -> Figure:
    """Draws the counts of latents and their rates over the steps of an inference.

    Args:
        counts: counts of the latents at each step, shape (T, K). Each count other than 0 is a dot; the larger the
            count, the larger the dot.
        rates: rates of the latents at each step, shape (T, K).
    """
    figure = Figure(figsize=(9, 5), layout="constrained")
    spikes, map_ = figure.subplots(2, 1, sharex=True)
    step, latent = np.nonzero(counts)
    spikes.scatter(step + 1, latent, s=1.5 * np.sqrt(counts[step, latent]), color="black", linewidths=0)
    edges = (0.5, len(rates) + 0.5, -0.5, rates.shape[1] - 0.5)
    shown = np.log10(np.maximum(rates.T, 1e-4))
    image = map_.imshow(shown, aspect="auto", interpolation="nearest", extent=edges, origin="lower")
    figure.colorbar(image, ax=map_, label="log10 of the rate")
    for axis in (spikes, map_):
        axis.set_ylabel("latent, by rate")
        axis.set_ylim(rates.shape[1] - 0.5, -0.5)
    map_.set_xlabel("step of inference")
    spikes.spines[["top", "right"]].set_visible(False)
    return figure


def trajectories(x: Array, reconstruction: Array, steps: Array) -> Figure:
    """Draws observations, and their reconstructions at some steps of an inference.

    Args:
        x: observations, shape (N, channels, height, width), or (N, features), which are drawn as curves.
        reconstruction: reconstructions at S steps, shape (S, N, \\*shape).
        steps: numbers of the S steps, shape (S,).
    """
    if x.ndim > 2:
        rows = np.concatenate([x[None], reconstruction])
        labels = ["data", *(f"step {step}" for step in steps)]
        limits = float(x.min()), float(x.max())
        return mosaic(rows.reshape(-1, *x.shape[1:]), len(x), limits, labels=labels)
    figure, axes = grid(len(x), 4, width=2.2, height=1.4, share=True)
    for axis, data, path in zip(axes, x, reconstruction.swapaxes(0, 1), strict=False):
        axis.plot(data, marker(data), color=DATA)
        for place, model in enumerate(path):
            axis.plot(model, marker(model), color=FIRST, linewidth=0.8, alpha=(place + 1) / len(path))
        axis.tick_params(labelsize=6)
        axis.spines[["top", "right"]].set_visible(False)
    legend(figure, [("data", DATA), (f"steps {steps[0]} (pale) to {steps[-1]}", FIRST)])
    return figure
