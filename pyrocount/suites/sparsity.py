"""Suite of the responses of the latents."""

import numpy as np

from pyrocount import figures
from pyrocount.metrics import lifetime_sparsity, mean_rate, population_sparsity, zero_fraction

from .base import EvaluationContext, Result


def sparsity(context: EvaluationContext) -> Result:
    """Measures lifetime and population sparsity, zeros, mean rate and active latents."""
    result, model = Result(), context.model
    evaluation = context.evaluation
    counts, silent = evaluation.counts, context.protocol.silent_sparsity
    result.metrics = {
        "lifetime_sparsity": lifetime_sparsity(counts, silent=silent),
        "population_sparsity": population_sparsity(counts, silent=silent),
        "zero_fraction": zero_fraction(counts),
        "mean_rate": mean_rate(counts),
        "active_latents": evaluation.metrics["active_latents"],
        "latents": model.latent_dim,
    }
    each = np.array([lifetime_sparsity(counts[..., [latent]], silent=silent) for latent in range(model.latent_dim)])
    result.figures["information"] = figures.information(evaluation.latent_kl, each)
    if model.has_counts:
        mean, variance = (part((0, 1), dtype=np.float64) for part in (counts.mean, counts.var))
        result.figures["mean_variance"] = figures.mean_variance(mean, variance)
    return result
