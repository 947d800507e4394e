import numpy as np
import pytest

from pyrocount.data import load_dataset, read_array
from pyrocount.errors import InputError


@pytest.fixture
def save(tmp_path):
    def save_array(values, name="values.npy", **more):
        path = tmp_path / name
        np.savez(path, **values) if isinstance(values, dict) else np.save(path, values, **more)
        return path

    return save_array


def test_digits_are_real_and_standardised():
    data = load_dataset()
    assert data.shape == (1, 8, 8)
    assert (len(data.train), len(data.test)) == (1438, 359)
    assert data.train.mean() == pytest.approx(0, abs=1e-4)
    assert data.train.std() == pytest.approx(1, abs=1e-4)
    pixels = data.original(np.concatenate([data.train, data.test]))
    np.testing.assert_allclose(pixels, pixels.round(), atol=1e-4)
    assert pixels.min() == pytest.approx(0, abs=1e-4)
    assert pixels.max() == pytest.approx(16, abs=1e-4)


def test_splits_are_disjoint_seeded_and_complete(save):
    path = save(np.arange(50.0)[:, None] * [1, 1])
    first, again, other = (load_dataset(str(path), seed=seed, scaling="none") for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.train, again.train)
    assert not np.array_equal(first.test, other.test)
    assert sorted([*first.train[:, 0], *first.test[:, 0]]) == list(range(50))
    assert len(first.test) == 10
    assert (first.offset, first.scale) == (0, 1)


def test_labels_stay_with_their_observations(save):
    values = np.arange(50)
    data = load_dataset(str(save({"x": values[:, None], "labels": values}, "named.npz")), scaling="none")
    np.testing.assert_array_equal(data.train_labels, data.train[:, 0])
    np.testing.assert_array_equal(data.test_labels, data.test[:, 0])
    assert load_dataset(str(save(values[:, None])), scaling="none").train_labels is None
    digits = load_dataset()
    assert (len(digits.train_labels), len(digits.test_labels)) == (1438, 359)
    # Zeros are those with an empty middle.
    middle = digits.test[:, 0, 3:5, 3:5].mean((1, 2))
    assert middle[digits.test_labels == 0].mean() < middle[digits.test_labels == 1].mean() - 1


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            np.full(4, np.nan),
            "labels of dtype float64, some of them not finite, expected labels that are numbers",
        ),
        (np.zeros(4, complex), "labels of dtype complex128, expected labels that are numbers or text"),
        (np.zeros(3, int), r"labels of dtype int64 and shape \(3,\), expected labels for 4 observations"),
        (np.zeros((4, 1), int), r"labels of dtype int64 and shape \(4, 1\), expected labels for 4 observations"),
    ],
)
def test_bad_labels(save, labels, message):
    path = save({"x": np.eye(4), "labels": labels}, "named.npz")
    with pytest.raises(InputError, match=message):
        load_dataset(str(path))


def test_a_split_leaves_something_on_both_sides(save):
    path = str(save(np.eye(2)))
    for fraction in (0.01, 0.99):
        data = load_dataset(path, test_fraction=fraction)
        assert len(data.train) == len(data.test) == 1


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float16, np.float64, bool])
def test_arrays_of_any_numeric_type(save, dtype):
    values = np.random.default_rng(0).integers(0, 2, (6, 3, 4, 5)).astype(dtype)
    for path in (
        save(values),
        save({"anything": values}, "one.npz"),
        save({"x": values, "y": values[:1]}, "named.npz"),
    ):
        read = read_array(path)
        assert read.dtype == (np.float64 if dtype in (np.int64, np.float64) else np.float32)
        np.testing.assert_array_equal(read, values.astype(np.float32))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([[0.0, np.nan], [1.0, 2.0]]), r"NaN or infinite values \(1 of 4, the first at \(0, 1\)"),
        (np.array([[0.0, 1.0], [1e300, np.inf]]), r"NaN or infinite values \(1 of 4, "),
        (np.zeros(5), r"of shape \(5,\), expected the shape N x features or N x channels x height x width"),
        (np.zeros((5, 2, 2, 2, 2)), r"of shape \(5, 2, 2, 2, 2\)"),
        (np.zeros((0, 4)), r"of shape \(0, 4\), expected at least 2 observations"),
        (np.zeros((4, 0)), r"of shape \(4, 0\)"),
        (np.zeros((1, 4)), r"of shape \(1, 4\)"),
        (np.zeros((3, 2), complex), "dtype complex128, expected an array of numbers"),
        (np.full((3, 2), "a"), "dtype <U1"),
        (np.full((3, 2), 7.0), "whose training values are all 7"),
        ({"a": np.zeros((2, 2)), "b": np.zeros((2, 2))}, "the arrays a, b, expected one array, or an array named x"),
        ({}, "with no arrays, expected one array"),
    ],
)
def test_bad_arrays_are_named(save, values, message):
    path = save(values, "values.npz" if isinstance(values, dict) else "values.npy")
    with pytest.raises(InputError, match=message) as caught:
        load_dataset(str(path))
    assert str(caught.value).startswith(f"data: got {path}")
    assert "\n" not in str(caught.value)


