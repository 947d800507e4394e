"""What the codes are good for."""

import numpy as np

from pyrocount.errors import InputError
from pyrocount.evaluation import Array
from pyrocount.metrics.representation import (
    CLASSIFIERS,
    Labels,
    few_shot_accuracy,
    probe_accuracy,
    shattering_dimension,
)

from .base import Result, Subject

LABELS = (200, 1000, 5000)
SHOTS = (1, 5, 10, 20)


def representation(subject: Subject) -> Result:
    """Accuracy of k nearest neighbours and logistic regression with few labels, and shattering dimension."""
    result, adapter, data = Result(), subject.adapter, subject.data
    if data.test_labels is None or data.train_labels is None:
        with result.attempt("labels"):
            raise InputError("data", f"{data.name} without labels", "labels, in an array 'labels' of the .npz file")
        return result
    x, exposure = subject.test()
    labels = data.test_labels[subject.rows]
    codes = adapter.code(x, exposure, seed=subject.seed, progress=subject.progress)
    finite = np.isfinite(codes).all(1)
    if not finite.all():
        result.remarks.append(f"{(~finite).sum()} of {len(codes)} observations have codes that are not finite")
        codes, labels = codes[finite], labels[finite]

    for number in LABELS:
        for classifier in CLASSIFIERS:
            with result.attempt(f"{classifier} with {number} labels"):
                found = probe_accuracy(codes, labels, number, classifier=classifier, seed=subject.seed)
                result.figures[f"{classifier}_{number}"] = found
    for shots in SHOTS:
        for classifier in CLASSIFIERS:
            with result.attempt(f"{classifier} with {shots} labels a class"):
                found = few_shot_accuracy(codes, labels, shots, classifier=classifier, seed=subject.seed)
                result.figures[f"{classifier}_{shots}_shot"] = found
    with result.attempt("shattering"):
        train_codes, train_labels = _training_codes(subject)
        found = shattering_dimension(train_codes, train_labels, codes, labels, jobs=-1)
        result.figures["shattering"] = found
        result.figures["shattering_observations"] = len(train_codes)
    return result


def _training_codes(subject: Subject) -> tuple[Array, Labels]:
    data, number = subject.data, subject.train_observations
    exposure = None if data.train_exposure is None else data.train_exposure[:number]
    x = data.train_units(number)
    assert data.train_labels is not None
    codes = subject.adapter.code(x, exposure, seed=subject.seed, progress=subject.progress)
    finite = np.isfinite(codes).all(1)
    return codes[finite], data.train_labels[: len(x)][finite]
