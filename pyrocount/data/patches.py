"""Patches of natural images, whitened and contrast-normalised."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import fft, ndimage

from pyrocount.errors import InputError

from .files import read_images
from .paths import user_path

FloatArray = NDArray[np.float32]

# Width and height of a patch, in pixels.
SIZE = 16
# Numbers of patches for training and for testing, which are drawn from separate parts of every image.
NUMBER, TEST_NUMBER = 40_000, 8_000
# Fraction of the width of every image that is kept for testing.
TEST_PART = 0.2
# Cut-off of the low-pass filter, in cycles per pixel: Olshausen and Field's 200 cycles per image of 512 pixels.
CUT_OFF = 0.39
# Width of the edge that the filters spoil, and of the Gaussian window in which contrast is measured, in pixels.
BORDER, CONTRAST_WIDTH = 8, 8.0

# Endings of the names of image files.
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".pgm")


def load_patches(source: str | None, *, seed: int, whiten_images: bool) -> tuple[FloatArray, FloatArray]:
    """Loads training and test patches, each of shape (N, 1, 16, 16).

    The right fifth of every image is kept for testing, so that no test patch overlaps a training patch.

    Args:
        source: folder of images, or ``.npy`` or ``.npz`` file with an array (images, height, width); by default
            scikit-learn's two sample photographs.
        seed: random seed of the choice of patches.
        whiten_images: whether to whiten the images before their contrast is normalised; False for images that are
            already whitened.

    Raises:
        InputError: naming ``data_dir``, if there are no images, or if one cannot be read or is too small.
    """
    images = _photographs() if source is None else _images(user_path(source, "data_dir"))
    generator = np.random.default_rng(seed)
    parts: tuple[list[FloatArray], list[FloatArray]] = ([], [])
    for image in images:
        prepared = normalise_contrast(whiten(image) if whiten_images else image - image.mean())
        inner = prepared[BORDER:-BORDER, BORDER:-BORDER].astype(np.float32)
        border = round((1 - TEST_PART) * inner.shape[1])
        for part, into in zip((inner[:, :border], inner[:, border:]), parts, strict=True):
            if min(part.shape) < SIZE:
                smallest = f"{SIZE + 2 * BORDER} x {round(SIZE / TEST_PART) + 2 * BORDER}"
                problem = f"{source} with an image of {' x '.join(map(str, image.shape))} pixels"
                raise InputError("data_dir", problem, f"images of at least {smallest} pixels")
            into.append(part)
    train, test = (_crops(part, number, generator) for part, number in zip(parts, (NUMBER, TEST_NUMBER), strict=True))
    return train, test


def _crops(images: list[FloatArray], number: int, generator: np.random.Generator) -> FloatArray:
    """Returns random patches, the same number from each image apart from the remainder."""
    patches = []
    for index, image in enumerate(images):
        share = number // len(images) + (index < number % len(images))
        windows = np.lib.stride_tricks.sliding_window_view(image, (SIZE, SIZE))
        rows, columns = (generator.integers(0, size, share) for size in windows.shape[:2])
        patches.append(windows[rows, columns])
    return np.concatenate(patches)[:, None]


def whiten(image: NDArray[np.floating]) -> NDArray[np.float64]:
    """Flattens the 1/f spectrum of a natural image and cuts off the highest frequencies, where noise prevails.

    The filter is f exp(-(f / 0.39)^4), with f in cycles per pixel. It acts on the image reflected at its edges.

    Args:
        image: grey image, shape (height, width).

    Returns:
        Whitened image, shape (height, width), with mean 0 and variance 1 (variance 0 for a constant image).

    Reference:
        Olshausen and Field, Sparse Coding with an Overcomplete Basis Set, Vision Research 1997, section 3.
    """
    height, width = image.shape
    mirrored = np.pad(np.asarray(image, np.float64) - np.mean(image), ((0, height), (0, width)), mode="symmetric")
    frequency = np.hypot(fft.fftfreq(2 * height)[:, None], fft.rfftfreq(2 * width))
    spectrum = fft.rfft2(mirrored) * frequency * np.exp(-((frequency / CUT_OFF) ** 4))
    filtered = fft.irfft2(spectrum, mirrored.shape)[:height, :width]
    filtered -= filtered.mean()
    deviation = filtered.std()
    return filtered / deviation if deviation > 0 else filtered


def normalise_contrast(image: NDArray[np.floating]) -> NDArray[np.float64]:
    """Divides an image by its local standard deviation, and by no less than a tenth of that of the whole image.

    Args:
        image: whitened image, shape (height, width).

    Returns:
        Normalised image, shape (height, width).
    """
    squares = np.square(np.asarray(image, np.float64))
    local = ndimage.gaussian_filter(squares, CONTRAST_WIDTH)
    floor = 0.01 * squares.mean() + np.finfo(np.float64).tiny
    return np.asarray(image / np.sqrt(np.maximum(local, 0) + floor), np.float64)


def _photographs() -> list[NDArray[np.float64]]:
    from sklearn.datasets import load_sample_images

    return [_grey(np.asarray(image)) for image in load_sample_images().images]


def _grey(image: NDArray[np.number]) -> NDArray[np.float64]:
    """Returns the luminance of an image (height, width) or (height, width, channels of red, green, blue and more)."""
    if image.ndim == 2:
        return image.astype(np.float64)
    return image[..., :3].astype(np.float64) @ np.array([0.299, 0.587, 0.114])


def _images(source: Path) -> list[NDArray[np.float64]]:
    if source.is_dir():
        paths = sorted(path for path in source.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
        if not paths:
            raise InputError(
                "data_dir", f"{source}, which holds no images", f"image files ({', '.join(IMAGE_SUFFIXES)})"
            )
        return [_image(path) for path in paths]
    if not source.exists():
        raise InputError("data_dir", f"{source}, which does not exist", "a folder of images, or a .npy or .npz file")
    return list(read_images(source, "data_dir").astype(np.float64))


def _image(path: Path) -> NDArray[np.float64]:
    try:
        with Image.open(path) as image:
            # These images have one channel of more than 8 bits, which a conversion to bytes would clip.
            deep = image.mode.startswith(("I", "F"))
            return _grey(np.asarray(image if deep else image.convert("RGB")))
    except Exception as error:  # A damaged image may raise any exception.
        raise InputError("data_dir", f"{path}, which cannot be read", "an intact image") from error
