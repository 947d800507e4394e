"""Suite of the dependence of a code on the input before, in iterative inference whose state is carried over."""

import numpy as np
from numpy.typing import NDArray

from pyrocount import figures
from pyrocount.backends import derived_seed
from pyrocount.backends.evaluation import Array
from pyrocount.errors import InputError
from pyrocount.metrics.representation import logistic
from pyrocount.metrics.serial_dependence import carried_over, label_attraction, shuffled_orders

from .base import EvaluationContext, Result, Table, mean_over

# Numbers of steps for each input, of sequences, and of training observations from which labels are decoded.
STEPS, SEQUENCES, PROBED = 100, 200, 1000
# Steps of the current input after which labels are decoded.
DECODED = (1, 2, 5, 10, 20, 50, 100)


def serial_dependence(context: EvaluationContext) -> Result:
    """Measures how much of the previous input is left in the code of the current one, and in its decoded label.

    Each held-out observation follows a random other one, and the state at the end of the first is that from which the
    inference of the second begins. Changes are those from an inference of the second that begins anew, at the prior.
    """
    result, model = Result(), context.model
    with result.attempt("serial dependence"):
        require_plain(context)
        rows = context.rows[:SEQUENCES]
        if len(rows) < 3:
            raise InputError("--observations", len(rows), "at least 3, which follow each other")
        current = context.data.test_view[rows]
        previous = np.roll(current, 1, 0)
        seeds = [derived_seed(context.seed, 11, number) for number in range(4)]
        carried = model.course(np.stack([previous, current]), steps=STEPS, seed=seeds[0]).code[STEPS:]
        anew = model.course(current[None], steps=STEPS, seed=seeds[1]).code
        before = model.course(previous[None], steps=STEPS, seed=seeds[2]).code[-1]
        left = np.stack([carried_over(change, before) for change in carried - anew])
        rng = np.random.default_rng(context.seed)
        shuffled = _chance(np.stack([shuffled_orders(change, before, rng) for change in carried - anew]))
        mean = left.mean(1)
        result.metrics |= {
            "carried_over_after_1_step": mean_over(left[0]),
            f"carried_over_after_{STEPS}_steps": mean_over(left[-1]),
            "carried_over_by_chance": float(shuffled[-1, 2]),
            "steps_to_half": float(np.argmax(mean <= 0.5)) + 1 if (mean <= 0.5).any() else float("nan"),
        }
        labels = None
        with result.attempt("labels"):
            labels = _labels(context, result, carried, anew, seeds[3])
        result.figures["serial_dependence"] = figures.serial_dependence(_bands(left), shuffled, labels)
    return result


def require_plain(context: EvaluationContext) -> None:
    """Checks that observations have no windows of their own.

    Raises:
        InputError: naming ``data``, if they do.
    """
    if context.data.test_exposure is not None:
        raise InputError("data", f"{context.data.name} with lengths of windows", "observations without an exposure")


def _labels(context: EvaluationContext, result: Result, carried: Array, anew: Array, seed: int) -> Array:
    """Returns the attraction of the previous label after some steps, with its interval, shape (decoded, 4).

    The first column is the number of steps.
    """
    taught, labels = context.require_labels()
    train = context.training(PROBED)[0]
    known = taught[: len(train)]
    codes = np.concatenate(
        [
            context.model.course(train[None, first : first + SEQUENCES], steps=STEPS, seed=seed + first).code[-1]
            for first in range(0, len(train), SEQUENCES)
        ]
    )
    probe = logistic().fit(codes, known)
    labels = labels[: carried.shape[1]]
    places = _places(labels, np.asarray(probe.classes_))
    before, rows = np.roll(places, 1), []
    for step in DECODED:
        after, control = (probe.predict_log_proba(part[step - 1]) for part in (carried, anew))
        found = mean_over(label_attraction(after - control, before, places), some=True)
        hits = [float((part.argmax(1) == places).mean()) for part in (after, control)]
        rows.append((step, found.mean, found.low, found.high, *hits))
    result.metrics |= {
        "label_attraction": found,
        "accuracy_after_another": rows[-1][4],
        "accuracy_anew": rows[-1][5],
    }
    header = ("steps", "attraction (nats)", "low", "high", "accuracy after another input", "accuracy anew")
    result.tables.append(Table("Attraction of the label by that of the input before", header, rows))
    return np.array(rows)[:, :4]


def _places(labels: NDArray[np.int64], classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns the number of each label among the classes of the probe.

    Raises:
        InputError: naming ``labels``, if the probe has not seen one of them.
    """
    if unknown := sorted(set(labels.tolist()) - set(classes.tolist())):
        raise InputError("labels", f"label {unknown[0]}, which no training observation has", "labels that are trained")
    return np.searchsorted(classes, labels)


def _chance(orders: Array) -> Array:
    """Returns the mean over random orders at each step, and the ends within which 95 % of them lie, shape (T, 3)."""
    low, high = np.quantile(orders, (0.025, 0.975), axis=1)
    return np.stack([orders.mean(1), low, high], 1)


def _bands(values: Array) -> Array:
    """Returns the mean over sequences of each step and the ends of its interval, shape (T, 3)."""
    found = [mean_over(step) for step in values]
    return np.array([(one.mean, one.low, one.high) for one in found])
