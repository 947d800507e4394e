"""How temperature, KL weight and learning rate change over training, as functions of its progress from 0 to 1."""

import math


def anneal(start: float, end: float, progress: float, over: float = 0.5) -> float:
    """Moves linearly from ``start`` to ``end`` over the first part of training and then stays there.

    >>> anneal(1.0, 0.2, progress=0.25)
    0.6
    >>> anneal(1.0, 0.2, progress=0.75)
    0.2
    """
    part = min(1.0, progress / over)
    return (1 - part) * start + part * end


def cosine(progress: float, warmup: float = 0.01, floor: float = 0.002) -> float:
    """Factor on the learning rate: a linear warm-up from ``floor`` to 1, then half a cosine back to ``floor``.

    >>> round(cosine(0.01), 6), round(cosine(1.0), 6)
    (1.0, 0.002)
    """
    if progress < warmup:
        return floor + (1 - floor) * progress / warmup
    return floor + (1 - floor) * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup))) / 2
