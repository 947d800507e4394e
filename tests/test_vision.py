"""Sets that torchvision reads, from small files in the formats of the real ones."""

import gzip
import hashlib
import os
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pyrocount.data import load_dataset, normalise_contrast, vision, whiten
from pyrocount.data.options import PatchOptions
from pyrocount.errors import InputError

try:
    from torchvision import datasets
except (ImportError, RuntimeError):  # A build of torch that is not torchvision's.
    pytest.skip("needs torchvision", allow_module_level=True)

RNG = np.random.default_rng(0)


def idx(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(header + array.tobytes())


def mnist(folder, prefix=("train", "t10k"), separator="-idx"):
    images = [RNG.integers(0, 256, (size, 28, 28), np.uint8) for size in (7, 3)]
    for name, part in zip(prefix, images, strict=True):
        idx(folder / f"{name}-images{separator}3-ubyte", part)
        idx(folder / f"{name}-labels{separator}1-ubyte", np.arange(len(part), dtype=np.uint8))
    return images


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])
def test_grey_images_in_the_unit_range(tmp_path, name, folder):
    train, test = mnist(tmp_path / folder / "raw")
    data = load_dataset(name, data_dir=str(tmp_path))
    assert data.train.dtype == np.uint8
    np.testing.assert_array_equal(data.train[:, 0], train)
    np.testing.assert_allclose(data.test_view[:, 0], test / 255, rtol=1e-6)
    np.testing.assert_allclose(data.mean()[0, 0], train.mean(0) / 255, rtol=1e-6)
    units = data.to_units(torch.from_numpy(data.train))
    np.testing.assert_allclose(data.original(units.numpy())[:, 0], train, atol=1e-4)
    symmetric = load_dataset(name, data_dir=str(tmp_path), scaling="symmetric").test_units()
    np.testing.assert_allclose(symmetric[:, 0], test / 127.5 - 1, atol=1e-6)
    assert (data.train_labels.tolist(), data.test_labels.tolist()) == ([*range(7)], [*range(3)])


def test_emnist_stands_upright(tmp_path):
    raw = tmp_path / "EMNIST" / "raw"
    train, _ = mnist(raw, ("emnist-balanced-train", "emnist-balanced-test"))
    data = load_dataset("emnist", data_dir=str(tmp_path))
    np.testing.assert_array_equal(data.train[:, 0], train.swapaxes(1, 2))


