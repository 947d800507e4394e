"""Arrays that stay in their file, of which only parts are read at a time."""

import subprocess
import sys

import numpy as np
import pytest
import torch

import pyrocount
from pyrocount.backends import build
from pyrocount.config import Config
from pyrocount.data import Rows, TensorRows, formats, load_dataset, parts
from pyrocount.errors import InputError
from pyrocount.fit import main
from pyrocount.run import fingerprint, load_data

VALUES = np.random.default_rng(0).poisson(3.0, (300, 6))


@pytest.fixture
def mapped(monkeypatch):
    """Every array file is large."""
    monkeypatch.setattr(formats, "MAPPED", 0)


@pytest.fixture
def save(tmp_path):
    def save(values, name="values"):
        np.save(tmp_path / f"{name}.npy", values)
        return str(tmp_path / f"{name}.npy")

    return save


DTYPES = ["bool", "uint8", "int16", "uint16", "int64", "float16", "float32", "float64", ">f4", ">i4"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scaling", ["standard", "unit", "symmetric", "none"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_the_data_are_those_that_are_read_at_once(save, monkeypatch, dtype, scaling, order):
    path = save(np.asarray(VALUES % 2 if dtype == "bool" else VALUES, dtype, order=order))
    whole = load_dataset(path, scaling=scaling)
    monkeypatch.setattr(formats, "MAPPED", 0)
    large = load_dataset(path, scaling=scaling)
    assert isinstance(large.train, Rows)
    assert large.train.dtype == np.dtype(dtype).newbyteorder("=")
    assert large.train.shape == whole.train.shape
    for name in ("train_view", "test_view"):
        mine, wanted = (getattr(data, name)[:] for data in (large, whole))
        assert mine.dtype == np.float32
        np.testing.assert_allclose(mine, wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(large.mean(), whole.mean(), rtol=1e-5, atol=1e-6)
    assert (large.offset, large.scale) == pytest.approx((whole.offset, whole.scale))
    assert large.look_like_counts == whole.look_like_counts
    assert large.remarks(False) == whole.remarks(False)


def test_rows_are_read_in_any_order(save, mapped):
    source = np.load(save(VALUES), mmap_mode="r")
    rows = np.random.default_rng(1).permutation(300)[:200]
    large = Rows(source, rows)
    np.testing.assert_array_equal(large[:], VALUES[rows])
    np.testing.assert_array_equal(large[10:20], VALUES[rows[10:20]])
    np.testing.assert_array_equal(large[np.array([5, 0, 5])], VALUES[rows[[5, 0, 5]]])
    np.testing.assert_array_equal(np.concatenate([*parts(large)]), VALUES[np.sort(rows)])
    chosen = TensorRows(large).index_select(0, torch.tensor([3, 1]))
    np.testing.assert_array_equal(chosen.numpy(), VALUES[rows[[3, 1]]])
    # The file is only read.
    assert large[:5].flags.writeable
    assert not source.flags.writeable


def test_parts_are_small(save, mapped, monkeypatch):
    monkeypatch.setattr("pyrocount.data.rows.PART", 60)
    data = load_dataset(save(VALUES.astype(float)))
    assert [len(part) for part in parts(data.train)] == [10] * 24
    assert load_dataset(save(VALUES.astype(float))).scale == pytest.approx(data.scale)


@pytest.mark.parametrize("model", ["poisson", "iterative-poisson"])
@pytest.mark.parametrize(("dtype", "options"), [("uint16", {"likelihood": "poisson"}), ("float64", {})])
def test_a_fit_is_that_of_data_in_memory(save, monkeypatch, model, dtype, options):
    steps = {"train_steps": 4, "test_steps": 5} if model == "iterative-poisson" else {"encoder": "lin"}
    values = (VALUES if dtype == "uint16" else np.random.default_rng(2).normal(size=(300, 6))).astype(dtype)
    found = []
    for threshold in (2**25, 0):
        monkeypatch.setattr(formats, "MAPPED", threshold)
        config = Config(
            model=model, data=save(values), latent_dim=3, epochs=2, batch_size=50, decoder="lin", **options, **steps
        )
        data = load_data(config)
        assert isinstance(data.train, Rows) == (threshold == 0)
        torch.manual_seed(0)
        backend = build(config, data.shape)
        backend.check_data(config, data)
        backend.adapt(data)
        history = backend.train(
            config,
            data,
            monitor=lambda: {"mean_rate": 0.0, "test_nelbo": 0.0, "test_kl": 0.0},
            save=lambda state: None,
            progress=False,
        )
        evaluation = backend.evaluate_held_out(config, data)
        found.append((history[-1]["elbo"], evaluation.metrics["nelbo"], backend.marginal(data).nll.sum()))
        assert backend.draw(config, data, evaluation, history)
    assert found[1] == pytest.approx(found[0], rel=1e-4)


def test_the_evaluation_of_a_run_keeps_few_samples(save, monkeypatch):
    config = Config(model="poisson", data=save(VALUES), latent_dim=3, likelihood="poisson", encoder="lin")
    data = load_data(config)
    torch.manual_seed(0)
    backend = build(config, data.shape)
    whole = backend.evaluate_held_out(config, data)
    assert whole.counts.shape == (8, 60, 3)
    monkeypatch.setattr("pyrocount.backends.base.KEPT", 7)
    monkeypatch.setattr("pyrocount.backends.amortized.EVALUATED", 20)
    few = backend.evaluate_held_out(config, data)
    assert few.counts.shape == (8, 7, 3)
    assert few.reconstructions.shape == (7, 6)
    assert few.posterior_mean.shape == few.posterior_variance.shape == (7, 3)
    assert few.per_observation["nelbo"].shape == (60,)
    # The numbers of batches differ, and with them the random numbers.
    assert few.metrics["kl"] == pytest.approx(whole.metrics["kl"], rel=1e-5)
    assert few.metrics["nelbo"] == pytest.approx(few.per_observation["nelbo"].mean(), rel=1e-5)
    gain = backend.marginal(data).bits_per_spike(few.per_observation["nelbo"])
    assert few.metrics["bits_per_spike"] == pytest.approx(gain, rel=1e-5)


@pytest.mark.parametrize(
    ("value", "message"),
    [(np.nan, r"NaN or infinite values \(1 of 1800, the first at \(299, 5\)\).*--missing mask"), (np.inf, "infinite")],
)
def test_values_that_are_not_finite_are_found_where_they_are(save, mapped, monkeypatch, value, message):
    monkeypatch.setattr("pyrocount.data.rows.PART", 60)
    values = VALUES.astype(float)
    values[299, 5] = value
    with pytest.raises(InputError, match=message):
        load_dataset(save(values))


def test_values_that_float32_does_not_hold_are_refused(save, mapped):
    values = VALUES.astype(float)
    values[7] = 1e300
    with pytest.raises(InputError, match=r"values up to 1e.300, expected values within the range of float32"):
        load_dataset(save(values), scaling="none")


def test_a_change_of_the_file_is_seen(save, mapped):
    before = fingerprint(load_dataset(save(VALUES)))
    assert fingerprint(load_dataset(save(VALUES))) == before
    changed = VALUES.copy()
    changed[17, 3] += 1
    assert fingerprint(load_dataset(save(changed))) != before


LIMITED = """
import resource, sys
import numpy as np
from pyrocount import fit

def data_segment():
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmData"))

options = "--model poisson --epochs 1 --batch-size 1000 --latent-dim 4 --encoder lin --decoder lin --out".split()
path, runs = sys.argv[1:]
# What is imported and kept from the first fit on is not of the data.
fit.main([*options, runs])
limit = 80 << 20
resource.setrlimit(resource.RLIMIT_DATA, (data_segment() + limit,) * 2)
assert np.load(path, mmap_mode="r").nbytes >= 4 * limit
try:
    np.load(path)
except MemoryError:
    print("too large for the memory")
fit.main(["--data", path, *options, runs])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's limit of the data segment")
def test_a_file_of_four_times_the_limit_of_the_process(tmp_path):
    path = tmp_path / "large.npy"
    values = np.lib.format.open_memmap(path, "w+", np.float64, (84_000, 512))
    # The rest of the file takes no place on the disk.
    values[::100] = np.random.default_rng(0).normal(size=(840, 512))
    del values
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, path, tmp_path / "runs"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-500:]
    assert "too large for the memory" in done.stdout
    assert "nelbo" in done.stdout


@pytest.fixture
def shards(tmp_path):
    """A folder of arrays, one after the other, and the same array in one file."""
    (tmp_path / "shards").mkdir()
    for number, part in enumerate(np.split(VALUES, [120, 121])):
        np.save(tmp_path / "shards" / f"{number:03}.npy", part)
    np.save(tmp_path / "shards.npy", VALUES)
    return tmp_path / "shards"


def test_a_folder_of_arrays_is_one_array(shards, mapped):
    many, one = load_dataset(str(shards)), load_dataset(f"{shards}.npy")
    assert many.name == one.name == "shards"
    assert isinstance(many.train, Rows)
    for name in ("train_view", "test_view"):
        np.testing.assert_array_equal(getattr(many, name)[:], getattr(one, name)[:])
    rows = np.array([121, 0, 299, 120, 119, 121])
    np.testing.assert_array_equal(Rows(many.train.source)[rows], VALUES[rows])
    np.testing.assert_array_equal(np.concatenate([*parts(many.train.source)]), VALUES)
    assert fingerprint(many) == fingerprint(one)


def test_an_array_of_zarr(shards, mapped):
    zarr = pytest.importorskip("zarr")
    path = shards.parent / "values.zarr"
    zarr.save_array(str(path), VALUES)
    large, one = load_dataset(str(path)), load_dataset(f"{shards}.npy")
    for name in ("train_view", "test_view"):
        np.testing.assert_array_equal(getattr(large, name)[:], getattr(one, name)[:])


def test_a_fit_of_a_folder(shards, monkeypatch, capsys):
    monkeypatch.chdir(shards.parent)
    options = ["--model=poisson", "--likelihood=poisson", "--latent-dim=2", "--epochs=1", "--name=run"]
    assert main(["--data=shards", *options]) == 0
    monkeypatch.chdir("/")
    assert pyrocount.load(shards.parent / "runs" / "run").data().name == "shards"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones((3, 7)), r"2.npy with float64 of shape \(3, 7\), expected arrays of observations x features"),
        (np.ones((3, 6), np.float32), "2.npy with float32 of shape .*, expected one dtype, as the first, int64"),
    ],
)
def test_arrays_of_a_folder_that_do_not_go_together(shards, values, message):
    np.save(shards / "2.npy", values)
    with pytest.raises(InputError, match=message):
        load_dataset(str(shards))
    (shards / "2.npy").write_bytes(b"no array")
    with pytest.raises(InputError, match=r"2\.npy, which cannot be read"):
        load_dataset(str(shards))


def test_a_folder_without_arrays(tmp_path):
    with pytest.raises(InputError, match=r"which is a folder, expected .* or a folder of .npy files or of zarr"):
        load_dataset(str(tmp_path))
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(InputError, match=r"empty\.zarr, which cannot be read"):
        load_dataset(str(tmp_path / "empty.zarr"))
