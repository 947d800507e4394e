"""Metrics of codes by the accuracy of classifiers that predict labels from them.

Codes are arrays (N, K) with one row for each observation, and labels are integers (N,). Accuracies are returned as a
``MeanInterval`` over repeats, each of which draws its own labels for training.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from pyrocount.errors import InputError

from .intervals import student_margin

Array = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]]

# Confidence of the intervals.
CONFIDENCE = 0.95
# Number of neighbours that vote.
NEIGHBOURS = 5
CLASSIFIERS = ("knn", "logistic")
# Largest number of splits of the classes: many classes have too many splits to try all.
SPLITS = 200


@dataclass(frozen=True)
class MeanInterval:
    """Mean over repeats with its 95 % confidence interval (Student's t).

    Attributes:
        mean: mean over the repeats.
        low: lower end of the interval; NaN with a single repeat.
        high: upper end of the interval; NaN with a single repeat.
        runs: value of each repeat.
    """

    mean: float
    low: float
    high: float
    runs: tuple[float, ...]


def mean_interval(runs: Sequence[float]) -> MeanInterval:
    """Returns the mean of independent repeats, with its confidence interval.

    >>> mean_interval([0.5, 0.5, 0.8, 0.6]).mean
    0.6
    """
    mean = float(np.mean(runs))
    margin = student_margin(runs, CONFIDENCE)
    return MeanInterval(mean, mean - margin, mean + margin, tuple(map(float, runs)))


def logistic(*, standardised: bool = True) -> Any:
    """Builds a logistic regression on codes, by default standardised: on these its penalty weighs all latents alike."""
    regression = LogisticRegression(max_iter=2000)
    return make_pipeline(StandardScaler(), regression) if standardised else regression


def probe_accuracy(
    codes: Array,
    labels: Labels,
    number: int,
    *,
    classifier: str = "knn",
    standardised: bool = True,
    fixed_halves: bool = False,
    repeats: int = 5,
    seed: int = 0,
) -> MeanInterval:
    """Measures the accuracy of a classifier that is given a certain number of labels.

    Each repeat halves the observations at random. The classifier is given the labels of ``number`` observations of one
    half, which are drawn at random too, and is tested on the other half.

    Args:
        codes: codes of the observations, shape (N, K).
        labels: labels of the observations, shape (N,).
        number: number of labels that the classifier is given.
        classifier: ``"knn"`` or ``"logistic"``.
        standardised: whether codes are standardised for the logistic regression.
        fixed_halves: whether the halves are the same in all repeats: labels are given of the first half of the
            observations, in their order, and the second is tested. A single repeat is made where all labels of the
            half are given, as all repeats would be alike.
        repeats: number of repeats.
        seed: random seed of the halves and the labels.

    Raises:
        InputError: naming ``number``, if it is not from 1 to half of the observations, or ``classifier``, if it is
            unknown.

    Reference:
        Vafaii, Galor and Yates, Poisson Variational Autoencoder, NeurIPS 2024, table 4 and appendix C.1 (the halves
        are fixed there).

    >>> labels = np.arange(100) % 4
    >>> probe_accuracy(np.eye(4)[labels], labels, 40).mean
    1.0
    """
    make = _classifier(classifier, standardised)
    half = len(codes) // 2
    if not 1 <= number <= half:
        expected = f"1 to {half} labels (half of the {len(codes)} observations)"
        raise InputError("number", f"{number} labels", expected)
    runs = []
    for repeat in range(1 if fixed_halves and number == half else repeats):
        rng = np.random.default_rng((seed, repeat))
        if fixed_halves:
            order = np.concatenate([rng.permutation(half), np.arange(half, len(codes))])
        else:
            order = rng.permutation(len(codes))
        given, tested = order[:number], order[half:]
        runs.append(_accuracy(make, codes[given], labels[given], codes[tested], labels[tested]))
    return mean_interval(runs)


def classifier_accuracy(
    codes: Array, labels: Labels, test_codes: Array, test_labels: Labels, *, classifier: str = "logistic"
) -> float:
    """Returns the accuracy of a classifier that learns from codes (N, K) and is tested on others, (M, K).

    A test code that is not finite counts as wrong; a training code that is not is left out.

    Args:
        codes: codes to train with, shape (N, K).
        labels: labels to train with, shape (N,).
        test_codes: codes to test with, shape (M, K).
        test_labels: labels to test with, shape (M,).
        classifier: ``"knn"`` or ``"logistic"``, on standardised codes.

    Raises:
        InputError: naming ``classifier``, if it is unknown.

    >>> labels = np.arange(100) % 4
    >>> classifier_accuracy(np.eye(4)[labels], labels, np.eye(4), np.array([0, 1, 2, 0]))
    0.75
    """
    make = _classifier(classifier, True)
    known, readable = np.isfinite(codes).all(1), np.isfinite(test_codes).all(1)
    if not known.any() or not readable.any():
        return 0.0
    read = _accuracy(make, codes[known], labels[known], test_codes[readable], test_labels[readable])
    return read * float(readable.mean())


def few_shot_accuracy(
    codes: Array,
    labels: Labels,
    shots: int,
    *,
    test: tuple[Array, Labels] | None = None,
    classifier: str = "logistic",
    neighbours: int | None = None,
    standardised: bool = True,
    repeats: int = 10,
    seed: int = 0,
) -> MeanInterval:
    """Measures the accuracy of a classifier that is given a few labels of each class, on all other observations.

    Args:
        codes: codes of the observations, shape (N, K).
        labels: labels of the observations, shape (N,).
        shots: number of labels of each class.
        test: codes (M, K) and labels (M,) to test with, in place of the other observations.
        classifier: ``"knn"`` or ``"logistic"``.
        neighbours: number of neighbours of ``"knn"``; by default as many as there are shots, at most five.
        standardised: whether codes are standardised for the logistic regression.
        repeats: number of repeats.
        seed: random seed of the labels.

    Raises:
        InputError: naming ``shots``, if it is not positive or a class does not have more observations, or
            ``classifier``, if it is unknown.

    Reference:
        Negative Binomial Variational Autoencoders for Overdispersed Latent Modeling, arXiv 2508.05423, table 3.

    >>> labels = np.arange(100) % 4
    >>> few_shot_accuracy(np.eye(4)[labels], labels, 1, classifier="knn").mean
    1.0
    """
    make = _classifier(classifier, standardised, min(shots, NEIGHBOURS) if neighbours is None else neighbours)
    classes, sizes = np.unique(labels, return_counts=True)
    if shots < 1 or sizes.min() <= shots:
        problem = f"{shots} labels of each class, while class {classes[sizes.argmin()]} has {sizes.min()} observations"
        raise InputError("shots", problem, "a positive number that is smaller than every class")
    runs = []
    for repeat in range(repeats):
        order = np.random.default_rng((seed, repeat)).permutation(len(codes))
        given = np.concatenate([order[labels[order] == one][:shots] for one in classes])
        tested = np.setdiff1d(order, given)
        held_out = (codes[tested], labels[tested]) if test is None else test
        runs.append(_accuracy(make, codes[given], labels[given], *held_out))
    return mean_interval(runs)


def shattering_dimension(
    codes: Array,
    labels: Labels,
    test_codes: Array,
    test_labels: Labels,
    *,
    number: int | None = None,
    standardised: bool = True,
    repeats: int = 10,
    seed: int = 0,
) -> MeanInterval:
    """Measures how well hyperplanes separate any half of the classes from the other half.

    The measure is the mean accuracy of logistic regression over the splits of the classes. Ten classes are split into
    five and five in 126 distinct ways. If the number of classes is odd, one part has one class more. If there are more
    than 200 splits, 200 random ones are taken.

    Args:
        codes: codes to train with, shape (N, K).
        labels: labels to train with, shape (N,).
        test_codes: codes to test with, shape (M, K).
        test_labels: labels to test with, shape (M,).
        number: number of labels to train with, which each repeat draws at random; by default all, without repeats.
        standardised: whether codes are standardised.
        repeats: number of repeats.
        seed: random seed of the labels.

    Returns:
        Mean accuracy over the splits; ``runs`` are those of the splits, in the order of ``itertools.combinations``, or
        where a number of labels is drawn, the means of the repeats.

    Raises:
        InputError: naming ``labels``, if there are fewer than two classes, or if training lacks a test class, or
            naming ``number``, if there are not as many labels.

    Reference:
        Bernardi et al., The Geometry of Abstraction in the Hippocampus and Prefrontal Cortex, Cell 2020; Vafaii, Galor
        and Yates, Poisson Variational Autoencoder, NeurIPS 2024, table 4 (all labels); Negative Binomial Variational
        Autoencoders for Overdispersed Latent Modeling, arXiv 2508.05423, appendix B.2.3 (a subset).

    >>> labels = np.arange(100) % 4
    >>> codes = np.eye(4)[labels]
    >>> dimension = shattering_dimension(codes, labels, codes, labels)
    >>> dimension.mean, len(dimension.runs)
    (1.0, 3)
    """
    if number is not None:
        if not 1 <= number <= len(codes):
            raise InputError("number", f"{number} labels", f"1 to {len(codes)} labels, as many as there are")
        draws = [np.random.default_rng((seed, repeat)).permutation(len(codes))[:number] for repeat in range(repeats)]
        return mean_interval(
            [
                float(np.mean(_split_accuracies(codes[rows], labels[rows], test_codes, test_labels, standardised)))
                for rows in draws
            ]
        )
    return mean_interval(_split_accuracies(codes, labels, test_codes, test_labels, standardised))


def _split_accuracies(
    codes: Array, labels: Labels, test_codes: Array, test_labels: Labels, standardised: bool
) -> list[float]:
    """Returns the accuracy of each split of the classes."""
    tested = set(np.unique(test_labels).tolist())
    if unknown := sorted(tested - set(np.unique(labels).tolist())):
        problem = f"{len(unknown)} of {len(tested)} test classes without training labels, such as class {unknown[0]}"
        raise InputError("labels", problem, "training labels of every test class")
    splits = halves(np.unique(labels).tolist())
    scaler = StandardScaler(with_mean=standardised, with_std=standardised).fit(codes)
    train, test = scaler.transform(codes), scaler.transform(test_codes)
    make = partial(logistic, standardised=False)
    # The products are so small that threads, or processes, cost more than they save.
    with threadpool_limits(1, "blas"):
        return [_accuracy(make, train, np.isin(labels, part), test, np.isin(test_labels, part)) for part in splits]


def halves(classes: Sequence[int], *, most: int = SPLITS) -> list[tuple[int, ...]]:
    """Returns one part of each way to split classes into two parts of equal size, or of sizes that differ by one.

    If there are more ways than ``most``, as many as ``most`` are drawn at random, the same ones in every call.

    >>> halves([0, 1, 2, 3])
    [(0, 1), (0, 2), (0, 3)]
    >>> len(halves(range(10)))
    126

    Raises:
        InputError: naming ``labels``, if there are fewer than two classes.
    """
    if len(classes) < 2:
        raise InputError("labels", "a single class" if classes else "no classes", "at least two classes")
    half, odd = len(classes) // 2, len(classes) % 2
    if math.comb(len(classes), half) // (2 - odd) > most:
        rng = np.random.default_rng(0)
        return [tuple(rng.choice(classes, half, replace=False).tolist()) for _ in range(most)]
    parts = list(combinations(classes, half))
    # With an even number of classes, every split is listed twice: by one part and by the other.
    return parts if odd else parts[: len(parts) // 2]


def _classifier(name: str, standardised: bool, neighbours: int = NEIGHBOURS) -> Callable[[], Any]:
    if name not in CLASSIFIERS:
        raise InputError("classifier", repr(name), f"one of {', '.join(CLASSIFIERS)}")
    return partial(KNeighborsClassifier, neighbours) if name == "knn" else partial(logistic, standardised=standardised)


def _accuracy(make: Callable[[], Any], codes: Array, labels: Any, test_codes: Array, test_labels: Any) -> float:
    if len(np.unique(labels)) == 1:
        return float(np.mean(test_labels == labels[0]))
    if isinstance(classifier := make(), KNeighborsClassifier) and classifier.n_neighbors > len(codes):
        classifier.set_params(n_neighbors=len(codes))
    return float(classifier.fit(codes, labels).score(test_codes, test_labels))
