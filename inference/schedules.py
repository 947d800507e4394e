"""Schedules of temperature, KL weight and learning rate, as functions of the progress of training from 0 to 1."""

import math


def anneal(start: float, end: float, progress: float, over: float = 0.5, exponential: bool = False) -> float:
    """Returns a value that moves from ``start`` to ``end`` over the first part of training and then stays at ``end``.

    Args:
        start: value at progress 0.
        end: value from progress ``over`` on.
        progress: progress of training, from 0 to 1.
        over: part of training in which the value moves; with 0 the value is ``end`` from the start.
        exponential: whether the value moves by equal ratios; otherwise it moves by equal differences.

    >>> anneal(1.0, 0.2, progress=0.25)
    0.6
    >>> anneal(1.0, 0.2, progress=0.75)
    0.2
    >>> round(anneal(1.0, 0.01, progress=0.25, exponential=True), 6)
    0.1
    """
    part = min(1.0, progress / over) if over else 1.0
    return start ** (1 - part) * end**part if exponential else (1 - part) * start + part * end


def cosine(progress: float, warmup: float = 0.01, floor: float = 0.002) -> float:
    """Returns a factor on the learning rate, which rises linearly from ``floor`` to 1 and falls by half a cosine.

    The linear warm-up lasts until the progress ``warmup``; the cosine ends at ``floor``.

    >>> round(cosine(0.01), 6), round(cosine(1.0), 6)
    (1.0, 0.002)
    """
    if progress < warmup:
        return floor + (1 - floor) * progress / warmup
    if warmup == 1:
        return 1.0
    return floor + (1 - floor) * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup))) / 2
