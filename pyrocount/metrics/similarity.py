"""How alike pictures look."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyrocount.errors import InputError, needing

Array = NDArray[np.floating[Any]]

WINDOW = 7


def structural_similarity(x: Array, prediction: Array) -> Array:
    """Structural similarity (SSIM) of images and their reconstructions.

    Args:
        x: images with values in [0, 1], shape (N, channels, height, width).
        prediction: of the same shape; what is outside of [0, 1] is clipped, as a picture would show it.

    Returns:
        A number for each image, shape (N,), 1 for a perfect reconstruction. The windows have 7 x 7 pixels, or as many
        as a smaller image allows.

    Raises:
        InputError: naming ``x``, if it does not hold images of at least 3 x 3 pixels, or ``ssim``, if scikit-image is
            not installed.

    Reference:
        Wang, Bovik, Sheikh and Simoncelli, Image Quality Assessment, IEEE Transactions on Image Processing 2004; by
        scikit-image.

    >>> x = np.linspace(0, 1, 64, dtype=np.float32).reshape(1, 1, 8, 8)
    >>> structural_similarity(x, x).tolist()
    [1.0]
    """
    if x.ndim != 4 or min(x.shape[2:]) < 3:
        raise InputError("x", f"shape {x.shape}", "images (N, channels, height, width) of at least 3 x 3 pixels")
    with needing("evaluate", "ssim", "the structural similarity"):
        from skimage.metrics import structural_similarity as ssim
    smallest = min(x.shape[2:])
    window = min(WINDOW, smallest - 1 + smallest % 2)
    shown = np.clip(prediction, 0, 1)
    return np.array(
        [ssim(one, other, win_size=window, data_range=1.0, channel_axis=0) for one, other in zip(x, shown, strict=True)]
    )
