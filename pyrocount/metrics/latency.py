"""Latencies of responses, in steps of inference."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

# Part of the steps at the end whose mean is the last value of a response.
LAST = 0.1


def first_spikes(counts: NDArray[Any]) -> NDArray[np.int64]:
    """Returns the step of the first spike of each latent, counted from 1, shape (N, K); T where there is none before.

    Args:
        counts: counts of each step, shape (T, N, K).

    >>> first_spikes(np.array([[[0, 2]], [[1, 0]], [[0, 0]]])).tolist()
    [[2, 1]]
    """
    fired = counts > 0
    return np.where(fired.any(0), fired.argmax(0) + 1, len(counts))


def rise_step(response: Array, part: float = 0.5) -> float:
    """Returns the step at which a response first reaches a part of its last value, between steps; NaN without one.

    The response is 0 at step 0. Its last value is the mean over the last tenth of the steps, and has to be positive.

    Args:
        response: response after each step from 1 on, shape (T,), 0 at rest.
        part: part of the last value, above 0 and up to 1.

    >>> rise_step(np.array([0.0, 1.0, 3.0, 4.0, 4.0]))
    2.5
    """
    last = float(response[-max(1, round(LAST * len(response))) :].mean())
    if not last > 0:
        return math.nan
    place = int(np.argmax(response >= part * last))
    before = float(response[place - 1]) if place else 0.0
    return place + (part * last - before) / (float(response[place]) - before)


def slopes(contrasts: Array, latencies: Array) -> NDArray[np.float64]:
    """Returns slopes of latencies over log2 of the contrast, in steps per doubling, shape (N,).

    Args:
        contrasts: contrasts, positive, shape (C,).
        latencies: latencies at each, shape (C, N).
    """
    octaves = np.log2(contrasts)
    centred = octaves - octaves.mean()
    found: NDArray[np.float64] = centred @ latencies / np.square(centred).sum()
    return found
