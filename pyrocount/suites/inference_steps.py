"""Suite of the fit and of the codes of iterative models over the steps of their inference."""

import numpy as np
from numpy.typing import NDArray

from pyrocount import figures
from pyrocount.backends import derived_seed
from pyrocount.backends.draws import Steps
from pyrocount.backends.evaluation import Array, finite_mean
from pyrocount.errors import InputError
from pyrocount.metrics.representation import Labels, logistic

from .base import EvaluationContext, Result, Table, mean_over

# Numbers of held-out and of training observations that are followed.
FOLLOWED, TAUGHT = 1000, 1000
# Part of the best accuracy that counts as reached.
CONVERGED = 0.99
# Parts of the steps that the regression reads, and the names of their accuracy.
READ = {"codes": "accuracy", "means": "accuracy_of_means"}


def inference_steps(context: EvaluationContext) -> Result:
    """Measures R^2 and the accuracy of a logistic regression after 1, 2, 4 and so on steps.

    The regression reads the codes, potentials over those of the prior, or the posterior means, as the code of Vafaii,
    Galor and Yates (arXiv 2410.19315) does. At each number of steps it learns from training observations after as many
    steps.
    """
    result, model = Result(), context.model
    if model.steps is None:
        with result.attempt("inference-steps"):
            raise InputError("RUN", "a model that does not infer in steps", "an iterative model")
        return result
    times = doubled(model.steps)
    x, exposure = context.test(FOLLOWED)
    held_out = model.inference_steps(x, exposure, times=times, seed=context.seed, progress=context.progress)
    assert held_out is not None
    r2 = np.array([finite_mean(each) for each in held_out.r2])
    with np.errstate(all="ignore"):
        median = np.array([np.nanmedian(each) if not np.isnan(each).all() else np.nan for each in held_out.r2])
    runaway = held_out.diverged.mean(1)
    result.metrics |= {
        "steps": model.steps,
        "observations": len(x),
        "r2": mean_over(held_out.r2[-1], some=True),
        "r2_median": float(median[-1]),
        "diverged": float(runaway[-1]),
    }
    accuracy = dict.fromkeys(READ, np.full(len(times), np.nan))
    with result.attempt("accuracy"):
        training, labels, own = _taught(context, times, len(x))
        for name, metric in READ.items():
            pairs = zip(getattr(training, name), getattr(held_out, name), strict=True)
            correct = np.stack([_correct(codes, labels, tested, own) for codes, tested in pairs])
            accuracy[name] = correct.mean(1)
            reached = accuracy[name] >= CONVERGED * accuracy[name].max()
            result.metrics |= {metric: mean_over(correct[-1]), f"{metric}_step": times[int(reached.argmax())]}
    header = ["steps", "mean R^2", "median R^2", "diverged", *(f"accuracy of {name}" for name in READ)]
    curves = {"r2": r2, "r2_median": median, "diverged": runaway} | accuracy
    rows = [list(row) for row in zip(times, *(curve.tolist() for curve in curves.values()), strict=True)]
    result.tables.append(Table("Fit and accuracy after steps of inference", header, rows))
    result.figures["inference_steps"] = figures.fit_over_steps(held_out.times, curves)
    return result


def doubled(steps: int) -> list[int]:
    """Returns the powers of two up to a number of steps, and the number.

    >>> doubled(10)
    [1, 2, 4, 8, 10]
    """
    return sorted({steps, *(2**power for power in range(steps.bit_length()))} - {0})


def _taught(context: EvaluationContext, times: list[int], number: int) -> tuple[Steps, Labels, Labels]:
    """Returns the steps of training observations, with their labels, and the labels of the held-out ones."""
    taught, own = context.require_labels()
    x, exposure = context.training(TAUGHT)
    seed = derived_seed(context.seed, 7)
    training = context.model.inference_steps(x, exposure, times=times, seed=seed, progress=context.progress)
    assert training is not None
    return training, taught[: len(x)], own[:number]


def _correct(codes: Array, labels: Labels, tested: Array, own: Labels) -> NDArray[np.float64]:
    """Returns whether classes are read from codes, shape (N,); those from a code that is not finite are not."""
    known, readable = np.isfinite(codes).all(1), np.isfinite(tested).all(1)
    correct = np.zeros(len(own))
    if len(np.unique(labels[known])) > 1 and readable.any():
        correct[readable] = logistic().fit(codes[known], labels[known]).predict(tested[readable]) == own[readable]
    return correct
