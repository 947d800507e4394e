import numpy as np
import pytest
from PIL import Image
from scipy import fft

from pyrocount.data import load_dataset, normalise_contrast, whiten
from pyrocount.data.patches import BORDER, SIZE
from pyrocount.errors import InputError

RNG = np.random.default_rng(0)


def natural(height=128, width=256):
    """Noise with the 1/f amplitudes of natural images."""
    frequency = np.hypot(fft.fftfreq(height)[:, None], fft.rfftfreq(width))
    frequency[0, 0] = 1
    return fft.irfft2(fft.rfft2(RNG.normal(size=(height, width))) / frequency, (height, width)) + 3


def power(image, low, high):
    """Mean power of the frequencies between two bounds, in cycles a pixel, of the inner part under a window."""
    inner = image[BORDER:-BORDER, BORDER:-BORDER]
    window = np.hanning(inner.shape[0])[:, None] * np.hanning(inner.shape[1])
    frequency = np.hypot(fft.fftfreq(inner.shape[0])[:, None], fft.rfftfreq(inner.shape[1]))
    return np.square(np.abs(fft.rfft2(inner * window)))[(frequency > low) & (frequency < high)].mean()


def test_whitening_flattens_the_spectrum_up_to_the_cut_off():
    image = natural()
    white = whiten(image)
    bands = [(0.05, 0.1), (0.1, 0.15), (0.15, 0.2)]
    powers = np.array([power(white, *band) for band in bands])
    assert powers.max() / powers.min() < 1.6
    raw = np.array([power(image, *band) for band in bands])
    assert raw.max() / raw.min() > 5
    assert power(white, 0.47, 0.5) < 0.1 * powers.min()
    assert white.mean() == pytest.approx(0, abs=1e-10)
    assert white.std() == pytest.approx(1)
    assert (whiten(np.full((20, 30), 7.0)) == 0).all()


def test_contrast_is_evened_out():
    image = RNG.normal(size=(100, 200))
    image[:, 100:] *= 10
    even = normalise_contrast(image)
    left, right = even[10:-10, 20:80].std(), even[10:-10, 120:180].std()
    assert 0.7 < left / right < 1.1
    assert np.isfinite(normalise_contrast(np.zeros((10, 10)))).all()


def test_photographs_by_default():
    data = load_dataset("patches")
    assert data.shape == (1, SIZE, SIZE)
    assert (data.name, len(data.train), len(data.test)) == ("patches", 40_000, 8_000)
    assert data.train.std() == pytest.approx(1, rel=1e-3)
    assert 0.8 < data.test.std() < 1.2
    same, other = load_dataset("patches"), load_dataset("patches", seed=1)
    np.testing.assert_array_equal(data.train, same.train)
    assert not np.array_equal(data.test, other.test)


def images_in(folder, images):
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number}.png")


def test_a_folder_and_a_file_of_images(tmp_path):
    grey = RNG.integers(0, 255, (3, 64, 120), np.uint8)
    images_in(tmp_path, [np.stack([image] * 3, -1) for image in grey])
    np.save(tmp_path / "images.npy", grey)
    from_folder = load_dataset("patches", data_dir=str(tmp_path))
    from_file = load_dataset("patches", data_dir=str(tmp_path / "images.npy"))
    np.testing.assert_allclose(from_folder.train, from_file.train, atol=1e-4)
    assert not np.allclose(load_dataset("patches", data_dir=str(tmp_path), whiten=False).train, from_folder.train)


def test_test_patches_lie_apart_from_those_of_training(tmp_path):
    """Of an image whose pixels tell their column, before any filter."""
    from pyrocount.data import patches

    columns = np.broadcast_to(np.arange(200.0), (1, 64, 200))
    np.save(tmp_path / "columns.npy", columns)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patches, "normalise_contrast", lambda image: image)
        data = load_dataset("patches", data_dir=str(tmp_path / "columns.npy"), whiten=False, scaling="none")
    assert data.train.max() < data.test.min()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "which holds no images, expected image files \\(.png"),
        (lambda folder: (folder / "0.png").write_bytes(b"nonsense"), "0.png, which cannot be read, expected an intact"),
        (
            lambda folder: images_in(folder, [np.zeros((40, 60), np.uint8)]),
            "with an image of 40 x 60 pixels, expected images of",
        ),
    ],
)
def test_bad_folders_are_named(tmp_path, make, message):
    make(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        load_dataset("patches", data_dir=str(tmp_path))
    assert str(caught.value).startswith("data_dir: got")


def test_bad_files_are_named(tmp_path):
    np.save(tmp_path / "flat.npy", np.zeros((5, 30)))
    with pytest.raises(
        InputError, match=r"data_dir: got .*flat.npy of shape \(5, 30\), expected the shape images x height"
    ):
        load_dataset("patches", data_dir=str(tmp_path / "flat.npy"))
    with pytest.raises(
        InputError, match=r"data_dir: got .*none.npy, which does not exist, expected a folder of images"
    ):
        load_dataset("patches", data_dir=str(tmp_path / "none.npy"))


def test_deep_pictures_keep_their_values(tmp_path):
    values = RNG.integers(0, 2**16, (64, 120), np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    Image.fromarray((values / 2**16).astype(np.float32)).save(tmp_path / "real.tif")
    deep = load_dataset("patches", data_dir=str(tmp_path))
    np.save(tmp_path / "same.npy", np.stack([values, values / 2**16]))
    np.testing.assert_allclose(
        deep.train, load_dataset("patches", data_dir=str(tmp_path / "same.npy")).train, atol=1e-3
    )
