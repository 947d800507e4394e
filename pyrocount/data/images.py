"""Sources of grey images, which are read when they are needed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pyrocount.errors import InputError

from .files import read_images
from .paths import user_path
from .vision import has_cifar, load_cifar

# Endings of the names of van Hateren's images, linear or calibrated, which have no header.
RAW_SUFFIXES = (".iml", ".imc")
# Their height and width in pixels of two bytes, the high one first.
RAW_SHAPE = (1024, 1536)
# Endings of the names of image files.
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".pgm", *RAW_SUFFIXES)
# Weights of red, green and blue in the luminance.
LUMINANCE = np.array([0.299, 0.587, 0.114])
# Number of pixels up to which images are read together, as many small ones take long one by one.
TOGETHER = 2**16


@dataclass(frozen=True)
class Images:
    """Images of files, or of an array (images, height, width) or (images, height, width, colours).

    Attributes:
        content: the paths of files, or the array.
    """

    content: Sequence[Path] | NDArray[Any]

    def __len__(self) -> int:
        return len(self.content)

    def stacks(self, chosen: Sequence[int] | NDArray[np.int64]) -> Iterator[NDArray[np.float64]]:
        """Yields the luminance of chosen images, by number, in stacks of shape (some, height, width).

        Raises:
            InputError: naming ``data_dir``, if one cannot be read.
        """
        if not isinstance(self.content, np.ndarray):
            yield from (_read(self.content[number])[None] for number in chosen)
            return
        height, width = self.content.shape[1:3]
        number = max(1, TOGETHER // (height * width))
        for start in range(0, len(chosen), number):
            yield luminance(self.content[chosen[start : start + number]], self.content.ndim == 4)


def open_images(source: str | None) -> tuple[Images, Images | None]:
    """Returns the images of a source, and those for testing where it has a split of its own.

    Args:
        source: folder of images, or that in which torchvision keeps CIFAR-10; or a file with an array of images, or
            with arrays for training and testing, see ``read_images``; by default scikit-learn's two sample photographs.

    Raises:
        InputError: naming ``data_dir``, if there are no images, or ``data``, if CIFAR-10 cannot be loaded.
    """
    if source is None:
        from sklearn.datasets import load_sample_images

        return Images(np.stack(load_sample_images().images)), None
    path = user_path(source, "data_dir")
    if path.is_dir() and has_cifar(path):
        train, test = load_cifar(path)
        return Images(train), Images(test)
    if path.is_dir():
        paths = sorted(each for each in path.iterdir() if each.suffix.lower() in SUFFIXES)
        if not paths:
            expected = f"image files ({', '.join(SUFFIXES)}), or the path of an array file"
            raise InputError("data_dir", f"{path}, which holds no images", expected)
        return Images(paths), None
    if not path.exists():
        raise InputError("data_dir", f"{path}, which does not exist", "a folder of images, or a .npy or .npz file")
    values, held_out = read_images(path, "data_dir")
    return Images(values), None if held_out is None else Images(held_out)


def luminance(image: NDArray[np.number], coloured: bool) -> NDArray[np.float64]:
    """Returns grey images (..., height, width) of such, or of (..., height, width, red, green, blue and more)."""
    values = image.astype(np.float64)
    return values[..., :3] @ LUMINANCE if coloured else values


def _read(path: Path) -> NDArray[np.float64]:
    if path.suffix.lower() in RAW_SUFFIXES:
        return _read_raw(path)
    try:
        with Image.open(path) as image:
            # These images have one channel of more than 8 bits, which a conversion to bytes would clip.
            deep = image.mode.startswith(("I", "F"))
            pixels = np.asarray(image if deep else image.convert("RGB"))
            return luminance(pixels, pixels.ndim == 3)
    except Exception as error:  # A damaged image may raise any exception.
        raise InputError("data_dir", f"{path}, which cannot be read", "an intact image") from error


def _read_raw(path: Path) -> NDArray[np.float64]:
    """Reads an image of van Hateren, and takes the logarithm of one plus its intensities, which are linear.

    The other images of a screen are gamma-encoded, nearly a logarithm.
    """
    height, width = RAW_SHAPE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError("data_dir", f"{path}, which cannot be read", "an intact image") from error
    if len(content) != 2 * height * width:
        expected = f"{2 * height * width} bytes, {width} x {height} pixels of 2 bytes"
        raise InputError("data_dir", f"{path} of {len(content)} bytes", expected)
    return np.log1p(np.frombuffer(content, ">u2").reshape(height, width).astype(np.float64))
