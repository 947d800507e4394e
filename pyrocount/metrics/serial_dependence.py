"""Metrics of how an input before another one changes the code of the latter.

The change is that from a control whose inference begins anew. What the previous input does to any code alike, whichever
input it was, is subtracted: it is what remains on average where the order of the inputs is shuffled.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]]


def carried_over(changes: Array, previous: Array) -> NDArray[np.float64]:
    r"""Returns the part of the previous code that is left in the code of each sequence, shape (N,).

    With changes u and centred previous codes v it is

    .. math:: \langle u_i, v_i \rangle \,/\, \overline{\langle v, v \rangle},

    whose mean is 1 where the codes of the previous inputs are left as a whole, 0 where nothing of them is left, and
    negative where the code moves away from them. Its mean over all orders of the previous inputs is 0.

    Args:
        changes: code of the current input after the previous one, minus that of an inference that began anew, shape
            (N, K).
        previous: code of the previous input, shape (N, K), of samples that are independent of those of the changes:
            noise in common would look like a dependence.
    """
    left: NDArray[np.float64] = (changes * _scaled(previous)).sum(1)
    return left


def shuffled_orders(
    changes: Array, previous: Array, rng: np.random.Generator, repeats: int = 200
) -> NDArray[np.float64]:
    """Returns the mean of ``carried_over`` for random orders of the previous inputs, shape (repeats,).

    A mean for the true order within their spread is one of chance.

    Args:
        changes: changes of the code, shape (N, K).
        previous: code of the previous input, shape (N, K).
        rng: random generator.
        repeats: number of orders.
    """
    every = changes @ _scaled(previous).T
    rows = np.arange(len(changes))
    return np.array([every[rows, rng.permutation(len(rows))].mean() for _ in range(repeats)])


def _scaled(previous: Array) -> NDArray[np.float64]:
    """Returns centred codes over the mean of their squared lengths; NaN where all codes are equal."""
    centred = previous.astype(np.float64) - previous.mean(0, dtype=np.float64)
    power = float(np.square(centred).sum(1).mean())
    scaled: NDArray[np.float64] = centred / power if power > 0 else np.full(centred.shape, np.nan)
    return scaled


def label_attraction(changes: Array, previous: Labels, current: Labels) -> NDArray[np.float64]:
    """Returns the change of the evidence for the previous label of each sequence over that for others, shape (N,).

    The others are the labels of the previous inputs of all sequences, as often as they occur, without the current
    label; the mean is positive where the previous label attracts, and negative where it repels. Sequences of one label
    have the value NaN.

    Args:
        changes: log probability of each label after the previous input, minus that of an inference that began anew, in
            nats, shape (N, labels).
        previous: number of the previous label, shape (N,).
        current: number of the current label, shape (N,).
    """
    rows, weights = np.arange(len(changes)), np.bincount(previous, minlength=changes.shape[1]).astype(np.float64)
    weight = np.tile(weights, (len(changes), 1))
    weight[rows, current] = 0
    total = weight.sum(1)
    expected = np.divide((weight * changes).sum(1), total, out=np.full(len(changes), np.nan), where=total > 0)
    found: NDArray[np.float64] = np.where(previous == current, np.nan, changes[rows, previous] - expected)
    return found
