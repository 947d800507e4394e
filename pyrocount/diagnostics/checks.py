"""A diagnostic number, what it means, and from where on it is bad."""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

Verdict = Literal["good", "doubtful", "bad", "unknown"]


@dataclass(frozen=True)
class Check:
    """A number with the thresholds that colour it.

    Attributes:
        name: of the number.
        value: the number.
        good: up to here it is good; from here on, where ``bad`` is smaller.
        bad: beyond this it is bad; in between, doubtful.
        sentence: how to read it.

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
        """``"unknown"`` where there is no number."""
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


READINGS = {
    "k_hat": _Reading(
        "observations with k-hat above 0.7",
        0.05,
        0.25,
        "The fraction of observations whose posterior misses where the exact one has mass, so that no weighting "
        "repairs it. With a few, mistrust these; with many, the encoder or the family is too simple. The weights "
        "become uneven with the number of latents, as their errors add up.",
    ),
    "effective": _Reading(
        "effective part of the samples",
        0.25,
        0.01,
        "What a posterior sample, of the middle observation, is worth beside a sample of the exact posterior. Near 1 "
        "the posterior is exact; below a hundredth it is far off.",
    ),
    "predictive": _Reading(
        "error of the predicted statistics",
        0.05,
        0.2,
        "How far the statistics of data drawn from the posterior are from those of the data, relative to them: the "
        "worst of those that chance does not explain (p below 0.05). With many data a small p may belong to "
        "a small error. It is the model that fails here, not the posterior; where the variance is far off, the noise "
        "of the likelihood is, for which there is --learn-scale.",
    ),
    "pit": _Reading(
        "distance of the PIT from uniform, beyond chance",
        0.05,
        0.15,
        "Where each datum lies in its distribution given the rest of its observation. A histogram with a hump says "
        "that predictions are too wide (as with a fixed scale of the noise), with horns too narrow, with a "
        "slope shifted.",
    ),
    "aggregate": _Reading(
        "distance of the aggregate posterior from the prior, beyond chance",
        0.05,
        0.15,
        "How far the latents of all data together are from the prior, on average over the latents (largest difference "
        "of the distribution functions). Where it is large, samples of the prior are not like the data.",
    ),
    "calibration": _Reading(
        "distance of the calibration ranks from uniform, beyond chance",
        0.03,
        0.12,
        "Simulation-based calibration: latents of the prior, data drawn from them, and the rank of each true latent "
        "among posterior samples, which is uniform where inference is exact. Horns mean that the posterior is too "
        "narrow, a hump too wide, a slope biased.",
    ),
    "dead": _Reading(
        "dead latents",
        0.1,
        0.5,
        "The fraction of latents whose posterior is the prior for all data. They cost nothing and carry nothing: fewer "
        "latents, or a slower annealing of the KL weight, would do as well.",
    ),
    "hard_soft": _Reading(
        "gap between hard and soft samples, relative to the KL divergence",
        0.02,
        0.1,
        "How much worse the data are explained by exact counts than by the relaxed samples of training. Where it is "
        "large, training has found a model of its relaxation: lower the temperature.",
    ),
    "restarts": _Reading(
        "cosine of matched latents between restarts",
        0.8,
        0.3,
        "The columns of the decoder of latents that the Hungarian algorithm pairs, in the middle. Near 1 the fits "
        "agree on what each latent stands for; else no single latent may be interpreted.",
    ),
}


def check(key: str, value: float) -> Check:
    """A number with its name, thresholds and sentence.

    Args:
        key: of ``READINGS``.
        value: the number.

    >>> check("dead", 0.05).verdict
    'good'
    """
    name, good, bad, sentence = READINGS[key]
    return Check(name, value, good, bad, sentence)
