"""Distances between generated and real images: Frechet and kernel distances of features, by torch-fidelity."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pyrocount.errors import InputError, require_extra

Array = NDArray[np.floating[Any]]

# Number of features of the seeded extractor; to estimate their covariance takes several times more samples.
FEATURES = 64
# Names of the feature extractors.
SEEDED, INCEPTION = "pyrocount-seeded", "inception-v3-compat"
# Number of subsets for the kernel distance, and largest number of images in a subset.
SUBSETS, SUBSET_SIZE = 100, 1000


@dataclass(frozen=True)
class Distances:
    """Distances of generated images from real ones.

    Attributes:
        extractor: name of the feature extractor: ``"inception-v3-compat"``, whose distances compare with published
            ones, or ``"pyrocount-seeded"``, a small network with random weights from a fixed seed, whose distances
            compare with each other alone.
        fid: Frechet distance by the number of images of each kind, real and generated.
        kid: kernel distance, a mean over 100 subsets of up to 1000 images.
        kid_deviation: standard deviation of the kernel distance over the subsets.
    """

    extractor: str
    fid: dict[int, float]
    kid: float
    kid_deviation: float


def generation_distances(
    real: Array,
    generated: Array,
    *,
    numbers: Sequence[int] = (5000, 10_000),
    inception_weights: str | Path | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> Distances:
    """Computes Frechet (FID) and kernel (KID) distances between features of real and generated images.

    Args:
        real: real images with values in [0, 1], shape (N, channels, height, width), with one or three channels.
        generated: generated images, of the shape of ``real`` apart from N; values outside of [0, 1] are clipped. The
            largest of ``numbers`` is the number of images of each kind that are used.
        numbers: numbers of images of each kind; there is one FID for each number.
        inception_weights: file of Inception's weights in torch-fidelity's format, or ``"download"`` to fetch them;
            by default the seeded extractor is used instead.
        seed: random seed of the subsets.
        device: ``"cpu"`` or ``"cuda"``.

    Raises:
        InputError: naming ``numbers``, if there are fewer images, or if a number is so small that a covariance of the
            features has no meaning; ``inception_weights``, if they cannot be loaded; ``generated``, if the shapes
            differ or the images have other than one or three channels; or ``generation``, if torch-fidelity is not
            installed.

    References:
        Heusel et al., GANs Trained by a Two Time-Scale Update Rule, NeurIPS 2017 (FID); Binkowski et al., Demystifying
        MMD GANs, ICLR 2018 (KID).

    >>> real, same = np.random.default_rng(0).random((2, 150, 1, 8, 8))
    >>> near, far = (generation_distances(real, other, numbers=[150]) for other in (same, same / 2))
    >>> near.fid[150] < far.fid[150], near.kid < far.kid
    (True, True)
    """
    if real.ndim != 4 or real.shape[1] not in (1, 3) or generated.shape[1:] != real.shape[1:]:
        problem = f"shapes {real.shape} of the real and {generated.shape} of the generated images"
        expected = "images of one shape (N, channels, height, width), apart from N, and of one or three channels"
        raise InputError("generated", problem, expected)
    available = min(len(real), len(generated))
    for number in numbers:
        if not 2 * FEATURES <= number <= available:
            problem = f"{number} images, with {len(real)} real and {len(generated)} generated ones"
            expected = f"at least {2 * FEATURES} images, and no more than there are of each kind"
            raise InputError("numbers", problem, expected)
    with require_extra("evaluate", "generation", "FID"):
        import torch_fidelity
    extractor, options = _extractor(inception_weights)
    fid = {}
    metrics: dict[str, float] = {}
    for number in sorted(numbers):
        last = number == max(numbers)
        try:
            metrics = torch_fidelity.calculate_metrics(
                input1=_Images(generated[:number]),
                input2=_Images(real[:number]),
                feature_extractor=extractor,
                cuda=device == "cuda",
                fid=True,
                kid=last,
                kid_subsets=SUBSETS,
                kid_subset_size=min(SUBSET_SIZE, number // 2),
                rng_seed=seed,
                cache=False,
                verbose=False,
                save_cpu_ram=True,
                **options,
            )
        except (OSError, RuntimeError, KeyError, ValueError, UnpicklingError) as error:
            if inception_weights is None:
                raise
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            problem = f"{inception_weights} ({reason})"
            expected = "a file of weights in torch-fidelity's format, or 'download' with an Internet connection"
            raise InputError("inception_weights", problem, expected) from error
        fid[number] = float(metrics["frechet_inception_distance"])
    kid, deviation = (float(metrics[f"kernel_inception_distance_{part}"]) for part in ("mean", "std"))
    return Distances(extractor, fid, kid, deviation)


class _Images(torch.utils.data.Dataset[Tensor]):
    """Data set of images as bytes with three channels, as torch-fidelity takes them."""

    def __init__(self, images: Array) -> None:
        self.images = torch.from_numpy(np.clip(np.rint(images * 255), 0, 255).astype(np.uint8))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index].expand(3, -1, -1)


def _extractor(inception_weights: str | Path | None) -> tuple[str, dict[str, Any]]:
    if inception_weights is None:
        _register_seeded()
        return SEEDED, {"feature_layer_fid": "features", "feature_layer_kid": "features"}
    if str(inception_weights) == "download":
        return INCEPTION, {}
    if not Path(inception_weights).is_file():
        raise InputError("inception_weights", f"{inception_weights}, which is not a file", "a file, or 'download'")
    return INCEPTION, {"feature_extractor_weights_path": str(inception_weights)}


@cache
def _register_seeded() -> None:
    from torch_fidelity import FeatureExtractorBase, register_feature_extractor

    class SeededExtractor(FeatureExtractorBase):  # type: ignore[misc]
        """Three convolutions with random weights; their means and deviations over the image are the features."""

        def __init__(self, name: str, features_list: Sequence[str], **options: Any) -> None:
            super().__init__(name, features_list)
            generator = torch.Generator().manual_seed(0)
            widths = (3, 16, 32, FEATURES // 2)
            self.layers = nn.ModuleList(nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise(widths))
            with torch.no_grad():
                for parameter in self.layers.parameters():
                    fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
                    deviation = math.sqrt(2 / fan_in) if parameter.ndim > 1 else 0.1
                    parameter.copy_(deviation * torch.randn(parameter.shape, generator=generator))
            self.requires_grad_(False)

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return ("features",)

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return "features"

        @staticmethod
        def can_be_compiled() -> bool:
            return False

        @staticmethod
        def get_dummy_input_for_compile() -> None:
            return None

        def forward(self, images: Tensor) -> tuple[Tensor, ...]:
            x = images.float() / 127.5 - 1
            for number, layer in enumerate(self.layers):
                x = layer(x).relu()
                if number < len(self.layers) - 1 and min(x.shape[2:]) > 3:
                    x = nn.functional.avg_pool2d(x, 2)
            return (torch.cat([x.mean((2, 3)), x.flatten(2).std(2)], 1),)

    register_feature_extractor(SEEDED, SeededExtractor)
