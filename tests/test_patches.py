import numpy as np
import pytest
from PIL import Image
from scipy import fft

from pyrocount.config import Config
from pyrocount.data import images, load_dataset, normalise_contrast, patches, whiten
from pyrocount.data.options import PatchOptions
from pyrocount.data.patches import BORDER, SIZE, SMALL_BORDER
from pyrocount.errors import InputError
from pyrocount.fit import fit
from pyrocount.run import load

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
    assert (whiten(np.full((32, 32), 76.245)) == 0).all()


def test_whitening_a_part_of_an_image_spoils_two_pixels_of_its_edge():
    """Squared errors against the same pixels of the whole image, whitened, over their variance."""
    errors, variance = np.zeros((32, 32)), 0.0
    for _ in range(40):
        image = natural()
        part = np.s_[40:72, 100:132]
        white, alone = whiten(image)[part], whiten(image[part])
        # Each has variance 1 in its own image.
        alone *= (alone * white).mean() / np.square(alone).mean()
        errors += np.square(alone - alone.mean() - white + white.mean())
        variance += np.square(white).mean()
    row, column = np.ogrid[:32, :32]
    distance = np.minimum(np.minimum(row, 31 - row), np.minimum(column, 31 - column))
    assert errors[distance == 0].mean() / variance > 0.1
    assert errors[distance >= SMALL_BORDER].mean() / variance < 0.03


