"""Patches of natural images, whitened and contrast-normalised."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pyrocount.errors import InputError

from .images import Images, open_images
from .options import TEST_FRACTION, PatchOptions
from .splits import random_rows
from .whitening import centred, normalise_contrast, whiten

FloatArray = NDArray[np.float32]
Numbers = NDArray[np.int64]

# Width and height of a patch, in pixels.
SIZE = 16
# Usual numbers of random patches for training and for testing.
NUMBER, TEST_NUMBER = 40_000, 8_000
# Width of the edge of an image, in pixels, from which no patches are cut.
BORDER = 8
# The same for small images, of which more would take too much: what the filters spoil most. Tiles fill a small image.
SMALL_BORDER = 2
# Height or width below which an image is small.
SMALL = 64


def load_patches(
    source: str | None,
    *,
    seed: int,
    whiten_images: bool = True,
    split: str | None = None,
    test_fraction: float | None = None,
    options: PatchOptions | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Loads training and test patches, each of shape (N, 1, 16, 16).

    Images are read one at a time, except those of an array file, and whitened and contrast-normalised as a whole before
    they are cut. Patches never leave the inner part of an image, without an edge of 8 pixels. Of images of less than 64
    pixels in height or width it is 2 pixels, or none with tiles; parts of images are always without 8.

    Args:
        source: source of the images, see ``open_images``.
        seed: random seed of the choice of images for testing and of patches.
        whiten_images: whether to whiten the images before their contrast is normalised; False for images that are
            already whitened.
        split: ``"image"``, which keeps whole images for testing, random ones or those of the source's own split; or
            ``"part"``, which keeps the right part of every image; by default parts of a single image or of
            scikit-learn's photographs, which are too few, and images of all others.
        test_fraction: fraction of the images, or of the width of every image, that is kept for testing; by default a
            fifth.
        options: numbers of patches, which are shared equally by the images; and whether they are tiles.

    Raises:
        InputError: naming ``data_dir``, if there are no images, or if one cannot be read or is too small; ``split``, if
            there is one image alone, or parts of images that have a split of their own; ``test_fraction``, if it is
            given for these; ``patches`` or ``test_patches``, if there are fewer tiles.
    """
    options = PatchOptions() if options is None else options
    images, tested = open_images(source)
    fraction = TEST_FRACTION if test_fraction is None else test_fraction
    cut = _Cut(options.tiles, np.random.default_rng(seed))
    usual = (None, None) if options.tiles else (NUMBER, TEST_NUMBER)
    given = options.patches, options.test_patches
    numbers = {
        name: default if number is None else number
        for name, number, default in zip(("patches", "test_patches"), given, usual, strict=True)
    }
    if tested is not None:
        if split == "part":
            raise InputError("split", f"'part' with {source}, which has a split of its own", "image")
        if test_fraction is not None:
            problem = f"{test_fraction} with {source}, which has a split of its own"
            raise InputError("test_fraction", problem, "images without one")
        rows = np.arange(len(images)), np.arange(len(tested))
    elif split == "part" or (split is None and (source is None or len(images) == 1)):
        return _from_parts(images, fraction, whiten_images, numbers, cut, str(source))
    else:
        if len(images) < 2:
            raise InputError("split", f"{split!r} with {source} of one image", "part, or at least two images")
        kept, held_out = random_rows(len(images), fraction, seed)
        rows, tested = (np.sort(kept), np.sort(held_out)), images

    def whole(images: Images, rows: Numbers, name: str) -> FloatArray:
        shares = cut.shares(numbers[name], len(rows))
        some = np.flatnonzero(shares)
        inner = (_inner(image, options.tiles, str(source)) for image in _prepared(images, rows[some], whiten_images))
        return cut.patches(inner, shares[some], name)

    return whole(images, rows[0], "patches"), whole(tested, rows[1], "test_patches")


