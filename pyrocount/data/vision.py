"""Image sets that torchvision reads and downloads."""

import gzip
import hashlib
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pyrocount.errors import InputError

from .paths import user_path

# Archive of CIFAR-10 as torchvision downloads it.
CIFAR_ARCHIVE = "cifar-10-python.tar.gz"

Bytes = NDArray[np.uint8]
# Training and test images, and the classes of all images (training images first), or None for a set without classes.
Images = tuple[Bytes, Bytes, NDArray[np.integer[Any]] | None]


def load_vision(name: str, data_dir: str | None, download: bool) -> Images:
    """Loads the training and test images of a set in its official split.

    Args:
        name: name of the set, a key of ``SETS``.
        data_dir: root folder of torchvision's sets; by default ``data``.
        download: whether to download missing files into the root folder.

    Returns:
        Training and test images, bytes of shape (N, channels, height, width); and the classes of all images, with the
        training images first, or None for faces, which have many attributes instead.

    Raises:
        InputError: naming ``data``, if torchvision is not installed, or if the set is missing or corrupt.
    """
    loader, where = SETS[name]
    images: Images = _loaded(name, loader, where, user_path(data_dir or "data", "data_dir"), download)
    return images


def has_cifar(root: Path) -> bool:
    """Returns whether torchvision finds CIFAR-10 or its archive in a root folder."""
    return (root / SETS["cifar10-16"][1]).is_dir() or (root / CIFAR_ARCHIVE).is_file()


def load_cifar(root: Path) -> tuple[Bytes, Bytes]:
    """Loads the training and test images of CIFAR-10 at full size.

    Args:
        root: folder in which torchvision keeps the set.

    Returns:
        Colour images, bytes of shape (N, 32, 32, 3).

    Raises:
        InputError: naming ``data``, if torchvision is not installed, or if the set is corrupt.
    """
    train, test = _loaded("patches of CIFAR-10", _cifar_parts, SETS["cifar10-16"][1], root, False)
    return train.data, test.data


def _loaded(name: str, loader: Callable[[Any, str, bool], Any], where: str, root: Path, download: bool) -> Any:
    """Returns what a loader makes of the files of a set below a root, or of their archives."""
    try:
        from torchvision import datasets
    except (ImportError, RuntimeError) as error:
        problem = f"{name}, for which torchvision is missing ({str(error).splitlines()[0]})"
        raise InputError("data", problem, 'an installation with it: pip install "pyrocount[vision]"') from error
    try:
        try:
            return loader(datasets, str(root), download)
        except Exception:
            archives = [] if download else _archives(root, where)
            if not archives:
                raise
            with TemporaryDirectory() as folder:
                _unpack(archives, root, Path(folder))
                return loader(datasets, folder, False)
    except Exception as error:  # torchvision and its helpers raise exceptions of many kinds.
        if bad := _damaged(root / where, dict(datasets.CIFAR10.train_list + datasets.CIFAR10.test_list)):
            problem = f"{name}, of which {bad} is corrupt"
            raise InputError("data", problem, "an intact file: delete this one and give --download") from error
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        problem = f"{name}, which could not be loaded from {root / where} ({reason})"
        expected = (
            f"--download (which also unpacks archives that exist), or --data-dir with the folder that holds {where}"
        )
        raise InputError("data", problem, "an Internet connection for " + expected if download else expected) from error


def _archives(root: Path, where: str) -> list[Path]:
    """Returns the archives of a set that a download leaves; that of CIFAR-10 lies beside the set's folder."""
    beside = [root / CIFAR_ARCHIVE] if where == SETS["cifar10-16"][1] else []
    found = [*beside, *sorted((root / where).rglob("*"))]
    return [path for path in found if path.suffix in (".gz", ".zip") and path.is_file()]


def _unpack(archives: Sequence[Path], root: Path, place: Path) -> None:
    """Unpacks archives below a root into the same folders below another place, as a download does."""
    from torchvision.datasets.utils import extract_archive

    for archive in archives:
        folder = place / archive.parent.relative_to(root)
        folder.mkdir(parents=True, exist_ok=True)
        if archive.suffix == ".zip" or archive.name == CIFAR_ARCHIVE:
            extract_archive(str(archive), str(folder))
            # EMNIST's archive holds archives.
            single = sorted(folder.glob("gzip/*.gz"))
        else:
            single = [archive]
        for inside in single:
            (folder / inside.stem).write_bytes(gzip.decompress(inside.read_bytes()))


