"""Metric of the visual similarity of images."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyrocount.errors import InputError, require_extra

Array = NDArray[np.floating[Any]]

# Width of the window in which images are compared, in pixels.
WINDOW = 7


def structural_similarity(x: Array, prediction: Array) -> Array:
    """Computes the structural similarity (SSIM) of images and their reconstructions.

    Args:
        x: images with values in [0, 1], shape (N, channels, height, width).
        prediction: reconstructions, of the shape of ``x``; values outside of [0, 1] are clipped, as a display does.

    Returns:
        SSIM of each image, shape (N,); 1 for a perfect reconstruction. The windows have 7 x 7 pixels, or as many as a
        smaller image allows.

    Raises:
        InputError: naming ``x``, if it does not hold images of at least 3 x 3 pixels, or ``ssim``, if scikit-image is
            not installed.

    Reference:
        Wang, Bovik, Sheikh and Simoncelli, Image Quality Assessment, IEEE Transactions on Image Processing 2004. The
        computation is by scikit-image.

    >>> x = np.linspace(0, 1, 64, dtype=np.float32).reshape(1, 1, 8, 8)
    >>> structural_similarity(x, x).tolist()
    [1.0]
    """
    if x.ndim != 4 or min(x.shape[2:]) < 3:
        expected = "images of shape (N, channels, height, width), of at least 3 x 3 pixels"
        raise InputError("x", f"an array of shape {x.shape}", expected)
    with require_extra("evaluate", "ssim", "the structural similarity"):
        from skimage.metrics import structural_similarity as ssim
    smallest = min(x.shape[2:])
    window = min(WINDOW, smallest - 1 + smallest % 2)
    shown = np.clip(prediction, 0, 1)
    return np.array(
        [ssim(one, other, win_size=window, data_range=1.0, channel_axis=0) for one, other in zip(x, shown, strict=True)]
    )
