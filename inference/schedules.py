"""How temperature, KL weight and learning rate change over training, as functions of its progress from 0 to 1."""

import math


def anneal(start: float, end: float, progress: float, over: float = 0.5, exponential: bool = False) -> float:
    """Moves from ``start`` to ``end`` over the first part of training and then stays there.

    Args:
        start: value at progress 0.
        end: value from ``over`` on.
        progress: of training, from 0 to 1.
        over: part of training; 0 is there from the start.
        exponential: whether equal steps have equal ratios; else equal differences.

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
    """Factor on the learning rate: a linear warm-up from ``floor`` to 1, then half a cosine back to ``floor``.

    >>> round(cosine(0.01), 6), round(cosine(1.0), 6)
    (1.0, 0.002)
    """
    if progress < warmup:
        return floor + (1 - floor) * progress / warmup
    if warmup == 1:
        return 1.0
    return floor + (1 - floor) * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup))) / 2
