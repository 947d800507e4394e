"""Figures: functions of arrays that return matplotlib figures."""

from .checks import (
    importance,
    information,
    mean_variance,
    restarts,
    rootograms,
    uniformity,
)
from .comparisons import comparison, relations
from .fits import (
    amortization,
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
from .recordings import channel_fits, loadings, raster, tuning

__all__ = [
    "amortization",
    "channel_fits",
    "comparison",
    "convergence",
    "count_histograms",
    "dictionary",
    "gradient_estimators",
    "importance",
    "inference_curves",
    "information",
    "loadings",
    "mean_variance",
    "raster",
    "reconstructions",
    "reconstructions_by_kind",
    "relations",
    "restarts",
    "rootograms",
    "samples",
    "spike_raster",
    "training_curves",
    "trajectories",
    "tuning",
    "uniformity",
]