def cifar(tmp_path, monkeypatch):
    """Writes the batches of CIFAR-10, of four images each, which are returned."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    images = RNG.integers(0, 256, (4, 3, 32, 32), np.uint8)
    sums = {}
    for name in [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch", "batches.meta"]:
        content = {"data": images.reshape(4, -1), "labels": [len(sums)] * 4, "label_names": ["cat"]}
        (folder / name).write_bytes(pickle.dumps(content))
        sums[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [[n, sums[n]] for n in sums if n.startswith("data")])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(
        datasets.CIFAR10, "meta", {"filename": "batches.meta", "key": "label_names", "md5": sums["batches.meta"]}
    )
    return images


def test_colour_images_are_halved(tmp_path, monkeypatch):
    images = cifar(tmp_path, monkeypatch)
    folder = tmp_path / "cifar-10-batches-py"
    data = load_dataset("cifar10-16", data_dir=str(tmp_path))
    assert data.train.shape == (20, 3, 16, 16)
    expected = images.reshape(4, 3, 16, 2, 16, 2).mean((3, 5)).round()
    np.testing.assert_array_equal(data.test, expected)
    assert data.test_units().min() >= -1
    assert data.train_labels.tolist() == np.repeat(range(5), 4).tolist()
    assert data.test_labels.tolist() == [5] * 4
    (folder / "data_batch_3").write_bytes(b"nonsense")
    with pytest.raises(
        InputError, match=r"data: got cifar10-16, of which .*data_batch_3 is corrupt, expected an intact"
    ):
        load_dataset("cifar10-16", data_dir=str(tmp_path))


def test_patches_of_the_folder_of_cifar(tmp_path, monkeypatch):
    images = cifar(tmp_path, monkeypatch)
    data = load_dataset("patches", data_dir=str(tmp_path), scaling="none", patches=PatchOptions(tiles=True))
    grey = np.tensordot(images, [0.299, 0.587, 0.114], (1, 0))
    prepared = np.stack([normalise_contrast(whiten(image)) for image in grey])
    expected = prepared.reshape(4, 2, 16, 2, 16).swapaxes(2, 3).reshape(16, 16, 16)
    np.testing.assert_allclose(data.test[:, 0], expected, atol=1e-5)
    np.testing.assert_allclose(data.train[:, 0], np.tile(expected, (5, 1, 1)), atol=1e-5)
    (tmp_path / "cifar-10-batches-py" / "test_batch").unlink()
    with pytest.raises(InputError, match=r"data: got patches of CIFAR-10, which could not be loaded from"):
        load_dataset("patches", data_dir=str(tmp_path))


def test_drawings_and_faces_are_resized(tmp_path, monkeypatch):
    class Set(list):
        def __init__(self, root, background=True, split="train", download=False):
            colours = (3,) if self.shape else ()
            one = Image.fromarray(np.full((*(self.shape or (105, 105)), *colours), 255 * background, np.uint8))
            super().__init__([(one, 0)] * (2 if background and split == "train" else 3))

        shape = None

    class Faces(Set):
        shape = (218, 178)

    monkeypatch.setattr(datasets, "Omniglot", Set)
    monkeypatch.setattr(datasets, "CelebA", Faces)
    drawings = load_dataset("omniglot", scaling="none")
    assert (drawings.train.shape, drawings.test.shape) == ((2, 1, 28, 28), (3, 1, 28, 28))
    assert (drawings.train == 0).all()
    assert (drawings.test == 255).all()
    assert (drawings.train_labels.tolist(), drawings.test_labels.tolist()) == ([0, 0], [1, 1, 1])
    faces = load_dataset("celeba-64", scaling="none")
    assert faces.train.shape == (2, 3, 64, 64)
    assert faces.train_labels is None


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "emnist", "omniglot", "cifar10-16"])
def test_a_missing_set_says_what_would_bring_it(tmp_path, name):
    with pytest.raises(InputError, match=r"expected --download .*, or --data-dir with the folder that holds") as caught:
        load_dataset(name, data_dir=str(tmp_path))
    assert str(caught.value).startswith(f"data: got {name}, which could not be loaded from {tmp_path}")
    assert "\n" not in str(caught.value)


def test_a_corrupt_file_is_named(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    mnist(raw)
    damaged = raw / "t10k-images-idx3-ubyte"
    damaged.write_bytes(damaged.read_bytes()[:-5])
    with pytest.raises(InputError, match=f"data: got mnist, of which {damaged} is corrupt"):
        load_dataset("mnist", data_dir=str(tmp_path))


SHARED = Path(__file__).parents[2] / "shared" / "data" / "mnist" / "MNIST" / "raw"


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs MNIST")
def test_the_real_set(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in SHARED.glob("*.gz"):
        (raw / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
    data = load_dataset("mnist", data_dir=os.fspath(tmp_path))
    assert (data.train.shape, data.test.shape) == ((60_000, 1, 28, 28), (10_000, 1, 28, 28))
    assert data.mean().mean() == pytest.approx(0.1307, abs=1e-4)


def packed(folder, root):
    """Packs each file of a folder as torchvision's archives are; returns its content before."""
    data = load_dataset("mnist" if folder.parent.name == "MNIST" else "emnist", data_dir=str(root))
    for path in list(folder.iterdir()):
        inside = path.with_name(f"{path.name}.gz")
        inside.write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    if folder.parent.name == "EMNIST":
        with zipfile.ZipFile(folder / "gzip.zip", "w") as archive:
            for path in folder.glob("*.gz"):
                archive.write(path, f"gzip/{path.name}")
                path.unlink()
    return data


@pytest.mark.parametrize("name", ["mnist", "emnist"])
def test_archives_are_read_without_a_download(tmp_path, name):
    folder = tmp_path / name.upper() / "raw"
    mnist(folder, *([("emnist-balanced-train", "emnist-balanced-test")] if name == "emnist" else []))
    before = packed(folder, tmp_path)
    files = sorted(folder.iterdir())
    data = load_dataset(name, data_dir=str(tmp_path))
    np.testing.assert_array_equal(data.train, before.train)
    np.testing.assert_array_equal(data.test_labels, before.test_labels)
    assert sorted(folder.iterdir()) == files
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(InputError, match="is corrupt, expected an intact file"):
        load_dataset(name, data_dir=str(tmp_path))


def test_the_archive_of_cifar_lies_beside_its_folder(tmp_path):
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"content")
    with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "cifar-10-batches-py", "cifar-10-batches-py")
    place = tmp_path / "unpacked"
    place.mkdir()
    vision._unpack(vision._archives(tmp_path, "cifar-10-batches-py"), tmp_path, place)
    assert (place / "cifar-10-batches-py" / "data_batch_1").read_bytes() == b"content"
