"""Suite of the reconstruction of the data and the tightness of the bounds."""

import numpy as np

from pyrocount import figures
from pyrocount.metrics.importance import importance_weighted_elbo
from pyrocount.metrics.similarity import structural_similarity

from .base import EvaluationContext, Result, mean_over

# Numbers of observations and steps of the refinement that shows the amortisation gap.
REFINED, STEPS = 200, 300


def reconstruction(context: EvaluationContext) -> Result:
    """Measures MSE, R^2, SSIM, the ELBO and its parts, the importance-weighted ELBO and the amortisation gap."""
    result, model = Result(), context.model
    (x, exposure), evaluation = context.test(), context.evaluation
    # A constant observation has no R^2.
    result.metrics |= {
        name: mean_over(values, some=name == "r2") for name, values in evaluation.per_observation.items()
    }
    if lost := int((~np.isfinite(evaluation.per_observation["nelbo"])).sum()):
        result.remarks.append(f"{lost} of {len(x)} observations have a likelihood that is not finite")
    extra = ("paper_loss", "r2_median", "diverged", "convergence_step", "distance")
    result.metrics |= {name: evaluation.metrics[name] for name in extra if name in evaluation.metrics}
    if (soft := model.relaxed(x, exposure, seed=context.seed)) is not None:
        result.metrics["soft_mse"] = mean_over(soft["mse"])
    if context.is_images:
        with result.attempt("ssim"):
            pair = (context.unit_range(part) for part in (x, evaluation.reconstructions))
            result.metrics["ssim"] = mean_over(structural_similarity(*pair, window=context.protocol.ssim_window))
    if not context.is_recording:
        worst = np.argsort(np.nan_to_num(evaluation.per_observation["mse"], nan=np.inf))[::-1][:12]
        result.figures["worst_reconstructions"] = figures.reconstructions(
            x[worst], evaluation.reconstructions[worst], rows=1
        )
    if model.has_density:
        weights = context.log_weights
        bound = importance_weighted_elbo(weights)
        result.metrics[f"importance_weighted_elbo_{context.samples}"] = mean_over(bound)
        # The gain is over the ELBO of the same observations, which are fewer than those above.
        result.metrics["importance_weighted_observations"] = len(bound)
        result.metrics[f"importance_weighted_gain_{context.samples}"] = mean_over(bound - weights.mean(0))
    with result.attempt("amortization_gap"):
        gap = model.amortization_gap(*context.test(REFINED), steps=STEPS, seed=context.seed, progress=context.progress)
        if gap is not None:
            own, refined = gap
            result.metrics["amortization_gap"] = mean_over(own - refined)
    return result
