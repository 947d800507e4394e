"""Whitening and contrast normalisation of grey images."""

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

# Cut-off of the low-pass filter, in cycles per pixel: Olshausen and Field's 200 cycles per image of 512 pixels.
CUT_OFF = 0.39
# Width of the Gaussian window in which contrast is measured, in pixels.
CONTRAST_WIDTH = 8.0
# Part of the largest value below which a standard deviation is rounding.
ROUNDING = 1e-10


def whiten(image: NDArray[np.floating]) -> NDArray[np.float64]:
    """Flattens the 1/f spectrum of natural images and cuts off the highest frequencies, where noise prevails.

    The filter is f exp(-(f / 0.39)^4), with f in cycles per pixel. It acts on the image reflected at its edges, so
    that opposite edges do not mix: in a 32 x 32 part of a larger image, the squared error against the filtered larger
    image is .20 of the variance at the outermost pixel, .07 at the next and below .015 further in (without the
    reflection .96, .70 and .04).

    Args:
        image: grey image or images, shape (..., height, width).

    Returns:
        Whitened images, shape (..., height, width), each with mean 0 and variance 1 (variance 0 for a constant one).

    Reference:
        Olshausen and Field, Sparse Coding with an Overcomplete Basis Set, Vision Research 1997, section 3.
    """
    height, width = image.shape[-2:]
    edges = *[(0, 0)] * (image.ndim - 2), (0, height), (0, width)
    mirrored = np.pad(centred(image), edges, mode="symmetric")
    frequency = np.hypot(fft.fftfreq(2 * height)[:, None], fft.rfftfreq(2 * width))
    spectrum = fft.rfft2(mirrored) * frequency * np.exp(-((frequency / CUT_OFF) ** 4))
    filtered = centred(fft.irfft2(spectrum, mirrored.shape[-2:])[..., :height, :width])
    deviation = filtered.std((-2, -1), keepdims=True)
    # What the filter leaves of a constant image is rounding.
    varies = deviation > ROUNDING * np.abs(image).max((-2, -1), keepdims=True)
    return np.where(varies, filtered / np.where(varies, deviation, 1), 0)


def normalise_contrast(image: NDArray[np.floating]) -> NDArray[np.float64]:
    """Divides an image by its local standard deviation, and by no less than a tenth of that of the whole image.

    Args:
        image: whitened image or images, shape (..., height, width).

    Returns:
        Normalised images, shape (..., height, width).
    """
    squares = np.square(np.asarray(image, np.float64))
    local = ndimage.gaussian_filter(squares, CONTRAST_WIDTH, axes=(-2, -1))
    floor = 0.01 * squares.mean((-2, -1), keepdims=True) + np.finfo(np.float64).tiny
    return np.asarray(image / np.sqrt(np.maximum(local, 0) + floor), np.float64)


def centred(image: NDArray[np.floating]) -> NDArray[np.float64]:
    """Returns images, shape (..., height, width), each without its mean."""
    values = np.asarray(image, np.float64)
    return values - values.mean((-2, -1), keepdims=True)