def test_stacks_are_prepared_as_single_images():
    stack = np.stack([natural(32, 40) for _ in range(3)])
    for prepare in (whiten, normalise_contrast):
        np.testing.assert_allclose(prepare(stack), [prepare(image) for image in stack], atol=1e-12)


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
            "with an image of 40 x 60 pixels, expected images of at least 32 x 96 pixels with --split part",
        ),
        (
            lambda folder: images_in(folder, [np.zeros((15, 60), np.uint8)] * 2),
            "with an image of 15 x 60 pixels, expected images of at least 16 x 16 pixels",
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


@pytest.fixture
def numbered(tmp_path, monkeypatch):
    """Writes images whose pixels tell their image, row and column; patches have them as they are."""
    monkeypatch.setattr(patches, "normalise_contrast", lambda image: image)
    monkeypatch.setattr(patches, "centred", lambda image: image)

    def write(**numbers):
        def pixels(of_images, height, width):
            image, row, column = np.ix_(np.array(of_images), range(height), range(width))
            return 2.0**15 * image + 2.0**8 * row + column

        arrays = {name: pixels(*shape) for name, shape in numbers.items()}
        np.savez(tmp_path / "numbered.npz", **arrays)
        return str(tmp_path / "numbered.npz")

    return write


def cut(path, seed=0, split=None, test_fraction=None, **options):
    """Returns image, row and column of the first pixel of each patch for training, and for testing."""
    data = load_dataset(
        "patches",
        data_dir=path,
        whiten=False,
        scaling="none",
        seed=seed,
        split=split,
        test_fraction=test_fraction,
        patches=PatchOptions(**options),
    )
    for part in (data.train, data.test):
        inside = 2**8 * np.arange(SIZE)[:, None] + np.arange(SIZE)
        assert (part - part[:, :, :1, :1] == inside).all()
    first = [part[:, 0, 0, 0].astype(int) for part in (data.train, data.test)]
    return [np.stack([value >> 15, value >> 8 & 127, value & 255], 1) for value in first]


def test_whole_images_are_held_out(numbered):
    path = numbered(x=(range(10), 40, 48))
    train, test = cut(path, patches=700, test_patches=30, test_fraction=0.3)
    assert [np.bincount(part[:, 0], minlength=10).tolist().count(0) for part in (train, test)] == [3, 7]
    assert not set(train[:, 0]) & set(test[:, 0])
    assert set(np.bincount(train[:, 0])) == {0, 100}
    again, other = (cut(path, seed, patches=700, test_patches=30, test_fraction=0.3) for seed in (0, 1))
    np.testing.assert_array_equal(train, again[0])
    np.testing.assert_array_equal(test, again[1])
    assert set(test[:, 0]) != set(other[1][:, 0])


def test_patches_of_small_images_leave_an_edge_of_two_pixels(numbered):
    train, test = cut(numbered(train=(range(5), 32, 32), test=(range(5, 8), 32, 32)))
    assert (len(train), len(test)) == (40_000, 8_000)
    assert (set(train[:, 0]), set(test[:, 0])) == (set(range(5)), {5, 6, 7})
    for part in (train, test):
        assert set(part[:, 1]) == set(part[:, 2]) == set(range(2, 15))


def test_large_images_leave_an_edge_of_eight_pixels(numbered):
    for part in cut(numbered(x=(range(2), 64, 70))):
        assert set(part[:, 1]) == set(range(8, 41))
        assert set(part[:, 2]) == set(range(8, 47))


def test_images_of_one_patch(numbered):
    train, _ = cut(numbered(x=(range(4), 16, 17)), patches=50)
    assert train[:, 1:].max() <= 1


def test_fewer_patches_than_images_are_of_random_images(numbered):
    path = numbered(x_train=(range(30), 20, 20), x_test=(range(5), 20, 20))
    (train, test), (others, _) = (cut(path, seed, patches=6, test_patches=5) for seed in (0, 1))
    assert len(set(train[:, 0])) == 6
    assert test[:, 0].tolist() == [*range(5)]
    assert set(others[:, 0]) != set(train[:, 0])


def test_tiles_fill_small_images(numbered):
    train, test = cut(numbered(x_train=(range(70), 32, 32), x_test=(range(2), 32, 50)), tiles=True)
    expected = [(image, row, column) for image in range(70) for row in (0, 16) for column in (0, 16)]
    assert train.tolist() == [list(each) for each in expected]
    # Those of 50 pixels lie in the middle.
    assert test.tolist() == [[image, row, column] for image in (0, 1) for row in (0, 16) for column in (1, 17, 33)]


def test_some_tiles(numbered):
    path = numbered(x_train=(range(10), 32, 32), x_test=(range(2), 80, 70))
    train, test = cut(path, tiles=True, patches=25, test_patches=10)
    assert len(np.unique(train, axis=0)) == 25
    assert np.bincount(train[:, 0]).tolist() == [3] * 5 + [2] * 5
    assert set(test[:, 1]) <= {8, 24, 40, 56}
    assert set(test[:, 2]) <= {11, 27, 43}
    with pytest.raises(
        InputError, match=r"patches: got 50, 5 for each image, with an image of 4 tiles, expected at most 4"
    ):
        cut(path, tiles=True, patches=50)
    with pytest.raises(
        InputError, match=r"test_patches: got 25, 13 for each image, with an image of 12 tiles, expected"
    ):
        cut(path, tiles=True, test_patches=25)


def test_tiles_of_parts_do_not_overlap(numbered):
    train, test = cut(numbered(x=([0, 1], 48, 200)), split="part", tiles=True)
    border = 8 + round(0.8 * 184)
    assert train[:, 2].max() + SIZE <= border <= test[:, 2].min()
    assert (len(train), len(test)) == (2 * 2 * 9, 2 * 2 * 2)
    wider = cut(numbered(x=([0, 1], 48, 200)), split="part", test_fraction=0.5, tiles=True)
    assert wider[1][:, 2].min() == 8 + 92 + 6


def test_tiles_are_cut_from_prepared_images(tmp_path):
    small = RNG.integers(0, 256, (70, 32, 32), np.uint8)
    np.savez(tmp_path / "small.npz", x_train=small, x_test=small[:3, ::-1], y_train=np.arange(70))
    data = load_dataset(
        "patches", data_dir=str(tmp_path / "small.npz"), scaling="none", patches=PatchOptions(tiles=True)
    )
    each = [normalise_contrast(whiten(image.astype(float))) for image in small]
    expected = [image[top : top + 16, left : left + 16] for image in each for top in (0, 16) for left in (0, 16)]
    np.testing.assert_allclose(data.train[:, 0], expected, atol=1e-5)
    assert data.test.shape == (12, 1, 16, 16)


def test_colours_become_luminance(tmp_path):
    colours = RNG.integers(0, 256, (4, 32, 32, 3), np.uint8)
    np.save(tmp_path / "colours.npy", colours)
    np.save(tmp_path / "grey.npy", colours @ np.array([0.299, 0.587, 0.114]))
    one, other = (load_dataset("patches", data_dir=str(tmp_path / name)) for name in ("colours.npy", "grey.npy"))
    np.testing.assert_allclose(one.train, other.train, atol=1e-5)


def test_raw_images_are_read_as_logarithms(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "RAW_SHAPE", (48, 64))
    values = RNG.integers(0, 2**16, (2, 48, 64), np.uint16)
    for name, image in zip(("imk00001.iml", "imk00002.IMC"), values, strict=True):
        # The high byte comes first.
        (tmp_path / name).write_bytes(np.stack([image >> 8, image & 255], -1).astype(np.uint8).tobytes())
    stacks, _ = images.open_images(str(tmp_path))
    for (read,), image in zip(stacks.stacks([0, 1]), values, strict=True):
        np.testing.assert_allclose(read, np.log1p(image.astype(float)), rtol=1e-12)


def test_raw_images_of_another_size_are_named(tmp_path):
    np.ones((1024, 1536), ">u2").tofile(tmp_path / "imk00001.iml")
    (read,) = next(images.open_images(str(tmp_path))[0].stacks([0]))
    assert read.shape == (1024, 1536)
    assert (read == np.log(2)).all()
    (tmp_path / "imk00001.iml").write_bytes(bytes(100))
    message = r"data_dir: got .*imk00001.iml of 100 bytes, expected 3145728 bytes, 1536 x 1024 pixels of 2 bytes"
    with pytest.raises(InputError, match=message):
        load_dataset("patches", data_dir=str(tmp_path))


@pytest.mark.parametrize("split", ["image", "part"])
def test_images_of_files_are_read_one_at_a_time(tmp_path, monkeypatch, split):
    images_in(tmp_path, RNG.integers(0, 255, (4, 64, 120), np.uint8))
    read, done = images._read, []
    monkeypatch.setattr(images, "_read", lambda path: (done.append("read"), read(path))[1])
    monkeypatch.setattr(patches, "whiten", lambda stack: (done.append("whiten"), whiten(stack))[1])
    load_dataset("patches", data_dir=str(tmp_path), split=split)
    assert done == ["read", "whiten"] * 4


def test_splits_that_have_no_use_are_refused(numbered):
    own = numbered(train=(range(3), 64, 200), test=(range(3), 64, 200))
    for options, message in (
        ({"split": "part"}, r"split: got 'part' with .*, which has a split of its own, expected image"),
        ({"test_fraction": 0.2}, r"test_fraction: got 0.2 with .*, which has a split of its own, expected images"),
    ):
        with pytest.raises(InputError, match=message):
            cut(own, **options)
    with pytest.raises(InputError, match=r"split: got 'image' with .* of one image, expected part, or at least two"):
        cut(numbered(x=([0], 64, 200)), split="image")


def test_bad_arrays_of_a_split_are_named(tmp_path):
    np.savez(tmp_path / "split.npz", x_train=np.zeros((3, 32, 32)), x_test=np.zeros((3, 32)))
    with pytest.raises(InputError, match=r"data_dir: got .*split.npz, array x_test, of shape \(3, 32\), expected the"):
        load_dataset("patches", data_dir=str(tmp_path / "split.npz"))


@pytest.mark.parametrize("given", [False, True])
def test_runs_before_there_were_options_of_patches_go_on(tmp_path, monkeypatch, given):
    """They held out a part of every image, and their configuration and checkpoint do not say so."""
    images_in(tmp_path, RNG.integers(0, 255, (2, 64, 120), np.uint8))
    monkeypatch.setattr("pyrocount.backends.Backend.draw", lambda *arguments: {})
    source = {"data_dir": str(tmp_path), "split": "part"} if given else {}
    small = {"model": "poisson", "encoder": "lin", "decoder": "lin", "latent_dim": 2, "epochs": 1, "batch_size": 4000}
    run = fit(Config(data="patches", out=str(tmp_path / "runs"), name="run", **source, **small))

    def earlier(options):
        return {name: value for name, value in options.items() if name not in ("tiles", "split")}

    run.write_json("config.json", earlier(run.config.options))
    checkpoint = run.load_checkpoint()
    run.save_checkpoint(checkpoint | {"config": earlier(checkpoint["config"])})
    loaded = load(run.path)
    assert loaded.config.options == run.config.options
    np.testing.assert_array_equal(loaded.data().test, run.data().test)
    loaded.matching_checkpoint(loaded.config, checkpoint["data"])
    run.write_json("config.json", Config(**run.config.options | {"split": "image"}).options)
    with pytest.raises(InputError, match="data: got patches, which has changed since the run"):
        load(run.path).data()
