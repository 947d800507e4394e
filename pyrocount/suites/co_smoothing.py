"""Suite of what codes of some channels of a recording say about the others."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyrocount.backends import derived_seed
from pyrocount.backends.evaluation import Array
from pyrocount.errors import InputError
from pyrocount.metrics.co_smoothing import (
    BASELINES,
    LEAST_RATE,
    co_smoothing,
    decoding_accuracy,
    gain,
    held_out_channels,
    predicted_rates,
)
from pyrocount.metrics.neural_latents import co_bps, psth_r_squared, velocity_r_squared
from pyrocount.metrics.representation import MeanInterval, mean_interval
from pyrocount.metrics.spikes import mean_rates

from .base import EvaluationContext, Result, Table

# Number of splits of the channels.
SPLITS = 5
MODEL, DECODER = "this model", "this model, its own decoder"


def co_smoothing_suite(context: EvaluationContext) -> Result:
    """Predicts held-out channels from the rest, through the model's latents and those of simple models of the same K.

    The encoder receives the mean of the training data in the place of the held-out channels; iterative inference
    leaves them out of the likelihood. A Poisson regression predicts the channels from the codes, for all models alike.
    """
    result, data = Result(), context.data
    with result.attempt("co-smoothing"):
        context.require_channels()
        gains, accuracies = _over_splits(context)
        rows = []
        for name, values in gains.items():
            found, decoded = mean_interval(values), accuracies.get(name)
            accuracy = "" if decoded is None else float(np.mean(decoded))
            rows.append((name, found.mean, found.low, found.high, accuracy))
        header = ("codes", "bits per spike", "low", "high", "label accuracy")
        held_out = len(next(_splits(context)))
        title = f"Co-smoothing: {held_out} of {data.shape[0]} channels held out, {len(gains[MODEL])} splits, K = "
        result.tables.append(Table(f"{title}{context.model.latent_dim}", header, rows))
        result.metrics |= _metrics(gains, accuracies)
        if context.data.train_times is not None:
            _sequences(context, result)
        if context.data.train_velocity is not None:
            result.metrics["velocity_r2"] = _velocity(context)
    return result


def _metrics(gains: dict[str, list[float]], accuracies: dict[str, list[float]]) -> dict[str, float | MeanInterval]:
    """Returns bits per spike of the model, and of its advantage over factor analysis, split by split."""
    ahead = np.subtract(gains[MODEL], gains["factor analysis"])
    metrics: dict[str, float | MeanInterval] = {
        "co_smoothing": mean_interval(gains[MODEL]),
        "co_smoothing_over_factor_analysis": mean_interval(ahead.tolist()),
    }
    if MODEL in accuracies:
        metrics["held_in_accuracy"] = mean_interval(accuracies[MODEL])
    return metrics


def _splits(context: EvaluationContext) -> Iterator[NDArray[np.int64]]:
    """Yields the numbers of the held-out channels of each split; one split, of channels that are named."""
    channels = context.data.shape[0]
    if isinstance(context.held_out, tuple):
        unknown = [name for name in context.held_out if name not in context.channels]
        if unknown or len(set(context.held_out)) == channels:
            problem = unknown[0] if unknown else "all channels"
            raise InputError("--held-out", problem, f"some of the channels {', '.join(context.channels)}")
        yield np.sort([context.channels.index(name) for name in dict.fromkeys(context.held_out)])
        return
    for split in range(SPLITS):
        yield held_out_channels(channels, context.held_out, context.seed + split)


def _over_splits(context: EvaluationContext) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Returns bits per spike and accuracies of each split, by the name of the codes."""
    data, model = context.data, context.model
    (train, train_exposure), (test, exposure) = context.training(), context.test()
    labels = None
    if data.train_labels is not None and context.test_labels is not None:
        labels = data.train_labels[: len(train)], context.test_labels
    gains: dict[str, list[float]] = {}
    accuracies: dict[str, list[float]] = {}
    for split, hidden in enumerate(_splits(context)):
        seed = context.seed + split
        seen = np.setdiff1d(np.arange(data.shape[0]), hidden)
        gaps = tuple(_without(part, hidden) for part in (train, test))
        codes = {
            MODEL: (
                model.code(gaps[0], train_exposure, seed=seed),
                model.code(gaps[1], exposure, seed=seed),
            )
        }
        filled_train, filled_test = (_filled(part[:, seen], train[:, seen]) for part in (train, test))
        codes |= {
            name: code(filled_train, filled_test, min(model.latent_dim, len(seen)), seed)
            for name, code in BASELINES.items()
        }
        for name, (train_codes, test_codes) in codes.items():
            found = co_smoothing(
                train_codes,
                train[:, hidden],
                test_codes,
                test[:, hidden],
                train_exposure=train_exposure,
                exposure=exposure,
                seed=context.seed,
            )
            gains.setdefault(name, []).append(found)
            if labels is not None:
                accuracies.setdefault(name, []).append(decoding_accuracy(train_codes, labels[0], test_codes, labels[1]))
        rates, null = context.rates(gaps[1], exposure, seed)[:, hidden], mean_rates(train[:, hidden], train_exposure)
        gains.setdefault(DECODER, []).append(gain(test[:, hidden], rates, null, exposure))
    return gains, accuracies


