"""Diagnostic numbers with their meaning and the thresholds that make them good, doubtful or bad."""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

Verdict = Literal["good", "doubtful", "bad", "unknown"]


@dataclass(frozen=True)
class Check:
    """Diagnostic number with the thresholds of its verdict.

    Attributes:
        name: name of the number.
        value: value of the number.
        good: threshold up to which the number is good; or from which on it is good, if ``bad`` is smaller.
        bad: threshold beyond which the number is bad; between ``good`` and ``bad`` it is doubtful.
        sentence: explanation of the number for readers of a report.

    >>> Check("k-hat above 0.7", 0.3, good=0.05, bad=0.25, sentence="...").verdict
    'bad'
    >>> Check("effective samples", 0.3, good=0.1, bad=0.01, sentence="...").verdict
    'good'
    """

    name: str
    value: float
    good: float
    bad: float
    sentence: str

    @property
    def verdict(self) -> Verdict:
        """Returns the verdict on the number; ``"unknown"`` if it is NaN."""
        if math.isnan(self.value):
            return "unknown"
        sign = 1 if self.bad >= self.good else -1
        if sign * self.value <= sign * self.good:
            return "good"
        return "bad" if sign * self.value > sign * self.bad else "doubtful"


class _Reading(NamedTuple):
    name: str
    good: float
    bad: float
    sentence: str


# Name, thresholds and explanation of each diagnostic number.
READINGS = {
    "k_hat": _Reading(
        "observations with k-hat above 0.7",
        0.05,
        0.25,
        "This is the fraction of observations whose posterior misses regions where the exact posterior has mass, so "
        "that importance weights cannot repair it. If these observations are few, mistrust them; if they are many, the "
        "encoder or the family of the posterior is too simple. With more latents the weights become less even, because "
        "the errors of the latents add up.",
    ),
    "effective": _Reading(
        "effective part of the samples",
        0.25,
        0.01,
        "This is the worth of one posterior sample of the median observation, in samples of the exact posterior. Near "
        "1 the posterior is almost exact; below 0.01 it is far off.",
    ),
    "predictive": _Reading(
        "error of the predicted statistics",
        0.05,
        0.2,
        "Statistics of data drawn from the posterior are compared with those of the data. This is the largest relative "
        "error that chance does not explain (p below 0.05). With many data, a small p may belong to a small error. A "
        "large error is a failure of the model, not of the posterior. If the variance is far off, so is the noise of "
        "the observation distribution, which --learn-scale fits to the data.",
    ),
    "pit": _Reading(
        "distance of the PIT from uniform, beyond chance",
        0.05,
        0.15,
        "The PIT says where each datum lies in its predictive distribution given the rest of its observation. A hump "
        "in the histogram means that the predictions are too wide (as with a fixed scale of the noise), horns mean "
        "that they are too narrow, and a slope means that they are shifted.",
    ),
    "aggregate": _Reading(
        "distance of the aggregate posterior from the prior, beyond chance",
        0.05,
        0.15,
        "The aggregate posterior is the distribution of the latents of all data together. Its distance from the prior "
        "is the largest difference of the distribution functions, averaged over the latents. If it is large, samples "
        "of the prior are not like the data.",
    ),
    "calibration": _Reading(
        "distance of the calibration ranks from uniform, beyond chance",
        0.03,
        0.12,
        "Simulation-based calibration draws latents from the prior and data given these latents, and ranks each true "
        "latent among posterior samples. The ranks are uniform if inference is exact. Horns in the histogram mean that "
        "the posterior is too narrow, a hump means that it is too wide, and a slope means that it is biased.",
    ),
    "dead": _Reading(
        "dead latents",
        0.1,
        0.5,
        "This is the fraction of latents whose posterior is the prior for all data. These latents cost nothing and "
        "carry nothing. Use fewer latents, or anneal the KL weight more slowly.",
    ),
    "constant": _Reading(
        "latents that carry a constant",
        0,
        0,
        "The posterior mean of these latents is large, far from the prior and the same for all data: they do the work "
        "of a bias, at the price of their KL divergence. Take a smaller --lr, or fewer latents (--latent-dim).",
    ),
    "information": _Reading(
        "information of the latents about the data, in nats",
        0.5,
        0.1,
        "This is about how much the latents say about an observation. Near 0 the posterior ignores the data, and the "
        "model is its marginal model. Train longer (--epochs), or with a smaller --beta or a larger --anneal.",
    ),
    "marginal": _Reading(
        "nats lost to the marginal model",
        0,
        0,
        "The marginal model predicts each value by its mean over the training data, of counts the mean rate. If the "
        "bound is worse than that, the model is worse than none: train longer (--epochs), or with fewer parameters.",
    ),
    "hard_soft": _Reading(
        "gap between hard and soft samples, relative to the KL divergence",
        0.02,
        0.1,
        "This is how much worse exact counts explain the data than the relaxed samples of training do. If it is "
        "large, training has fitted a model of the relaxation instead of the counts: lower the temperature.",
    ),
    "restarts": _Reading(
        "cosine of matched latents between restarts",
        0.8,
        0.3,
        "The Hungarian algorithm pairs the latents of two fits by their columns of the decoder; this is the median "
        "cosine of the pairs. Near 1 the fits agree on what each latent stands for; otherwise no single latent may be "
        "interpreted.",
    ),
}


def check(key: str, value: float) -> Check:
    """Builds the check of a diagnostic number, with its name, thresholds and explanation.

    Args:
        key: key of the number in ``READINGS``.
        value: value of the number.

    >>> check("dead", 0.05).verdict
    'good'
    """
    name, good, bad, sentence = READINGS[key]
    return Check(name, value, good, bad, sentence)
