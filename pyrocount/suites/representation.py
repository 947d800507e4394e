"""Suite of the classes that classifiers read from the codes."""

import numpy as np

from pyrocount.metrics.co_smoothing import decoding_accuracy
from pyrocount.metrics.representation import (
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
    result, model, protocol = Result(), context.model, context.protocol
    labels = None
    with result.attempt("labels"):
        _, labels = context.require_labels()
    if labels is None:
        return result
    x, exposure = context.test()
    codes = model.code(x, exposure, seed=context.seed, progress=context.progress)
    finite = np.asarray(np.isfinite(codes).all(1))
    if not finite.all():
        result.remarks.append(f"{(~finite).sum()} of {len(codes)} observations have codes that are not finite")
    # Fixed halves are those of the data set in its own order.
    order = np.argsort(context.rows) if protocol.fixed_halves else np.arange(len(codes))
    order = order[finite[order]]
    codes, labels = codes[order], labels[order]

    taught = context.training_codes
    assert taught is not None
    if context.is_recording:
        result.metrics["label_accuracy"] = decoding_accuracy(*taught, codes, labels)
        result.metrics["most_frequent_label"] = float(np.unique(labels, return_counts=True)[1].max() / len(labels))
        return result
    seed, standardised = context.seed, protocol.standardised
    for number in LABELS:
        for classifier in protocol.probes:
            with result.attempt(f"{classifier} with {number} labels"):
                result.metrics[f"{classifier}_{number}"] = probe_accuracy(
                    codes,
                    labels,
                    number,
                    classifier=classifier,
                    standardised=standardised,
                    fixed_halves=protocol.fixed_halves,
                    repeats=protocol.repeats,
                    seed=seed,
                )
    if protocol.all_labels:
        result.metrics["logistic_all"] = decoding_accuracy(*taught, codes, labels, standardised=standardised)
        result.metrics["logistic_all_observations"] = len(taught[0])
    given, test = (taught, (codes, labels)) if protocol.few_shot_labels == "training" else ((codes, labels), None)
    for shots in SHOTS:
        for classifier in protocol.few_shot:
            with result.attempt(f"{classifier} with {shots} labels a class"):
                result.metrics[f"{classifier}_{shots}_shot"] = few_shot_accuracy(
                    given[0],
                    given[1],
                    shots,
                    test=test,
                    classifier=classifier,
                    neighbours=protocol.few_shot_neighbours,
                    standardised=standardised,
                    seed=seed,
                )
    with result.attempt("shattering"):
        drawn = protocol.shattering_labels
        result.metrics["shattering"] = shattering_dimension(
            *taught, codes, labels, number=drawn, standardised=standardised, seed=seed
        )
        result.metrics["shattering_observations"] = len(taught[0]) if drawn is None else drawn
    return result
