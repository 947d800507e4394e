"""Figures: functions of arrays that return matplotlib figures."""

from .checks import (
    importance,
    information,
    mean_variance,
    restarts,
    rootograms,
    uniformity,
)
from .fits import (
    amortization,
    comparison,
    convergence,
    count_histograms,
    dictionary,
    gradient_estimators,
    inference_curves,
    reconstructions,
    reconstructions_by_kind,
    samples,
    spike_raster,
    training_curves,
    trajectories,
)

__all__ = [
    "amortization",
    "comparison",
    "convergence",
    "count_histograms",
    "dictionary",
    "gradient_estimators",
    "importance",
    "inference_curves",
    "information",
    "mean_variance",
    "reconstructions",
    "reconstructions_by_kind",
    "restarts",
    "rootograms",
    "samples",
    "spike_raster",
    "training_curves",
    "trajectories",
    "uniformity",
]
