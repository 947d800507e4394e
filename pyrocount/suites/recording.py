"""Suite of a recording: what latents and channels prefer, how each channel is fitted, and which trials are not."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pyrocount import figures
from pyrocount.backends import derived_seed
from pyrocount.backends.evaluation import Array
from pyrocount.metrics.channels import (
    by_label,
    channel_bits_per_spike,
    fano_factors,
    known_mean,
    residual_dispersion,
    selectivity,
)
from pyrocount.metrics.spikes import bits_per_spike

from .base import EvaluationContext, Result, Table, mean_over

# Number of replicated recordings, and the part of them within an interval.
REPLICATES, INSIDE = 50, 0.9
# Numbers of trials, channels and latents in the tables, and of channels that a latent names.
TRIALS, LATENTS, STRONGEST = 12, 32, 4


@dataclass(frozen=True)
class Order:
    """Orders of a recording's figures.

    Attributes:
        channels: numbers of the channels.
        latents: numbers of the latents, by information.
        rows: numbers of the observations, by label where these are known.
        tuning: mean rate of each channel for each label, shape (labels, C); None without labels.
    """

    channels: NDArray[np.int64]
    latents: NDArray[np.int64]
    rows: NDArray[np.int64]
    tuning: Array | None

    @property
    def preferred(self) -> NDArray[np.int64] | None:
        """Returns the preferred label of each channel, its number in the order of the labels."""
        return None if self.tuning is None else self.tuning.argmax(0)


def recording(context: EvaluationContext) -> Result:
    """Describes the fit of a recording: channels, latents by label, and the worst trials.

    Each channel is predicted from the others, see ``EvaluationContext.rates_from_others``.
    """
    result = Result()
    with result.attempt("recording"):
        context.require_channels()
        x, exposure = context.test()
        rates = context.rates_from_others
        order = _order(context, x, exposure)
        _channels(context, result, order, x, exposure, rates)
        _latents(context, result, order, x, exposure)
        _worst_trials(context, result, x)
    return result


def _order(context: EvaluationContext, x: Array, exposure: Array | None) -> Order:
    """Sorts channels by preferred label, or else by the latent that moves them most."""
    latents = np.argsort(-context.evaluation.latent_kl)
    weights = context.model.dictionary()[latents]
    strongest = np.abs(weights).argmax(0)
    if context.test_labels is None:
        return Order(np.lexsort((-np.abs(weights).max(0), strongest)), latents, np.arange(len(x)), None)
    _, tuning = by_label(x, context.test_labels, exposure)
    channels = np.lexsort((strongest, tuning.argmax(0)))
    return Order(channels, latents, np.argsort(context.test_labels, kind="stable"), tuning)


def _channels(
    context: EvaluationContext, result: Result, order: Order, x: Array, exposure: Array | None, rates: Array
) -> None:
    marginal, names = context.model.marginal(context.data), context.channels
    means = rates if exposure is None else rates * exposure[:, None]
    bits = channel_bits_per_spike(x, rates, marginal.rates, exposure)
    fano, spread = fano_factors(x), residual_dispersion(x, means)
    drawn = context.model.draws(x, exposure, samples=REPLICATES, seed=derived_seed(context.seed, 7), replicate=True)
    assert drawn.replicates is not None
    replicated = np.stack([fano_factors(draw) for draw in drawn.replicates])
    tails = (1 - INSIDE) / 2, (1 + INSIDE) / 2
    low, middle, high = (np.quantile(replicated, part, axis=0) for part in (tails[0], 0.5, tails[1]))
    recorded, predicted = known_mean(x), known_mean(np.where(np.isnan(x), np.nan, means))
    nelbo = context.evaluation.per_observation["nelbo"]
    spikes, preferred = float(np.nansum(x)), order.preferred
    result.metrics |= {
        "bits_per_spike": bits_per_spike(float(nelbo.sum()), float(marginal.rate_nll[context.rows].sum()), spikes),
        "bits_per_spike_of_hidden_channels": float(np.nansum(bits * np.nansum(x, 0)) / spikes) if spikes else math.nan,
        "fano_factor": mean_over(fano, some=True),
        "fano_factor_replicated": mean_over(middle, some=True),
        "dispersion_beyond_the_prediction": mean_over(spread),
        "channels_below_their_mean_rate": float(np.mean(bits < 0)),
    }
    rows = [
        (
            names[channel],
            "" if preferred is None else context.label_names[preferred[channel]],
            float(recorded[channel]),
            float(predicted[channel]),
            float(bits[channel]),
            float(fano[channel]),
            float(middle[channel]),
            float(spread[channel]),
        )
        for channel in np.argsort(np.nan_to_num(bits, nan=-np.inf))
    ]
    header = ("channel", "preferred label", "mean count", "predicted", "bits per spike", "Fano factor", "replicated")
    title = "Channels, each predicted from the others, the worst first"
    result.tables.append(Table(title, (*header, "dispersion beyond the prediction"), rows))
    result.figures["channel_fits"] = figures.channel_fits(recorded, predicted, fano, (middle, low, high), bits)
    labels = context.test_labels
    sizes = [] if labels is None else np.unique(labels, return_counts=True)[1].tolist()
    groups = list(zip(context.label_names, sizes, strict=True))
    chosen = np.ix_(order.rows, order.channels)
    sorted_names = [names[channel] for channel in order.channels]
    result.figures["raster"] = figures.raster(x[chosen], means[chosen], sorted_names, groups)


def _latents(context: EvaluationContext, result: Result, order: Order, x: Array, exposure: Array | None) -> None:
    model, labels = context.model, context.test_labels
    weights, names = model.dictionary()[order.latents], context.channels
    codes = model.code(x, exposure, seed=context.seed)[:, order.latents]
    sorted_names = [names[channel] for channel in order.channels]
    result.figures["loadings"] = figures.loadings(weights[:, order.channels], sorted_names)
    tuned = np.zeros(len(weights)) if labels is None else selectivity(codes, labels)
    preferred = [""] * len(weights)
    if labels is not None and order.tuning is not None:
        _, means = by_label(codes, labels)
        preferred = [context.label_names[place] for place in means.argmax(0)]
        rates = order.tuning[:, order.channels]
        result.figures["tuning"] = figures.tuning(means, rates, context.label_names, sorted_names)
        result.metrics["selectivity_of_latents"] = mean_over(tuned)
    rows = []
    for place, latent in enumerate(order.latents[:LATENTS]):
        strongest = np.argsort(-np.abs(weights[place]))[:STRONGEST]
        signed = ", ".join(f"{names[channel]} {weights[place, channel]:+.2f}" for channel in strongest)
        information = float(context.evaluation.latent_kl[latent])
        rows.append((str(latent), information, preferred[place], float(tuned[place]), signed))
    header = ("latent", "information (nats)", "preferred label", "variance by label", "strongest channels")
    result.tables.append(Table("Latents, the most informative first", header, rows))


def _worst_trials(context: EvaluationContext, result: Result, x: Array) -> None:
    """Lists the observations whose loss, per spike that the mean rates expect, is largest."""
    nelbo = context.evaluation.per_observation["nelbo"]
    null = context.model.marginal(context.data).nll[context.rows]
    names, labels = context.names(), context.test_labels
    known = None if labels is None else np.unique(labels, return_inverse=True)[1]
    # Loud trials cost more: a robust line through the losses by the number of spikes says what is usual.
    spikes = np.nansum(x, 1)
    slope, offset = np.polyfit(spikes, nelbo, 1) if spikes.std() > 0 else (0.0, float(nelbo.mean()))
    excess = nelbo - (slope * spikes + offset)
    scale = 1.4826 * float(np.median(np.abs(excess - np.median(excess)))) or 1.0
    rows = [
        (
            str(names[row]),
            "" if known is None else context.label_names[known[row]],
            float(spikes[row]),
            float(nelbo[row]),
            float(nelbo[row] - null[row]),
            float(excess[row] / scale),
        )
        for row in np.argsort(-excess)[:TRIALS]
    ]
    header = ("trial", "label", "spikes", "nelbo (nats)", "over the mean rates", "deviations from the usual")
    result.tables.append(Table("The worst trials, for their number of spikes", header, rows))
