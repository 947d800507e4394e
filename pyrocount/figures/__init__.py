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
from .decisions import energy, reaction_time
from .dynamics import latency, serial_dependence
from .fits import (
    amortization,
    convergence,
    count_histograms,
    dictionary,
    fit_over_steps,
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
from .responses import by_latent, sensitivity

__all__ = [
    "amortization",
    "by_latent",
    "channel_fits",
    "comparison",
    "convergence",
    "count_histograms",
    "dictionary",
    "energy",
    "fit_over_steps",
    "gradient_estimators",
    "importance",
    "inference_curves",
    "information",
    "latency",
    "loadings",
    "mean_variance",
    "raster",
    "reaction_time",
    "reconstructions",
    "reconstructions_by_kind",
    "relations",
    "restarts",
    "rootograms",
    "samples",
    "sensitivity",
    "serial_dependence",
    "spike_raster",
    "training_curves",
    "trajectories",
    "tuning",
    "uniformity",
]
