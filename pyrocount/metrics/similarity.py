"""Metric of the visual similarity of images."""

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pyrocount.errors import InputError, require_extra

Array = NDArray[np.floating[Any]]

Window = Literal["uniform", "gaussian"]
# Width of the uniform window, in pixels; standard deviation and width of the Gaussian one.
WINDOW = 7
DEVIATION, GAUSSIAN_WINDOW = 1.5, 11


def structural_similarity(x: Array, prediction: Array, *, window: Window = "uniform") -> Array:
    """Computes the structural similarity (SSIM) of images and their reconstructions.

    Args:
        x: images with values in [0, 1], shape (N, channels, height, width).
        prediction: reconstructions, of the shape of ``x``; values outside of [0, 1] are clipped, as a display does.
        window: ``"uniform"`` compares windows of 7 x 7 pixels, or as many as a smaller image allows, with variances
            over N - 1 pixels. ``"gaussian"`` is that of Wang et al. and of torchmetrics: windows of 11 x 11 pixels with
            the weights of a Gaussian of deviation 1.5 that sum to 1, and weighted variances. Both have
            C1 = .01^2 and C2 = .03^2, and average over the windows that lie in the image, and over channels.

    Returns:
        SSIM of each image, shape (N,); 1 for a perfect reconstruction.

    Raises:
        InputError: naming ``window``, if it is unknown; ``x``, if it does not hold images of at least 3 x 3 pixels, or
            11 x 11 for the Gaussian window; or ``ssim``, if scikit-image is not installed.

    Reference:
        Wang, Bovik, Sheikh and Simoncelli, Image Quality Assessment, IEEE Transactions on Image Processing 2004. The
        computation is by scikit-image.

    >>> x = np.linspace(0, 1, 64, dtype=np.float32).reshape(1, 1, 8, 8)
    >>> structural_similarity(x, x).tolist()
    [1.0]
    """
    if window not in get_args(Window):
        raise InputError("window", repr(window), f"one of {', '.join(get_args(Window))}")
    least = 3 if window == "uniform" else GAUSSIAN_WINDOW
    if x.ndim != 4 or min(x.shape[2:]) < least:
        expected = f"images of shape (N, channels, height, width), of at least {least} x {least} pixels"
        raise InputError("x", f"an array of shape {x.shape}", expected)
    with require_extra("evaluate", "ssim", "the structural similarity"):
        from skimage.metrics import structural_similarity as ssim
    options: dict[str, Any]
    if window == "uniform":
        smallest = min(x.shape[2:])
        options = {"win_size": min(WINDOW, smallest - 1 + smallest % 2)}
    else:
        options = {"gaussian_weights": True, "sigma": DEVIATION, "use_sample_covariance": False}
    shown = np.clip(prediction, 0, 1)
    return np.array(
        [ssim(one, other, data_range=1.0, channel_axis=0, **options) for one, other in zip(x, shown, strict=True)]
    )
