"""Figures of the quantities behind diagnostics and metrics."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy import stats

from .layout import DATA, FIRST, SECOND, Array, plain

# Probability with which a bar of uniform values lies within the band.
CONFIDENCE = 0.99
# Number of bars in a histogram.
BINS = 20


def importance(pareto_k: Array, effective: Array, samples: int) -> Figure:
    """Draws k-hat of each observation with its limit of 0.7, and the fraction of the samples that is effective.

    Args:
        pareto_k: k-hat of each observation, shape (N,); values below -0.5 are drawn at -0.5, and positive infinity at
            the largest finite value, or at 1 if that is larger.
        effective: effective sample size of each observation, shape (N,).
        samples: number S of samples of each observation.
    """
    figure = Figure(figsize=(7, 2.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    largest = max(1.0, float(np.max(pareto_k, where=np.isfinite(pareto_k), initial=-np.inf)))
    shown = np.clip(np.sort(pareto_k[~np.isnan(pareto_k)]), -0.5, largest)
    for part, color in ((shown <= 0.7, FIRST), (shown > 0.7, SECOND)):
        left.plot(np.flatnonzero(part), shown[part], ".", color=color, markersize=3)
    left.axhline(0.7, color=DATA, linewidth=1)
    left.set_xlabel("observation, by k-hat", fontsize=8)
    left.set_ylabel("Pareto k-hat", fontsize=8)
    right.hist(effective / samples, BINS, range=(0, 1), color=FIRST)
    right.set_xlabel("effective part of the samples", fontsize=8)
    right.set_ylabel("observations", fontsize=8)
    plain(left, right)
    return figure


def uniformity(values: Mapping[str, Array]) -> Figure:
    """Draws histograms of values that should be uniform between 0 and 1.

    A band shows where each bar lies with a probability of 99 % if the values are uniform.

    Args:
        values: values by name, any shape.
    """
    figure = Figure(figsize=(3.5 * len(values), 2.4), layout="constrained")
    axes = figure.subplots(1, len(values), squeeze=False)[0]
    for axis, (name, part) in zip(axes, values.items(), strict=True):
        axis.hist(part.ravel(), BINS, range=(0, 1), color=FIRST, density=True)
        low, high = stats.binom.interval(CONFIDENCE, part.size, 1 / BINS)
        axis.axhspan(low * BINS / part.size, high * BINS / part.size, color=DATA, alpha=0.6, linewidth=0)
        axis.axhline(1, color="0.3", linewidth=0.8)
        axis.set_xlabel(name, fontsize=8)
        axis.set_ylabel("density", fontsize=8)
    plain(*axes)
    return figure


def rootograms(pairs: Mapping[str, tuple[Array, Array]]) -> Figure:
    """Draws hanging rootograms: bars of the observed frequencies hang from the curve of the expected frequencies.

    If a bar does not reach 0, the count is rarer than expected; if it goes below 0, the count is more frequent.

    Args:
        pairs: observed and expected relative frequencies of the counts 0, 1, ... by name, each of shape (C,).
    """
    figure = Figure(figsize=(3.5 * len(pairs), 2.6), layout="constrained")
    axes = figure.subplots(1, len(pairs), squeeze=False)[0]
    for axis, (name, (observed, expected)) in zip(axes, pairs.items(), strict=True):
        top, height = np.sqrt(expected), np.sqrt(observed)
        counts = np.arange(len(observed))
        axis.bar(counts, height, bottom=top - height, color=DATA, width=0.9)
        axis.plot(counts, top, "o-", color=SECOND, markersize=3, linewidth=1)
        axis.axhline(0, color="0.3", linewidth=0.8)
        axis.set_title(name, fontsize=8)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set_xlabel("count", fontsize=8)
        axis.set_ylabel("square root of frequency", fontsize=8)
    plain(*axes)
    return figure


def mean_variance(mean: Array, variance: Array, total_counts: tuple[float, ...] = (0.3, 1.0, 3.0)) -> Figure:
    """Draws mean and variance of each latent count over observations, beside lines of Poisson and negative binomial.

    Args:
        mean: mean of each latent count, shape (K,).
        variance: variance of each latent count, shape (K,).
        total_counts: total counts r of the negative binomials, one line each.
    """
    figure = Figure(figsize=(3.8, 3), layout="constrained")
    axis = figure.subplots()
    active = (mean > 0) & (variance > 0)
    axis.plot(mean[active], variance[active], ".", color=FIRST, markersize=4)
    if active.any():
        line = np.geomspace(mean[active].min(), mean[active].max())
        axis.plot(line, line, color="0.3", linewidth=1, label="Poisson")
        for total_count, style in zip(total_counts, ("-", "--", ":"), strict=False):
            label = f"negative binomial, r = {total_count:g}"
            axis.plot(line, line + line**2 / total_count, style, color=SECOND, linewidth=1, label=label)
        axis.set_xscale("log")
        axis.set_yscale("log")
        for side in (axis.xaxis, axis.yaxis):
            # An axis within one decade may have no power of ten to label.
            side.set_major_formatter("{x:g}")
            side.set_minor_formatter(lambda x, place: f"{x:g}" if f"{x:.0e}"[0] in "25" else "")
        axis.tick_params(which="both", labelsize=7)
        axis.legend(fontsize=6, frameon=False)
    axis.set_xlabel("mean count of a latent", fontsize=8)
    axis.set_ylabel("variance over observations", fontsize=8)
    plain(axis)
    return figure


def information(latent_kl: Array, sparsity: Array) -> Figure:
    """Draws the KL divergence of each latent, largest first, and a histogram of the lifetime sparsity of latents.

    Args:
        latent_kl: KL divergence of each latent, in nats, shape (K,).
        sparsity: lifetime sparsity of each latent, shape (K,); NaN for latents that are never active.
    """
    figure = Figure(figsize=(7, 2.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(np.arange(1, len(latent_kl) + 1), np.sort(latent_kl)[::-1], ".-", color=FIRST, markersize=3)
    left.set_yscale("symlog", linthresh=1e-4)
    left.set_xlabel("latent, by divergence", fontsize=8)
    left.set_ylabel("KL divergence (nats)", fontsize=8)
    right.hist(sparsity[~np.isnan(sparsity)], BINS, range=(0, 1), color=FIRST)
    right.set_xlabel("lifetime sparsity", fontsize=8)
    right.set_ylabel("latents", fontsize=8)
    plain(left, right)
    return figure


def restarts(cosines: Mapping[str, Array]) -> Figure:
    """Draws how well the latents of other restarts match those of the first: cosines of pairs, largest first.

    Args:
        cosines: cosines of the matched pairs by name of the restart, each of shape (K,).
    """
    figure = Figure(figsize=(3.8, 2.6), layout="constrained")
    axis = figure.subplots()
    for name, values in cosines.items():
        axis.plot(np.arange(1, len(values) + 1), np.sort(values)[::-1], "-", label=name, linewidth=1)
    axis.set_ylim(top=1.02)
    axis.set_xlabel("matched latent, by cosine", fontsize=8)
    axis.set_ylabel("cosine of the decoder columns", fontsize=8)
    axis.legend(fontsize=7, frameon=False)
    plain(axis)
    return figure