def _sequences(context: EvaluationContext, result: Result) -> None:
    """Measures what the Neural Latents Benchmark does, of trials with one number of bins.

    Each channel is predicted from the others. Forward prediction is a Poisson regression on the codes of the bin
    before, as the models have no dynamics.
    """
    data = context.data
    with result.attempt("sequences"):
        train, test = _trials(data.train_trials, data.train_times), _trials(data.test_trials, data.test_times)
        exposure = data.test_exposure
        place = np.empty(len(data.test), np.int64)
        place[context.rows] = np.arange(len(context.rows))
        if len(context.rows) < len(data.test):
            raise InputError("--observations", len(context.rows), f"all {len(data.test)}, as trials are whole")
        spikes = data.test_view[test]
        rates = context.rates_from_others[place[test]]
        rates = rates if exposure is None else rates * exposure[test][..., None]
        result.metrics["co_bps"] = co_bps(spikes, np.maximum(rates, LEAST_RATE))
        if data.test_labels is not None:
            result.metrics["psth_r2"] = psth_r_squared(spikes, rates, data.test_labels[test][:, 0])
        if spikes.shape[1] > 1:
            codes = [
                context.model.code(part, windows, seed=context.seed)[rows]
                for part, windows, rows in (
                    (data.train_view, data.train_exposure, train),
                    (data.test_view, exposure, test),
                )
            ]
            before = [part[:, :-1].reshape(-1, part.shape[-1]) for part in codes]
            after = [part[:, 1:].reshape(-1, part.shape[-1]) for part in (data.train_view[train], spikes)]
            found = predicted_rates(before[0], after[0], before[1], seed=context.seed)
            result.metrics["fp_bps"] = co_bps(after[1][None], np.maximum(found, LEAST_RATE)[None])


def _velocity(context: EvaluationContext) -> float:
    """Returns R^2 of the velocity that rates predict, which the model infers from all channels."""
    data = context.data
    train, test = (
        context.rates(*part, derived_seed(context.seed, 7, number))
        for number, part in enumerate((context.training(), context.test()))
    )
    assert data.train_velocity is not None
    assert data.test_velocity is not None
    return velocity_r_squared(train, data.train_velocity[: len(train)], test, data.test_velocity[context.rows])


def _trials(trials: NDArray[Any] | None, times: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Returns the numbers of the observations of each trial in the order of its bins, shape (trials, bins).

    Raises:
        InputError: naming ``data``, if trials have different numbers of bins.
    """
    assert trials is not None
    assert times is not None
    order = np.lexsort((times, trials))
    _, numbers = np.unique(trials, return_counts=True)
    if numbers.min() < numbers.max():
        raise InputError("data", f"trials of {numbers.min()} to {numbers.max()} bins", "trials of one number of bins")
    return order.reshape(len(numbers), -1)


def _filled(x: Array, train: Array) -> Array:
    """Returns counts with the mean of the training data in the place of missing ones."""
    missing = np.isnan(x)
    return np.where(missing, np.nanmean(train, 0), x) if missing.any() else x


def _without(x: Array, hidden: NDArray[np.int64]) -> Array:
    """Returns a copy of counts in which channels are missing."""
    copy = x.copy()
    copy[:, hidden] = np.nan
    return copy
