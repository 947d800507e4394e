"""How well the data are rebuilt, and how close the bounds are."""

import numpy as np

from pyrocount import figures
from pyrocount.adapters import AmortizedAdapter
from pyrocount.amortization import posterior_gap
from pyrocount.metrics.importance import importance_weighted_elbo
from pyrocount.metrics.similarity import structural_similarity

from .base import Result, Subject, mean_over

# Observations and steps of the refinement that shows the amortisation gap.
REFINED, STEPS = 200, 300


def reconstruction(subject: Subject) -> Result:
    """MSE, R^2, SSIM, the ELBO and its parts, the importance-weighted ELBO and the amortisation gap."""
    result, adapter = Result(), subject.adapter
    (x, _), evaluation = subject.test(), subject.evaluation
    # The R^2 of a constant observation is none.
    result.figures |= {name: mean_over(values, some=name == "r2") for name, values in evaluation.each.items()}
    if lost := int((~np.isfinite(evaluation.each["nelbo"])).sum()):
        result.remarks.append(f"{lost} of {len(x)} observations have a likelihood that is not finite")
    extra = ("paper_loss", "r2_median", "diverged", "convergence_step", "distance")
    result.figures |= {name: evaluation.figures[name] for name in extra if name in evaluation.figures}
    if subject.is_images:
        with result.attempt("ssim"):
            pair = (subject.unit_range(part) for part in (x, evaluation.reconstructions))
            result.figures["ssim"] = mean_over(structural_similarity(*pair))
    worst = np.argsort(np.nan_to_num(evaluation.each["mse"], nan=np.inf))[::-1][:12]
    result.pictures["worst_reconstructions"] = figures.reconstructions(
        x[worst], evaluation.reconstructions[worst], rows=1
    )

    if adapter.has_density:
        weights = subject.log_weights
        bound = importance_weighted_elbo(weights)
        result.figures[f"importance_weighted_elbo_{subject.samples}"] = mean_over(bound)
        # Over the ELBO of the same observations, fewer than those above.
        result.figures["importance_weighted_observations"] = len(bound)
        result.figures[f"importance_weighted_gain_{subject.samples}"] = mean_over(bound - weights.mean(0))
    if isinstance(adapter, AmortizedAdapter) and adapter.has_density:
        with result.attempt("amortization_gap"):
            few = adapter.tensors(*subject.test(REFINED))
            own, refined = posterior_gap(adapter.vae, *few, steps=STEPS, seed=subject.seed, progress=subject.progress)
            result.figures["amortization_gap"] = mean_over(own - refined)
    return result
