"""Suite of the spikes that a code costs, and of what a probe reads from them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyrocount import figures
from pyrocount.backends import derived_seed
from pyrocount.backends.evaluation import Array
from pyrocount.errors import InputError
from pyrocount.metrics.energy import bits_per_spike_of_latents, probe_hits, spikes_per_observation, thinned

from .base import EvaluationContext, Result, Table, mean_over

# Parts of the spikes that are kept, and the largest number of training observations that the probe learns from.
PARTS, PROBED = (0.05, 0.1, 0.2, 0.5, 1.0), 5000


def energy(context: EvaluationContext) -> Result:
    """Measures spikes per observation, bits per spike, and the accuracy of logistic regression on exact counts.

    The accuracy is also that of probes of fewer spikes, each of which is kept with a probability, in training too.
    """
    result, model = Result(), context.model
    with result.attempt("energy"):
        if not model.has_counts:
            raise InputError(
                "RUN", "latents that are not counts", "a model of latent counts, whose spikes are the energy"
            )
        counts = context.evaluation.counts[0]
        totals = spikes_per_observation(counts)
        spikes, information = mean_over(totals), float(context.evaluation.per_observation["kl"].mean())
        result.metrics |= {
            "spikes_per_observation": spikes,
            "latent_bits_per_spike": bits_per_spike_of_latents(information, spikes.mean),
        }
        accuracy: Array = np.empty((0, 3))
        chance = float("nan")
        with result.attempt("accuracy"):
            accuracy, chance = _accuracy(context, result, counts)
        kept = [part * spikes.mean for part in PARTS]
        result.figures["energy"] = figures.energy(totals, kept, accuracy, chance)
    return result


def _accuracy(context: EvaluationContext, result: Result, counts: Array) -> tuple[Array, float]:
    """Returns the accuracy by part of the spikes that is kept, with its interval, (parts, 3), and chance."""
    model, (taught, labels) = context.model, context.require_labels()
    x, exposure = context.training(PROBED)
    seed = derived_seed(context.seed, 9)
    z = model.draws(x, exposure, samples=1, seed=seed, progress=context.progress).z[0]
    train_labels = taught[: len(z)]
    rng, found = np.random.default_rng(seed), []
    for part in PARTS:
        train, tested = (thinned(each, part, rng).astype(float) for each in (z, counts))
        found.append(mean_over(probe_hits(train, train_labels, tested, labels).astype(float)))
    result.metrics |= {"accuracy": found[-1], "most_frequent_label": _most_frequent(labels), "probed": len(z)}
    rows = [
        (f"{part:.0%}", float(part * spikes_per_observation(counts).mean()), one.mean, one.low, one.high)
        for part, one in zip(PARTS, found, strict=True)
    ]
    header = ("spikes kept", "spikes per observation", "accuracy", "low", "high")
    result.tables.append(Table("Accuracy of logistic regression on fewer spikes", header, rows))
    return np.array([(one.mean, one.low, one.high) for one in found]), _most_frequent(labels)


def _most_frequent(labels: NDArray[Any]) -> float:
    return float(np.unique(labels, return_counts=True)[1].max() / len(labels))
