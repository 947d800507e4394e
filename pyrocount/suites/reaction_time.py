"""Suite of a reaction-time experiment: decisions on labels from spikes that arrive in time."""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from pyrocount import figures
from pyrocount.backends import derived_seed
from pyrocount.backends.evaluation import Array
from pyrocount.errors import InputError
from pyrocount.metrics.decisions import (
    Choices,
    arrivals,
    decisions,
    hicks_law,
    log_evidence,
    subsets,
    trial_rates,
)
from pyrocount.process.progress import progress_bar

from .base import EvaluationContext, Result, Table, mean_over

# Length of a time step and of the longest trial, in observation windows.
STEP, LONGEST = 0.02, 3.0
# Numbers of alternatives beside that of all labels, of random subsets of the labels for each, and of exemplars.
ALTERNATIVES, SUBSETS, EXEMPLARS = (2, 3, 4, 6, 8, 12, 16, 24, 32), 20, 2000
# Bounds, as parts of the entropy of a guess.
BOUNDS = np.geomspace(0.95, 0.002, 25)
# Accuracies at which reaction times are compared: the first that is reached with all numbers of alternatives by this
# margin, as the last of an accuracy takes very long.
ACCURACIES, MARGIN = (0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55), 0.04


def reaction_time(context: EvaluationContext) -> Result:
    """Measures how long decisions on labels take, by their number and by the bound.

    Spikes arrive as Poisson processes with the posterior rates of an observation; of negative-binomial counts, with
    rates that are drawn for each trial. A decoder that knows the rates of training observations adds up the evidence
    for the labels, and decides when the entropy of its beliefs is at a bound.
    """
    result, model = Result(), context.model
    with result.attempt("reaction time"):
        if not model.has_counts:
            raise InputError("RUN", "latents that are not counts", "a model of latent counts, whose spikes arrive")
        taught, labels = context.require_labels()
        x, exposure = context.training(EXEMPLARS)
        seed = derived_seed(context.seed, 10)
        exemplars = model.evaluate(x, exposure, seed=seed).posterior_mean
        known = taught[: len(exemplars)]
        number = len(np.unique(known))
        if number < 4:
            raise InputError("labels", f"{number} labels", "at least 4, for several numbers of alternatives")
        tested = np.isin(labels, known)
        tested[np.flatnonzero(tested)[context.checked :]] = False
        places = np.searchsorted(np.unique(known), labels[tested])
        evaluation = context.evaluation
        rng = np.random.default_rng(seed)
        rates = trial_rates(evaluation.posterior_mean[tested], evaluation.posterior_variance[tested], rng)
        evidence = _evidence(context, rates, exemplars, known, rng)
        _measure(context, result, evidence, places, float(rates.sum(1).mean()))
    return result


def _evidence(
    context: EvaluationContext, rates: Array, exemplars: Array, known: NDArray[np.int64], rng: np.random.Generator
) -> Array:
    """Returns the log evidence for each label after each time step, shape (T, N, labels)."""
    number = round(LONGEST / STEP)
    steps = enumerate(arrivals(rates, STEP, number, rng), 1)
    shown = progress_bar(steps, shown=context.progress, leave=False, unit="step", total=number)
    return np.stack([log_evidence(counts, step * STEP, exemplars, known) for step, counts in shown])


def _measure(
    context: EvaluationContext, result: Result, evidence: Array, places: NDArray[np.int64], spikes: float
) -> None:
    labels = evidence.shape[2]
    rng = np.random.default_rng((context.seed, 10))
    choices = [_choices(evidence, places, number, rng) for number in (*(n for n in ALTERNATIVES if n < labels), labels)]
    reached = min(float(one.curve()[0].max()) for one in choices)
    accuracy = next((one for one in ACCURACIES if one <= reached - MARGIN), None)
    window = evidence[round(1 / STEP) - 1].argmax(1) == places
    result.metrics |= {
        "accuracy_of_one_window": mean_over(window.astype(float)),
        "accuracy_at_the_strictest_bound": float(choices[-1].curve()[0][-1]),
        "spikes_per_window": spikes,
    }
    law = None
    with result.attempt("Hick's law"):
        if accuracy is None:
            problem = f"an accuracy of {reached:.2f} after {LONGEST:g} windows"
            raise InputError("RUN", problem, f"at least {ACCURACIES[-1] + MARGIN:g}")
        law = hicks_law(choices, accuracy, seed=context.seed)
        result.metrics |= {
            "accuracy_compared": accuracy,
            "hick_slope": law.slope,
            "hick_intercept": law.intercept,
            "hick_r2": law.r2,
        }
        rows: list[tuple[str | float, ...]] = [
            (str(one.alternatives), *values.tolist()) for one, values in zip(choices, law.times, strict=True)
        ]
        title = f"Mean reaction time in windows, at an accuracy of {accuracy:g}"
        result.tables.append(Table(title, ("alternatives", "reaction time", "low", "high"), rows))
    # The bound whose accuracy, among all labels, is closest to that which is compared.
    curve = choices[-1].curve()[0]
    bound = int(np.abs(curve - (accuracy or curve[-1])).argmin())
    times = choices[-1].time[bound]
    result.metrics["reaction_time_skewness"] = float(stats.skew(times)) if np.ptp(times) > 0 else float("nan")
    result.metrics["undecided"] = float(np.mean(times > LONGEST - STEP / 2))
    curves = {one.alternatives: one.curve() for one in choices}
    result.figures["reaction_time"] = figures.reaction_time(
        curves, accuracy, None if law is None else (law.slope.mean, law.intercept, law.times), times
    )


def _choices(evidence: Array, places: NDArray[np.int64], number: int, rng: np.random.Generator) -> Choices:
    """Returns decisions among random subsets of the labels, each on the observations of these labels."""
    bounds = BOUNDS * np.log2(number)
    correct, time = np.zeros((2, len(bounds), len(places)))
    trials = np.zeros(len(places))
    for subset in subsets(evidence.shape[2], number, SUBSETS, rng):
        rows = np.flatnonzero(np.isin(places, subset))
        steps, chosen = decisions(evidence[:, rows][:, :, subset], bounds.tolist())
        correct[:, rows] += subset[chosen] == places[rows]
        time[:, rows] += STEP * (steps + 1)
        trials[rows] += 1
    return Choices(number, correct, time, trials)