def test_what_float32_would_lose_is_kept(save):
    """Values far from 0 are standardised before they are rounded."""
    values = 1e9 + np.random.default_rng(0).random((50, 3))
    data = load_dataset(str(save(values)))
    assert data.train.std() == pytest.approx(1, abs=1e-4)
    tiny = load_dataset(str(save(1e-150 * np.random.default_rng(0).random((50, 3)), "tiny.npy")))
    assert tiny.train.std() == pytest.approx(1, abs=1e-4)
    with pytest.raises(InputError, match=r"values up to 1e\+39, expected values within the range of float32"):
        load_dataset(str(save(np.full((4, 2), 1e39))), scaling="none")


def test_bad_files_are_named(tmp_path, save):
    good = save(np.zeros((4, 4)))
    corrupt, truncated, empty = tmp_path / "corrupt.npz", tmp_path / "truncated.npy", tmp_path / "empty.npy"
    corrupt.write_bytes(b"PK\x03\x04 no archive")
    truncated.write_bytes(good.read_bytes()[:-20])
    empty.touch()
    (tmp_path / "folder").mkdir()
    damaged = save({"x": np.random.default_rng(0).normal(size=(100, 10))}, "damaged.npz")
    content = bytearray(damaged.read_bytes())
    content[500:600] = bytes(100)
    damaged.write_bytes(content)
    pickled = save(np.array([{}, {}], object), "pickled.npy", allow_pickle=True)
    # An unknown method of compression, and a header that ends too early.
    method, header = save({"x": np.zeros((4, 4))}, "method.npz"), tmp_path / "header.npy"
    content = bytearray(method.read_bytes())
    content[8] = content[content.index(b"PK\x01\x02") + 10] = 99
    method.write_bytes(content)
    header.write_bytes(good.read_bytes().replace(b"}", b"("))
    for path in (corrupt, truncated, damaged, method, header):
        with pytest.raises(InputError, match=f"{path.name}, which cannot be read"):
            read_array(path)
    for path, message in [
        (tmp_path / "none.npy", "does not exist"),
        (tmp_path, "which cannot be read"),
        (tmp_path / "folder", "which is a folder"),
        (empty, "which is not in NumPy's format"),
        (pickled, "which holds Python objects"),
    ]:
        with pytest.raises(InputError, match=message):
            read_array(path)


@pytest.mark.parametrize("scaling", ["standard", "unit", "none"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16])
def test_small_whole_numbers_stay_as_they_are_and_have_the_units_of_floats(save, dtype, scaling):
    values = np.random.default_rng(0).integers(0, 100, (12_000, 3))
    kept, floats = (load_dataset(save(values.astype(kind)), scaling=scaling) for kind in (dtype, np.float64))
    assert kept.train.dtype == kept.test.dtype == dtype
    for part in ("train_view", "test_view"):
        np.testing.assert_allclose(getattr(kept, part)[:], getattr(floats, part)[:], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(kept.mean(), floats.mean(), rtol=1e-5, atol=1e-6)
    assert kept.offset == pytest.approx(floats.offset, rel=1e-12)
    assert kept.scale == pytest.approx(floats.scale, rel=1e-12)
    assert kept.look_like_counts
    assert floats.look_like_counts
