"""How close what the prior generates is to the data."""

import numpy as np

from pyrocount import figures
from pyrocount.adapters import derived_seed
from pyrocount.errors import InputError
from pyrocount.metrics.generation import FEATURES, INCEPTION, generation_distances

from .base import Result, Subject


def generation(subject: Subject) -> Result:
    """FID and KID of means of the data given samples of the prior; of other than images, a picture alone."""
    result, adapter = Result(), subject.adapter
    number = max(subject.images)
    seed = derived_seed(subject.seed, 3)
    _, means, _ = adapter.prior_draws(number, subject.windows(number), seed=seed)
    result.pictures["generated"] = figures.samples(means[:60])
    result.figures["generated_mean"], result.figures["generated_deviation"] = float(means.mean()), float(means.std())
    test, _ = subject.test()
    result.figures["data_mean"], result.figures["data_deviation"] = float(test.mean()), float(test.std())
    with result.attempt("fid"):
        if not subject.is_images:
            raise InputError("data", f"observations of shape {subject.data.shape}", "images")
        everything = subject.data.test_units()
        real = everything[np.random.default_rng(subject.seed).permutation(len(everything))]
        numbers = [wanted for wanted in subject.images if 2 * FEATURES <= wanted <= len(real)]
        for wanted in sorted({*subject.images} - {*numbers}):
            limits = f"from {2 * FEATURES} to {len(real)}, the held-out images"
            result.remarks.append(f"fid: images: got {wanted}, expected {limits}")
        if not numbers:
            raise InputError("images", "no number of them that is possible", "--images with one")
        distances = generation_distances(
            *(subject.unit_range(part[: max(numbers)]) for part in (real, means)),
            numbers=numbers,
            inception_weights=subject.inception_weights,
            seed=subject.seed,
            device=adapter.device,
        )
        suffix = "" if distances.extractor == INCEPTION else "_seeded"
        result.figures |= {f"fid_{count}{suffix}": value for count, value in distances.fid.items()}
        result.figures |= {f"kid{suffix}": distances.kid, f"kid{suffix}_deviation": distances.kid_deviation}
        if suffix:
            result.remarks.append(
                "fid_seeded and kid_seeded are of a small network with random weights from a fixed seed: they compare "
                "models of this package with each other, not with published figures, for which there is "
                "--inception-weights"
            )
    return result