def _damaged(folder: Path, checksums: Mapping[str, str]) -> Path | None:
    """Returns the first corrupt file below a folder, if there is one; ``checksums`` are MD5 sums by file name."""
    for path in sorted(folder.rglob("*")) if folder.is_dir() else []:
        try:
            if path.name in checksums and hashlib.md5(path.read_bytes()).hexdigest() != checksums[path.name]:
                return path
            if path.name.endswith("-ubyte"):
                _check_idx(path.read_bytes())
            elif path.suffix == ".gz":
                gzip.decompress(path.read_bytes())
            elif path.suffix == ".zip":
                with zipfile.ZipFile(path) as archive:
                    if archive.testzip():
                        return path
            elif path.suffix in (".png", ".jpg"):
                with Image.open(path) as image:
                    image.load()
        except Exception:  # Any exception means that the file cannot be read.
            return path
    return None


def _check_idx(content: bytes) -> None:
    dims = content[3]
    sizes = [int.from_bytes(content[4 + 4 * i : 8 + 4 * i], "big") for i in range(dims)]
    np.frombuffer(content, np.uint8, offset=4 + 4 * dims).reshape(sizes)


def _idx(make: Callable[[Any, str, bool, bool], Any], transpose: bool = False) -> Any:
    """Returns a loader of grey images that torchvision holds in one tensor; those of EMNIST need to be transposed."""

    def load(datasets: Any, root: str, download: bool) -> Images:
        parts = [make(datasets, root, part, download) for part in (True, False)]
        train, test = (part.data.numpy()[:, None] for part in parts)
        labels = np.concatenate([part.targets.numpy() for part in parts])
        return (*((train.swapaxes(2, 3), test.swapaxes(2, 3)) if transpose else (train, test)), labels)

    return load


def _cifar(datasets: Any, root: str, download: bool) -> Images:
    """Loads colour images of 16 x 16 pixels, each of which is the average of 2 x 2 original pixels."""
    parts = _cifar_parts(datasets, root, download)
    train, test = (_halved(part.data) for part in parts)
    return train, test, np.concatenate([part.targets for part in parts])


def _cifar_parts(datasets: Any, root: str, download: bool) -> list[Any]:
    return [datasets.CIFAR10(root, train=part, download=download) for part in (True, False)]


def _halved(images: Bytes) -> Bytes:
    number, height, width, channels = images.shape
    blocks = images.reshape(number, height // 2, 2, width // 2, 2, channels)
    return np.ascontiguousarray(blocks.mean((2, 4)).round().astype(np.uint8).transpose(0, 3, 1, 2))


def _omniglot(datasets: Any, root: str, download: bool) -> Images:
    """Loads white drawings on black, of 28 x 28 pixels, with the characters as their classes.

    The background alphabets are for training, and the evaluation alphabets are for testing. The classes for testing
    are numbered after those for training.
    """
    parts = [list(datasets.Omniglot(root, background=part, download=download)) for part in (True, False)]
    train, test = (np.stack([_resized(255 - np.asarray(image), 28) for image, _ in part])[:, None] for part in parts)
    known, new = (np.array([label for _, label in part]) for part in parts)
    return train, test, np.concatenate([known, new + known.max() + 1])


def _celeba(datasets: Any, root: str, download: bool) -> Images:
    """Loads faces: their central 148 x 148 pixels, resized to 64 x 64."""
    parts = (datasets.CelebA(root, split=part, download=download) for part in ("train", "test"))
    train, test = (
        np.stack([_resized(np.asarray(face)[35:183, 15:163], 64) for face, _ in part]).transpose(0, 3, 1, 2)
        for part in parts
    )
    return train, test, None


def _resized(image: Bytes, size: int) -> Bytes:
    return np.asarray(Image.fromarray(image.astype(np.uint8)).resize((size, size), Image.Resampling.BOX))


# Loader of each set, and the folder below the root in which torchvision keeps the set.
SETS: dict[str, tuple[Any, str]] = {
    "mnist": (_idx(lambda d, root, train, download: d.MNIST(root, train=train, download=download)), "MNIST"),
    "fashion-mnist": (
        _idx(lambda d, root, train, download: d.FashionMNIST(root, train=train, download=download)),
        "FashionMNIST",
    ),
    "emnist": (
        _idx(lambda d, root, train, download: d.EMNIST(root, split="balanced", train=train, download=download), True),
        "EMNIST",
    ),
    "omniglot": (_omniglot, "omniglot-py"),
    "cifar10-16": (_cifar, "cifar-10-batches-py"),
    "celeba-64": (_celeba, "celeba"),
}
