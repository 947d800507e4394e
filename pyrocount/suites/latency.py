"""Suite of the latency of iterative inference by the contrast of the input."""

import numpy as np

from pyrocount import figures
from pyrocount.backends import derived_seed
from pyrocount.backends.evaluation import Array
from pyrocount.errors import InputError
from pyrocount.metrics.latency import first_spikes, rise_step, slopes
from pyrocount.metrics.representation import MeanInterval

from .base import EvaluationContext, Result, Table, mean_over
from .serial_dependence import require_plain

CONTRASTS = (0.1, 0.2, 0.5, 1.0)
# Numbers of steps and observations.
STEPS, OBSERVATIONS = 100, 200
# Largest number of training observations over which the mean is taken.
AVERAGED = 5000
# A latent responds to an observation where its last rate is this multiple of that at no contrast, and this count.
MULTIPLE, LEAST = 2.0, 0.1
# Number of bootstrap samples, and their quantiles at the ends of an interval.
REPEATS, ENDS = 200, (0.025, 0.975)


def latency(context: EvaluationContext) -> Result:
    """Measures how many steps responses take, by the contrast of the input.

    Held-out observations are scaled about the mean of the training data. The latents that respond to an observation are
    those of an inference apart, so that noise does not choose them.
    """
    result, model = Result(), context.model
    with result.attempt("latency"):
        if not model.has_counts:
            raise InputError("RUN", "latents that are not counts", "a model of latent counts, which has spikes")
        if model.observes_counts:
            raise InputError("data", f"{context.data.name}, counts", "real values, whose contrast can be changed")
        require_plain(context)
        x = context.data.test_view[context.rows[:OBSERVATIONS]]
        mean = context.training(AVERAGED)[0].mean(0, dtype=np.float64).astype(x.dtype)
        at_rest, driven = (_last_rates(context, mean + contrast * (x - mean)) for contrast in (0.0, 1.0))
        responsive = (driven >= MULTIPLE * at_rest) & (driven >= LEAST)
        known = responsive.any(1)
        if known.sum() < 2:
            raise InputError("RUN", f"{known.sum()} observations with responsive latents", "at least 2")
        weights = responsive[known] / responsive[known].sum(1, keepdims=True)
        spikes, rates = [], []
        for number, contrast in enumerate((0.0, *CONTRASTS)):
            seed = derived_seed(context.seed, 12, number)
            course = model.course((mean + contrast * (x[known] - mean))[None], steps=STEPS, seed=seed)
            spikes.append((first_spikes(course.z) * weights).sum(1))
            rates.append((course.rate * weights).sum(2))
        _measure(result, np.stack(spikes), np.stack(rates), float(responsive[known].mean()))
    return result


def _last_rates(context: EvaluationContext, x: Array) -> Array:
    """Returns the mean rates over the last tenth of the steps of an inference apart, shape (N, K)."""
    course = context.model.course(x[None], steps=STEPS, seed=derived_seed(context.seed, 12))
    last: Array = course.rate[-STEPS // 10 :].mean(0)
    return last


def _measure(result: Result, spikes: Array, rates: Array, responsive: float) -> None:
    """Adds metrics, table and figure.

    Args:
        result: results of the suite.
        spikes: mean step of the first spikes of an observation's responsive latents, at no contrast and at all others,
            shape (1 + contrasts, N).
        rates: mean rates of these latents after each step, shape (1 + contrasts, T, N).
        responsive: part of the latents that respond to an observation.
    """
    evoked = rates[1:] - rates[:1]
    rng, observations, contrasts = np.random.default_rng(0), spikes.shape[1], np.array(CONTRASTS)
    first = [mean_over(part) for part in spikes]
    half = np.array([rise_step(part) for part in evoked.mean(2)])
    drawn = []
    for _ in range(REPEATS):
        chosen = rng.integers(0, observations, observations)
        drawn.append([rise_step(part) for part in evoked[:, :, chosen].mean(2)])
    low, high = np.quantile(drawn, ENDS, axis=0)
    steepness = slopes(contrasts, np.array(drawn).T)
    ends = np.quantile(steepness, ENDS).tolist()
    for place, contrast in enumerate(CONTRASTS):
        result.metrics[f"first_spike_{contrast:g}"] = first[place + 1]
    result.metrics |= {
        "first_spike_without_contrast": first[0],
        "first_spike_slope": mean_over(slopes(contrasts, spikes[1:])),
        "half_response_slope": MeanInterval(
            float(slopes(contrasts, half[:, None])[0]), ends[0], ends[1], tuple(steepness.tolist())
        ),
        "responsive_part": responsive,
        "observations": observations,
    }
    last = evoked[:, -STEPS // 10 :].mean((1, 2))
    rows = [
        (
            f"{contrast:g}",
            float(last[place]),
            first[place + 1].mean,
            float(half[place]),
            float(low[place]),
            float(high[place]),
        )
        for place, contrast in enumerate(CONTRASTS)
    ]
    header = ("contrast", "evoked count of a step", "first spike (step)", "half of the response (step)", "low", "high")
    result.tables.append(Table("Latency by contrast", header, rows))
    result.figures["latency"] = figures.latency(
        dict(zip(CONTRASTS, evoked.mean(2), strict=True)),
        np.array([(contrast, one.mean, one.low, one.high) for contrast, one in zip(CONTRASTS, first[1:], strict=True)]),
        np.stack([contrasts, half, low, high], 1),
        first[0].mean,
    )
