"""Confidence interval of a mean over a few runs."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats


def student_margin(runs: Sequence[float] | NDArray[np.floating[Any]], confidence: float) -> float:
    """Returns half the width of Student's interval of the mean of independent runs; NaN for fewer than two runs.

    >>> round(student_margin([0.5, 0.5, 0.8, 0.6], 0.95), 4)
    0.225
    """
    if len(runs) < 2:
        return math.nan
    quantile = float(stats.t.ppf((1 + confidence) / 2, len(runs) - 1))
    return quantile * float(np.std(runs, ddof=1)) / math.sqrt(len(runs))
