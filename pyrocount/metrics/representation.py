"""What codes are good for: labels that classifiers read from them.

Codes are arrays (N, K), one row an observation, labels integers (N,). Accuracies come as an ``Estimate`` over repeats,
each with labels of its own.
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
from sklearn.utils.parallel import Parallel, delayed

from pyrocount.errors import InputError

from .intervals import student_margin

Array = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]]

CONFIDENCE = 0.95
NEIGHBOURS = 5
# Of classes, of which there may be too many to try all.
SPLITS = 200


@dataclass(frozen=True)
class Estimate:
    """A mean over repeats, with the interval that holds it with a confidence of 95 % (Student's t).

    Attributes:
        mean: of the repeats.
        low: lower end of the interval; NaN with a single repeat.
        high: upper end.
        runs: the repeats.
    """

    mean: float
    low: float
    high: float
    runs: tuple[float, ...]


def estimate(runs: Sequence[float]) -> Estimate:
    """The mean of independent repeats, with its interval.

    >>> estimate([0.5, 0.5, 0.8, 0.6]).mean
    0.6
    """
    mean = float(np.mean(runs))
    margin = student_margin(runs, CONFIDENCE)
    return Estimate(mean, mean - margin, mean + margin, tuple(map(float, runs)))


def logistic() -> Any:
    """Logistic regression on standardised codes."""
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))


def nearest_neighbours() -> Any:
    """The vote of the five nearest codes."""
    return KNeighborsClassifier(NEIGHBOURS)


CLASSIFIERS: dict[str, Callable[[], Any]] = {"knn": nearest_neighbours, "logistic": logistic}


def probe_accuracy(
    codes: Array, labels: Labels, number: int, *, classifier: str = "knn", repeats: int = 5, seed: int = 0
) -> Estimate:
    """Accuracy of a classifier that is given N labels.

    The observations are halved at random; the labels are those of N observations of one half, and the accuracy is that
    on the other. Repeats draw both anew.

    Args:
        codes: shape (N, K).
        labels: shape (N,).
        number: of labels that the classifier is given.
        classifier: ``"knn"`` or ``"logistic"``.
        repeats: number of them.
        seed: of the halves and labels.

    Raises:
        InputError: naming ``number``, if half of the observations are fewer, or ``classifier``.

    Reference:
        Vafaii, Galor and Yates, Poisson Variational Autoencoder, NeurIPS 2024, table 4.

    >>> labels = np.arange(100) % 4
    >>> probe_accuracy(np.eye(4)[labels], labels, 40).mean
    1.0
    """
    make = _classifier(classifier)
    half = len(codes) // 2
    if not 1 <= number <= half:
        raise InputError("number", f"{number} labels", f"from 1 to {half}, half of the observations")
    runs = []
    for repeat in range(repeats):
        order = np.random.default_rng((seed, repeat)).permutation(len(codes))
        given, tested = order[:number], order[half:]
        runs.append(_accuracy(make, codes[given], labels[given], codes[tested], labels[tested]))
    return estimate(runs)


def few_shot_accuracy(
    codes: Array,
    labels: Labels,
    shots: int,
    *,
    classifier: str = "logistic",
    repeats: int = 10,
    seed: int = 0,
) -> Estimate:
    """Accuracy of a classifier that is given some labels of each class, on all other observations.

    Args:
        codes: shape (N, K).
        labels: shape (N,).
        shots: labels of each class.
        classifier: ``"knn"`` (of as many neighbours as there are shots, at most five) or ``"logistic"``.
        repeats: number of them.
        seed: of the labels.

    Raises:
        InputError: naming ``shots``, if a class does not have more observations, or ``classifier``.

    Reference:
        Negative Binomial Variational Autoencoders for Overdispersed Latent Modeling, arXiv 2508.05423, table 3.

    >>> labels = np.arange(100) % 4
    >>> few_shot_accuracy(np.eye(4)[labels], labels, 1, classifier="knn").mean
    1.0
    """
    make = _classifier(classifier)
    if classifier == "knn":
        make = partial(KNeighborsClassifier, min(shots, NEIGHBOURS))
    classes, sizes = np.unique(labels, return_counts=True)
    if shots < 1 or sizes.min() <= shots:
        least = f"class {classes[sizes.argmin()]} has {sizes.min()} observations"
        raise InputError("shots", f"{shots} a class, where {least}", "a positive number, and more observations")
    runs = []
    for repeat in range(repeats):
        order = np.random.default_rng((seed, repeat)).permutation(len(codes))
        given = np.concatenate([order[labels[order] == one][:shots] for one in classes])
        tested = np.setdiff1d(order, given)
        runs.append(_accuracy(make, codes[given], labels[given], codes[tested], labels[tested]))
    return estimate(runs)


def shattering_dimension(
    codes: Array, labels: Labels, test_codes: Array, test_labels: Labels, *, jobs: int | None = None
) -> Estimate:
    """How well lines separate any half of the classes from the other: mean accuracy of logistic regression.

    Ten classes are split in 126 distinct ways into five and five; where their number is odd, one part has one more, and
    of many classes 200 random splits are taken.

    Args:
        codes: to train with, shape (N, K).
        labels: shape (N,).
        test_codes: to test with, shape (M, K).
        test_labels: shape (M,).
        jobs: splits at a time; by default one.

    Returns:
        The mean over the splits; ``runs`` are in the order of ``itertools.combinations``.

    Raises:
        InputError: naming ``labels``, if there are fewer than two classes, or some to test with that training lacks.

    Reference:
        Bernardi et al., The Geometry of Abstraction in the Hippocampus and Prefrontal Cortex, Cell 2020; Vafaii, Galor
        and Yates, Poisson Variational Autoencoder, NeurIPS 2024, table 4.

    >>> labels = np.arange(100) % 4
    >>> codes = np.eye(4)[labels]
    >>> dimension = shattering_dimension(codes, labels, codes, labels)
    >>> dimension.mean, len(dimension.runs)
    (1.0, 3)
    """
    if unknown := sorted(set(np.unique(test_labels).tolist()) - set(np.unique(labels).tolist())):
        problem = f"{len(unknown)} classes among those to test with, as {unknown[0]}, that training lacks"
        raise InputError("labels", problem, "the same classes")
    splits = halves(np.unique(labels).tolist())
    scaler = StandardScaler().fit(codes)
    train, test = scaler.transform(codes), scaler.transform(test_codes)
    runs = Parallel(n_jobs=jobs)(
        delayed(_accuracy)(
            lambda: LogisticRegression(max_iter=2000),
            train,
            np.isin(labels, part),
            test,
            np.isin(test_labels, part),
        )
        for part in splits
    )
    return estimate(runs)


def halves(classes: Sequence[int], *, most: int = SPLITS) -> list[tuple[int, ...]]:
    """One part of each way to split classes into two of equal size, or of sizes that differ by one.

    Where there are more ways than ``most``, so many of them at random, the same in every call.

    >>> halves([0, 1, 2, 3])
    [(0, 1), (0, 2), (0, 3)]
    >>> len(halves(range(10)))
    126

    Raises:
        InputError: naming ``labels``, if there are fewer than two classes.
    """
    if len(classes) < 2:
        raise InputError("labels", f"{len(classes)} classes", "at least two")
    half, odd = len(classes) // 2, len(classes) % 2
    if math.comb(len(classes), half) // (2 - odd) > most:
        rng = np.random.default_rng(0)
        return [tuple(rng.choice(classes, half, replace=False).tolist()) for _ in range(most)]
    parts = list(combinations(classes, half))
    # With an even number every split is listed twice, by one part and by the other.
    return parts if odd else parts[: len(parts) // 2]


def _classifier(name: str) -> Callable[[], Any]:
    if name not in CLASSIFIERS:
        raise InputError("classifier", repr(name), f"one of {', '.join(CLASSIFIERS)}")
    return CLASSIFIERS[name]


def _accuracy(make: Callable[[], Any], codes: Array, labels: Any, test_codes: Array, test_labels: Any) -> float:
    if len(np.unique(labels)) == 1:
        return float(np.mean(test_labels == labels[0]))
    if isinstance(classifier := make(), KNeighborsClassifier) and classifier.n_neighbors > len(codes):
        classifier.set_params(n_neighbors=len(codes))
    return float(classifier.fit(codes, labels).score(test_codes, test_labels))
