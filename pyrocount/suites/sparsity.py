"""How many latents respond, and how."""

import numpy as np

from pyrocount import figures
from pyrocount.metrics import lifetime_sparsity, mean_rate, population_sparsity, zero_fraction

from .base import Result, Subject


def sparsity(subject: Subject) -> Result:
    """Lifetime and population sparsity, zeros, mean rate and active latents."""
    result, adapter = Result(), subject.adapter
    evaluation = subject.evaluation
    counts = evaluation.counts
    result.figures = {
        "lifetime_sparsity": lifetime_sparsity(counts),
        "population_sparsity": population_sparsity(counts),
        "zero_fraction": zero_fraction(counts),
        "mean_rate": mean_rate(counts),
        "active_latents": evaluation.figures["active_latents"],
        "latents": adapter.latent_dim,
    }
    each = np.array([lifetime_sparsity(counts[..., [latent]]) for latent in range(adapter.latent_dim)])
    result.pictures["information"] = figures.information(evaluation.latent_kl, each)
    if adapter.has_counts:
        mean, variance = (part((0, 1), dtype=np.float64) for part in (counts.mean, counts.var))
        result.pictures["mean_variance"] = figures.mean_variance(mean, variance)
    return result