def _from_parts(
    images: Images, fraction: float, whiten_images: bool, numbers: dict[str, int | None], cut: "_Cut", source: str
) -> tuple[FloatArray, FloatArray]:
    """Returns patches of the left and of the right part of every image, so that none overlap."""
    right: list[FloatArray] = []

    def left() -> Iterator[FloatArray]:
        for image in _prepared(images, np.arange(len(images)), whiten_images):
            inner = image[BORDER:-BORDER, BORDER:-BORDER].astype(np.float32)
            border = round((1 - fraction) * inner.shape[1])
            if min(inner.shape[0], border, inner.shape[1] - border) < SIZE:
                smallest = f"{SIZE + 2 * BORDER} x {round(SIZE / min(fraction, 1 - fraction)) + 2 * BORDER}"
                problem = f"{source} with an image of {' x '.join(map(str, image.shape))} pixels"
                expected = f"images of at least {smallest} pixels with --split part, or --split image"
                raise InputError("data_dir", problem, expected)
            right.append(inner[:, border:])
            yield inner[:, :border]

    shares = [cut.shares(number, len(images)) for number in numbers.values()]
    train = cut.patches(left(), shares[0], "patches")
    return train, cut.patches(iter(right), shares[1], "test_patches")


def _prepared(images: Images, chosen: Numbers, whiten_images: bool) -> Iterator[NDArray[np.float64]]:
    """Yields images, whitened and contrast-normalised."""
    for stack in images.stacks(chosen):
        yield from normalise_contrast(whiten(stack) if whiten_images else centred(stack))


def _inner(image: NDArray[np.float64], tiles: bool, source: str) -> FloatArray:
    """Returns an image without the edge that the filters spoil."""
    smallest = min(image.shape)
    if smallest < SIZE:
        problem = f"{source} with an image of {' x '.join(map(str, image.shape))} pixels"
        raise InputError("data_dir", problem, f"images of at least {SIZE} x {SIZE} pixels")
    border = BORDER
    if smallest < SMALL:
        border = 0 if tiles else min(SMALL_BORDER, (smallest - SIZE) // 2)
    return image[border : image.shape[0] - border, border : image.shape[1] - border].astype(np.float32)


class _Cut:
    """Choice of patches of images: tiles of a regular grid, or random positions."""

    def __init__(self, tiles: bool, generator: np.random.Generator) -> None:
        self.tiles, self.generator = tiles, generator

    def shares(self, number: int | None, images: int) -> Numbers:
        """Returns the number of patches of each image; -1 for all tiles."""
        if number is None:
            return np.full(images, -1)
        if number < images:
            chosen = self.generator.choice(images, number, replace=False)
            return np.bincount(chosen, minlength=images)
        return number // images + (np.arange(images) < number % images)

    def patches(self, images: Iterator[FloatArray], shares: Numbers, name: str) -> FloatArray:
        """Returns the patches of images, shape (N, 1, 16, 16), some of each."""
        choose = self._tiles if self.tiles else self._random
        found = []
        for image, share in zip(images, shares, strict=True):
            found.append(choose(image, share))
            if len(found[-1]) < share:
                problem = f"{shares.sum()}, {share} for each image, with an image of {len(found[-1])} tiles"
                raise InputError(name, problem, f"at most {len(found[-1])} for each image, or no --tiles")
        return np.concatenate(found)[:, None]

    def _random(self, image: FloatArray, share: np.int64) -> FloatArray:
        windows = np.lib.stride_tricks.sliding_window_view(image, (SIZE, SIZE))
        rows, columns = (self.generator.integers(0, size, share) for size in windows.shape[:2])
        return windows[rows, columns]

    def _tiles(self, image: FloatArray, share: np.int64) -> FloatArray:
        """Returns tiles of a grid in the middle of an image: all of them, or a random choice."""
        (down, top), (across, left) = ((size // SIZE, size % SIZE // 2) for size in image.shape)
        grid = image[top : top + down * SIZE, left : left + across * SIZE].reshape(down, SIZE, across, SIZE)
        tiles = grid.swapaxes(1, 2).reshape(-1, SIZE, SIZE)
        return tiles if share < 0 else tiles[np.sort(self.generator.permutation(len(tiles))[:share])]
