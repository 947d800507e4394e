"""Suite of the classes that classifiers read from the codes."""

import numpy as np

from pyrocount.backends.evaluation import Array
from pyrocount.errors import InputError
from pyrocount.metrics.co_smoothing import decoding_accuracy
from pyrocount.metrics.representation import (
    CLASSIFIERS,
    Labels,
    few_shot_accuracy,
    probe_accuracy,
    shattering_dimension,
)

from .base import EvaluationContext, Result

LABELS = (200, 1000, 5000)
SHOTS = (1, 5, 10, 20)


def representation(context: EvaluationContext) -> Result:
    """Measures the accuracy of nearest neighbours and logistic regression with few labels, and shattering.

    The labels of a recording are decoded by a logistic regression that learns from all training observations.
    """
    result, model, data = Result(), context.model, context.data
    labels = context.test_labels
    if labels is None or data.train_labels is None:
        with result.attempt("labels"):
            raise InputError("data", f"{data.name} without labels", "labels, in an array 'labels' of the file")
        return result
    x, exposure = context.test()
    codes = model.code(x, exposure, seed=context.seed, progress=context.progress)
    finite = np.isfinite(codes).all(1)
    if not finite.all():
        result.remarks.append(f"{(~finite).sum()} of {len(codes)} observations have codes that are not finite")
        codes, labels = codes[finite], labels[finite]

    if context.is_recording:
        result.metrics["label_accuracy"] = decoding_accuracy(*_training_codes(context), codes, labels)
        result.metrics["most_frequent_label"] = float(np.unique(labels, return_counts=True)[1].max() / len(labels))
        return result
    for number in LABELS:
        for classifier in CLASSIFIERS:
            with result.attempt(f"{classifier} with {number} labels"):
                found = probe_accuracy(codes, labels, number, classifier=classifier, seed=context.seed)
                result.metrics[f"{classifier}_{number}"] = found
    for shots in SHOTS:
        for classifier in CLASSIFIERS:
            with result.attempt(f"{classifier} with {shots} labels a class"):
                found = few_shot_accuracy(codes, labels, shots, classifier=classifier, seed=context.seed)
                result.metrics[f"{classifier}_{shots}_shot"] = found
    with result.attempt("shattering"):
        train_codes, train_labels = _training_codes(context)
        found = shattering_dimension(train_codes, train_labels, codes, labels)
        result.metrics["shattering"] = found
        result.metrics["shattering_observations"] = len(train_codes)
    return result


def _training_codes(context: EvaluationContext) -> tuple[Array, Labels]:
    labels = context.data.train_labels
    assert labels is not None
    codes = context.model.code(*context.training(), seed=context.seed, progress=context.progress)
    finite = np.isfinite(codes).all(1)
    return codes[finite], labels[: len(codes)][finite]
