"""Metrics of images: similarity, FID and KID."""

import sys

import numpy as np
import pytest

from pyrocount.errors import InputError
from pyrocount.metrics import generation
from pyrocount.metrics.generation import FEATURES, generation_distances
from pyrocount.metrics.similarity import structural_similarity

RNG = np.random.default_rng(0)
NOISE = RNG.random((700, 1, 8, 8)).astype(np.float32)


def test_similarity_is_that_of_the_windows():
    """On one window of 7 x 7 pixels it is the formula, with sample variances."""
    x, y = RNG.random((2, 5, 1, 7, 7))
    mean_x, mean_y = x.mean((1, 2, 3)), y.mean((1, 2, 3))
    deviation = (x - mean_x[:, None, None, None]), (y - mean_y[:, None, None, None])
    covariance = (deviation[0] * deviation[1]).sum((1, 2, 3)) / 48
    variances = [np.square(part).sum((1, 2, 3)) / 48 for part in deviation]
    c1, c2 = 0.01**2, 0.03**2
    expected = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    expected /= (mean_x**2 + mean_y**2 + c1) * (sum(variances) + c2)
    np.testing.assert_allclose(structural_similarity(x, y), expected, rtol=1e-6)


def test_similarity_under_a_gaussian_window_is_that_of_its_moments():
    """The formula of Wang et al. with weighted moments, averaged over the windows in the image and over channels."""
    x, y = RNG.random((2, 3, 2, 13, 12))
    places = np.arange(-5, 6)
    profile = np.exp(-(places**2) / (2 * 1.5**2))
    weights = np.outer(profile, profile) / profile.sum() ** 2
    c1, c2 = 0.01**2, 0.03**2
    expected = []
    for one, other in zip(x, y, strict=True):
        values = []
        for channel in range(2):
            for row in range(3):
                for column in range(2):
                    a, b = (part[channel, row : row + 11, column : column + 11] for part in (one, other))
                    mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
                    variances = (weights * (a - mean_a) ** 2).sum() + (weights * (b - mean_b) ** 2).sum()
                    covariance = (weights * (a - mean_a) * (b - mean_b)).sum()
                    value = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
                    values.append(value / ((mean_a**2 + mean_b**2 + c1) * (variances + c2)))
        expected.append(np.mean(values))
    np.testing.assert_allclose(structural_similarity(x, y, window="gaussian"), expected, rtol=1e-6)


def test_similarity_of_windows_that_cannot_be():
    x = np.zeros((2, 1, 10, 12))
    with pytest.raises(InputError, match="of at least 11 x 11 pixels"):
        structural_similarity(x, x, window="gaussian")
    with pytest.raises(InputError, match="window: got 'round', expected one of uniform, gaussian"):
        structural_similarity(x, x, window="round")


def test_similarity_clips_takes_colour_and_small_images():
    x = RNG.random((4, 3, 6, 5))
    np.testing.assert_allclose(structural_similarity(x, x), 1)
    white = np.ones_like(x)
    np.testing.assert_allclose(structural_similarity(white, 7 * white), 1)
    assert (structural_similarity(x, 1 - x) < 0.5).all()


@pytest.mark.parametrize("shape", [(5, 10), (5, 1, 2, 8)])
def test_similarity_wants_images(shape):
    with pytest.raises(InputError, match=r"x: got an array of shape .*, expected images"):
        structural_similarity(np.zeros(shape), np.zeros(shape))


def test_distances_tell_the_same_from_others():
    same = generation_distances(NOISE[:350], NOISE[350:], numbers=(200, 350))
    other = generation_distances(NOISE[:350], 0.6 * NOISE[350:], numbers=(200, 350))
    assert same.extractor == "pyrocount-seeded"
    assert set(same.fid) == {200, 350}
    assert other.fid[350] > 20 * same.fid[350] > 0
    assert abs(same.kid) < 3 * same.kid_deviation
    assert other.kid > 5 * other.kid_deviation
    # More of the same are closer, as their moments are better known.
    assert same.fid[350] < same.fid[200]


def test_the_frechet_distance_is_that_of_the_moments():
    from torch_fidelity.utils import create_feature_extractor

    real, generated = NOISE[:300], np.square(NOISE[300:600])
    found = generation_distances(real, generated, numbers=(300,)).fid[300]
    extractor = create_feature_extractor(generation.SEEDED, ["features"], cuda=False, verbose=False)
    first, second = (
        np.stack([extractor(generation._Images(part)[i][None])[0][0].numpy() for i in range(300)]).astype(np.float64)
        for part in (real, generated)
    )
    assert first.shape == (300, FEATURES)
    covariances = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    values, vectors = np.linalg.eigh(covariances[0])
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    common = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ covariances[1] @ root), 0)).sum()
    expected = np.square(first.mean(0) - second.mean(0)).sum() + np.trace(covariances[0] + covariances[1]) - 2 * common
    assert found == pytest.approx(expected, rel=1e-3)


def test_the_seeded_extractor_stays_the_same():
    """Figures are to compare between runs and versions."""
    from torch_fidelity.utils import create_feature_extractor

    generation._extractor(None)
    extractor = create_feature_extractor(generation.SEEDED, ["features"], cuda=False, verbose=False)
    ramp = np.linspace(0, 1, 64).reshape(1, 1, 8, 8)
    features = extractor(generation._Images(ramp)[0][None])[0][0].numpy()
    np.testing.assert_allclose(features[[10, 40]], [0.013501, 0.188291], rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"numbers": (701,)}, "numbers: got 701 images, with 700 real and 700 generated ones, expected at least 128"),
        ({"numbers": (64,)}, "numbers: got 64 images, .* expected at least 128"),
        (
            {"numbers": (200,), "inception_weights": "nowhere.pth"},
            "inception_weights: got nowhere.pth, which is not a file",
        ),
    ],
)
def test_what_cannot_be_measured(options, problem):
    with pytest.raises(InputError, match=problem):
        generation_distances(NOISE, NOISE, **options)


def test_what_is_no_file_of_weights(tmp_path):
    (tmp_path / "weights.pth").write_bytes(b"not weights")
    with pytest.raises(InputError, match=r"inception_weights: got .*weights.pth \(.*\), expected a file of weights"):
        generation_distances(NOISE, NOISE, numbers=(200,), inception_weights=tmp_path / "weights.pth")


def test_two_channels_are_no_image():
    two = np.zeros((200, 2, 8, 8))
    with pytest.raises(InputError, match=r"generated: got shapes .* expected images .* of one or three channels"):
        generation_distances(two, two)


@pytest.mark.parametrize(
    ("module", "work", "argument"),
    [
        ("skimage.metrics", lambda: structural_similarity(NOISE[:2], NOISE[:2]), "ssim"),
        ("torch_fidelity", lambda: generation_distances(NOISE, NOISE, numbers=(200,)), "generation"),
    ],
)
def test_without_the_extra(module, work, argument, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=rf'{argument}: .*pip install "pyrocount\[evaluate\]"'):
        work()
