"""Decisions from spikes that arrive in time: evidence for labels, a bound, reaction times and Hick's law.

Reference:
    Johnson, Krouglova, Vafaii, Yates and Goncalves, Inferring Response Times of Perceptual Decisions with Poisson
    Variational Autoencoders, arXiv 2511.11480, from whose abstract the experiment is taken: a Bayesian decoder of
    spikes, which stops by the entropy of its beliefs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr, softmax

from pyrocount.errors import InputError

from .representation import Labels, MeanInterval

Array = NDArray[np.floating[Any]]

# Least rate of an exemplar, in spikes per window.
LEAST_RATE = 1e-6
# Number of bootstrap samples, and their quantiles at the ends of an interval.
REPEATS, ENDS = 200, (0.025, 0.975)


def trial_rates(mean: Array, variance: Array, rng: np.random.Generator) -> NDArray[np.float64]:
    """Returns rates of a trial, by the mean and the variance of the count of one window, both (N, K).

    Where the variance is larger than the mean, as of negative-binomial counts, the rate is drawn from the gamma
    distribution by which the counts of the process have this variance; elsewhere it is the mean.
    """
    excess = np.maximum(variance.astype(np.float64) - mean, 0.0)
    spread = excess > 1e-6 * mean
    shape = np.divide(np.square(mean, dtype=np.float64), excess, out=np.ones(mean.shape), where=spread)
    drawn = rng.gamma(np.maximum(shape, 1e-8)) * mean / np.maximum(shape, 1e-8)
    return np.where(spread, drawn, mean)


def arrivals(rates: Array, step: float, number: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Yields the counts (N, K) that have arrived after each of a number of time steps, of Poisson processes.

    Args:
        rates: rates, in spikes per window, shape (N, K).
        step: length of a time step, in windows.
        number: number of steps.
        rng: random generator.
    """
    counts = np.zeros(rates.shape, np.int64)
    for _ in range(number):
        counts = counts + rng.poisson(rates * step)
        yield counts


def log_evidence(counts: NDArray[Any], time: float, exemplars: Array, labels: Labels) -> NDArray[np.float64]:
    r"""Returns the log evidence of counts for each label, up to a constant of the counts, shape (N, labels).

    A label is a mixture of exemplars i, each of which fires as independent Poisson processes do:

    .. math:: \log p(n \mid \ell) = \log \frac1{|\ell|} \sum_{i \in \ell} \prod_k \lambda_{ik}^{n_k} e^{-t \lambda_{ik}}

    With one exemplar a label it is the naive decoder of Poisson counts.

    Args:
        counts: spikes that have arrived, shape (N, K).
        time: time for which they were counted, in windows.
        exemplars: rates of known observations, in spikes per window, shape (M, K).
        labels: labels of these observations, shape (M,); the evidence is in their sorted order.
    """
    order = np.argsort(labels, kind="stable")
    known = np.maximum(exemplars[order].astype(np.float64), LEAST_RATE)
    _, starts, sizes = np.unique(labels[order], return_index=True, return_counts=True)
    scores = counts @ np.log(known).T - time * known.sum(1)
    evidence: NDArray[np.float64] = np.logaddexp.reduceat(scores, starts, axis=1) - np.log(sizes)
    return evidence


