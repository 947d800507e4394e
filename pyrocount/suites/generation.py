"""Suite of the data that the prior generates."""

import numpy as np

from pyrocount import figures
from pyrocount.backends import derived_seed
from pyrocount.errors import InputError
from pyrocount.metrics.generation import FEATURES, INCEPTION, generation_distances

from .base import EvaluationContext, Result


def generation(context: EvaluationContext) -> Result:
    """Measures FID and KID of means of the data given samples of the prior; draws other data alone."""
    result, model = Result(), context.model
    number = max(context.images)
    seed = derived_seed(context.seed, 3)
    _, means, _ = model.prior_draws(number, context.windows(number), seed=seed)
    result.figures["generated"] = figures.samples(means[:60])
    result.metrics["generated_mean"], result.metrics["generated_deviation"] = float(means.mean()), float(means.std())
    test, _ = context.test()
    result.metrics["data_mean"], result.metrics["data_deviation"] = float(test.mean()), float(test.std())
    with result.attempt("fid"):
        if not context.is_images:
            raise InputError("data", f"observations of shape {context.data.shape}", "images")
        everything, kind = context.real_images, context.protocol.fid_images
        numbers = [wanted for wanted in context.images if 2 * FEATURES <= wanted <= len(everything)]
        for wanted in sorted({*context.images} - {*numbers}):
            limits = f"{2 * FEATURES} to {len(everything)} images, the number of {kind} ones"
            result.remarks.append(f"fid: images: got {wanted} images, expected {limits}")
        if not numbers:
            raise InputError("images", f"{len(everything)} {kind} images", f"at least {2 * FEATURES} of them for FID")
        rows = np.random.default_rng(context.seed).permutation(len(everything))[: max(numbers)]
        distances = generation_distances(
            *(context.unit_range(part) for part in (everything[rows], means[: len(rows)])),
            numbers=numbers,
            inception_weights=context.inception_weights,
            seed=context.seed,
            device=model.device,
        )
        suffix = "" if distances.extractor == INCEPTION else "_seeded"
        result.metrics |= {f"fid_{count}{suffix}": value for count, value in distances.fid.items()}
        result.metrics |= {f"kid{suffix}": distances.kid, f"kid{suffix}_deviation": distances.kid_deviation}
        if suffix:
            result.remarks.append(
                "fid_seeded and kid_seeded are of a small network with random weights from a fixed seed: they compare "
                "models of this package with each other, not with published metrics, for which there is "
                "--inception-weights"
            )
    return result