def decisions(evidence: Array, bounds: Sequence[float]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns at which time the beliefs are sure enough, and the most probable alternative then, both (bounds, N).

    The alternatives are equally probable at first. Where the entropy does not fall to the bound, the decision is that
    of the last time.

    Args:
        evidence: log evidence for each alternative after each time step, shape (T, N, n).
        bounds: entropies of the beliefs at which a decision is made, in bits.
    """
    entropy = entr(softmax(evidence, -1)).sum(-1) / np.log(2)
    best = evidence.argmax(-1)
    times = []
    for bound in bounds:
        sure = entropy <= bound
        sure[-1] = True
        times.append(sure.argmax(0))
    places = np.array(times)
    return places, best[places, np.arange(evidence.shape[1])]


@dataclass(frozen=True)
class Choices:
    """Decisions among one number of alternatives, at bounds from the most lax to the strictest.

    Attributes:
        alternatives: number of alternatives.
        correct: number of correct decisions on each observation, shape (bounds, N).
        time: sum of their reaction times, in windows, shape (bounds, N).
        trials: number of decisions on each observation, shape (N,).
    """

    alternatives: int
    correct: Array
    time: Array
    trials: Array

    def curve(self, weights: NDArray[Any] | None = None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Returns accuracy and mean reaction time at each bound, both (bounds,).

        Args:
            weights: weight of each observation, shape (N,); by default 1.
        """
        weights = np.ones(len(self.trials)) if weights is None else weights
        number = self.trials @ weights
        return self.correct @ weights / number, self.time @ weights / number

    def time_at(self, accuracy: float, weights: NDArray[Any] | None = None) -> float:
        """Returns the mean reaction time at an accuracy, between the bounds; that of the strictest bound at most."""
        reached, time = self.curve(weights)
        # A guess takes no time. Noise must not make a stricter bound less accurate.
        reached = np.maximum.accumulate(np.append(1 / self.alternatives, reached))
        return float(np.interp(accuracy, reached + 1e-12 * np.arange(len(reached)), np.append(0.0, time)))


@dataclass(frozen=True)
class HicksLaw:
    """Line of reaction times over the logarithm of the number of alternatives.

    Attributes:
        slope: slope, in windows per bit, with its 95 % interval by bootstrap over observations.
        intercept: reaction time at one alternative, in windows.
        r2: part of the variance of the mean reaction times that the line explains.
        times: mean reaction time for each number of alternatives, and the ends of its interval, shape (numbers, 3).
    """

    slope: MeanInterval
    intercept: float
    r2: float
    times: NDArray[np.float64]


def hicks_law(choices: Sequence[Choices], accuracy: float, *, seed: int = 0) -> HicksLaw:
    """Fits a line to the reaction times at one accuracy over log2 of the number of alternatives.

    Args:
        choices: decisions for each number of alternatives, on the same N observations.
        accuracy: accuracy at which reaction times are compared.
        seed: seed of the bootstrap.

    Raises:
        InputError: naming ``choices``, for fewer than 3 numbers of alternatives.

    Reference:
        Hick, On the Rate of Gain of Information, Quarterly Journal of Experimental Psychology 1952.
    """
    if len(choices) < 3:
        raise InputError("choices", f"{len(choices)} numbers of alternatives", "at least 3")
    bits = np.log2([one.alternatives for one in choices])
    rng, observations = np.random.default_rng(seed), len(choices[0].trials)
    means = np.array([one.time_at(accuracy) for one in choices])
    drawn = []
    for _ in range(REPEATS):
        weights = np.bincount(rng.integers(0, observations, observations), minlength=observations)
        drawn.append([one.time_at(accuracy, weights) for one in choices])
    slope, intercept = np.polyfit(bits, means, 1)
    slopes = np.polyfit(bits, np.array(drawn).T, 1)[0]
    rest = means - (slope * bits + intercept)
    low, high = np.quantile(drawn, ENDS, axis=0)
    ends = np.quantile(slopes, ENDS).tolist()
    varied = float(np.square(means - means.mean()).sum())
    return HicksLaw(
        MeanInterval(float(slope), ends[0], ends[1], tuple(slopes.tolist())),
        float(intercept),
        1 - float(np.square(rest).sum()) / varied if varied > 0 else float("nan"),
        np.stack([means, low, high], 1),
    )


def subsets(classes: int, size: int, most: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Returns different random subsets of classes of a size, at most so many, each sorted.

    >>> [len(subsets(5, size, 20, np.random.default_rng(0))) for size in (2, 4, 5)]
    [10, 5, 1]
    """
    found: dict[tuple[int, ...], NDArray[np.int64]] = {}
    # So many draws find every subset where there are few.
    for _ in range(20 * most):
        subset = np.sort(rng.choice(classes, size, replace=False))
        found.setdefault(tuple(subset.tolist()), subset)
        if len(found) == most:
            break
    return list(found.values())
