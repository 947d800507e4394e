"""Recordings of spike counts in files of every format, with what describes trials and channels; their splits."""

import numpy as np
import pytest
from scipy import io, sparse

from pyrocount.data import load_dataset, read_observations
from pyrocount.data.options import FileOptions
from pyrocount.errors import InputError

RNG = np.random.default_rng(1)
TRIALS, CHANNELS = 12, 3
START, STOP = np.arange(TRIALS) * 2.0, np.arange(TRIALS) * 2.0 + 1.0
DIRECTIONS = np.array(["left", "right", "up"])[np.arange(TRIALS) % 3]


@pytest.fixture
def spikes():
    """Spike times of three units, none at the edge of a window, and their counts by a plain loop."""
    times = [np.sort(RNG.uniform(0, 2 * TRIALS, 80 * (unit + 1))) for unit in range(CHANNELS)]
    counts = np.array([[sum(a <= t < b for t in unit) for unit in times] for a, b in zip(START, STOP, strict=True)])
    return times, counts


def read(path, **options):
    return read_observations(path, FileOptions(**options))


@pytest.fixture
def nwb(tmp_path, spikes):
    pynwb = pytest.importorskip("pynwb")
    from datetime import UTC, datetime

    recording = pynwb.NWBFile("a reach", "identifier", datetime(2026, 1, 1, tzinfo=UTC))
    recording.add_unit_column("area", "brain area")
    for unit, times in enumerate(spikes[0]):
        recording.add_unit(spike_times=times, area=f"M{unit}", id=unit + 5)
    recording.add_trial_column("direction", "direction of the reach")
    for start, stop, direction in zip(START, STOP, DIRECTIONS, strict=True):
        recording.add_trial(start_time=start, stop_time=stop, direction=str(direction))
    path = tmp_path / "recording.nwb"
    with pynwb.NWBHDF5IO(str(path), "w") as file:
        file.write(recording)
    return path


@pytest.mark.filterwarnings("default")  # of pynwb's dependencies
def test_nwb(nwb, spikes):
    found = read(nwb, labels="direction")
    np.testing.assert_array_equal(found.values, spikes[1])
    np.testing.assert_array_equal(found.exposure, STOP - START)
    assert found.label_names == ("left", "right", "up")
    np.testing.assert_array_equal(np.array(found.label_names)[found.labels], DIRECTIONS)
    assert found.channels == ("5", "6", "7")
    assert read(nwb, channels="area").channels == ("M0", "M1", "M2")
    binned = read(nwb, labels="direction", bin=0.25)
    assert binned.values.shape == (4 * TRIALS, CHANNELS)
    np.testing.assert_array_equal(binned.values.reshape(TRIALS, 4, CHANNELS).sum(1), spikes[1])
    np.testing.assert_array_equal(binned.trials, np.repeat(np.arange(TRIALS), 4))
    np.testing.assert_array_equal(binned.times, np.tile(np.arange(4), TRIALS))
    np.testing.assert_array_equal(binned.labels, np.repeat(found.labels, 4))


@pytest.mark.filterwarnings("default")
def test_whole_trials_are_held_out(nwb):
    data = load_dataset(str(nwb), file=FileOptions(bin=0.25), scaling="none")
    assert not set(data.train_trials) & set(data.test_trials)
    assert len(set(data.test_trials)) == round(0.2 * TRIALS)
    assert len(data.test_times) == len(data.test)


@pytest.mark.filterwarnings("default")
def test_pynapple(tmp_path, spikes):
    nap = pytest.importorskip("pynapple")
    group = nap.TsGroup({5 + unit: nap.Ts(times) for unit, times in enumerate(spikes[0])})
    group.save(str(tmp_path / "units.npz"))
    trials = nap.IntervalSet(START, STOP, metadata={"direction": DIRECTIONS})
    trials.save(str(tmp_path / "trials.npz"))
    path, trials = tmp_path / "units.npz", str(tmp_path / "trials.npz")
    found = read(path, trials=trials, labels="direction")
    np.testing.assert_array_equal(found.values, spikes[1])
    assert found.channels == ("5", "6", "7")
    np.testing.assert_array_equal(np.array(found.label_names)[found.labels], DIRECTIONS)
    binned = read(path, trials=trials, bin=0.5)
    np.testing.assert_array_equal(binned.values.reshape(TRIALS, 2, CHANNELS).sum(1), spikes[1])
    whole = read(path, bin=0.5)
    first = min(times[0] for times in spikes[0])
    covered = [((times - first) < 0.5 * len(whole.values)).sum() for times in spikes[0]]
    np.testing.assert_array_equal(whole.values.sum(0), covered)
    with pytest.raises(InputError, match=r"trials: got .*units.npz, which holds a TsGroup, expected the .npz"):
        read(path, trials=str(path))
    with pytest.raises(InputError, match=r"bin: got 5.0 s, expected at most the longest trial, 1 s"):
        read(path, trials=trials, bin=5.0)


def test_tables(tmp_path, spikes):
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(spikes[1], columns=["a", "b", "c"]).assign(direction=DIRECTIONS, exposure=1.5)
    for suffix, separator in ((".csv", ","), (".tsv", "\t")):
        table.to_csv(tmp_path / f"counts{suffix}", sep=separator, index=False)
        found = read(tmp_path / f"counts{suffix}", labels="direction")
        np.testing.assert_array_equal(found.values, spikes[1])
        assert found.channels == ("a", "b", "c")
        assert found.label_names == ("left", "right", "up")
        np.testing.assert_array_equal(found.exposure, np.full(TRIALS, 1.5))
    with pytest.raises(InputError, match="whose column direction holds more than numbers, expected columns of numbers"):
        read(tmp_path / "counts.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(InputError, match=r"empty.csv, which cannot be read \(No columns"):
        read(tmp_path / "empty.csv")


def test_sparse_and_matlab(tmp_path, spikes):
    sparse.save_npz(tmp_path / "sparse.npz", sparse.csr_array(spikes[1].astype(float)))
    np.testing.assert_array_equal(read(tmp_path / "sparse.npz").values, spikes[1])
    names = np.array(["a", "b", "c"], object)
    content = {"counts": spikes[1].astype(float), "labels": DIRECTIONS.astype(object), "names": names, "other": 1.0}
    io.savemat(tmp_path / "matlab.mat", content)
    found = read(tmp_path / "matlab.mat", array="counts", channels="names")
    np.testing.assert_array_equal(found.values, spikes[1])
    assert found.channels == ("a", "b", "c")
    np.testing.assert_array_equal(np.array(found.label_names)[found.labels], DIRECTIONS)


@pytest.fixture
def sequences(tmp_path):
    x = RNG.poisson(2.0, (6, 4, CHANNELS)).astype(np.float32)
    path = tmp_path / "sequences.npz"
    angles = np.array([0.0, 22.5, 45.0] * 2)
    np.savez(path, counts=x, other=np.zeros(3), labels=angles, trials=np.arange(100, 106), exposure=np.full(6, 0.1))
    return path, x, angles


def test_trials_of_bins(sequences):
    path, x, angles = sequences
    flat = read(path, array="counts")
    np.testing.assert_array_equal(flat.values, x.reshape(24, CHANNELS))
    np.testing.assert_array_equal(flat.trials, np.repeat(np.arange(100, 106), 4))
    np.testing.assert_array_equal(flat.times, np.tile(np.arange(4), 6))
    np.testing.assert_array_equal(np.array(flat.label_names, float)[flat.labels], np.repeat(angles, 4))
    summed = read(path, array="counts", time="sum")
    np.testing.assert_array_equal(summed.values, x.sum(1))
    np.testing.assert_allclose(summed.exposure, 0.4)
    assert summed.times is None
    # Whole sequences come back from a data set.
    data = load_dataset(str(path), file=FileOptions(array="counts"), scaling="none")
    order = np.lexsort((data.train_times, data.train_trials))
    kept = np.unique(data.train_trials) - 100
    np.testing.assert_array_equal(data.train[order].reshape(-1, 4, CHANNELS), x[kept])


def test_a_velocity_belongs_to_observations_or_to_bins(tmp_path):
    x, velocity = RNG.poisson(2.0, (6, 4, CHANNELS)).astype(np.float32), RNG.normal(size=(6, 4, 2))
    np.savez(tmp_path / "bins.npz", x=x, velocity=velocity)
    flat = read(tmp_path / "bins.npz")
    np.testing.assert_array_equal(flat.velocity, velocity.reshape(24, 2))
    np.testing.assert_allclose(read(tmp_path / "bins.npz", time="sum").velocity, velocity.mean(1))
    np.savez(tmp_path / "one.npz", x=x, velocity=velocity[..., 0])
    np.testing.assert_array_equal(read(tmp_path / "one.npz").velocity, flat.velocity[:, :1])
    # The order of the observations of a table is that of the array.
    np.savez(tmp_path / "table.npz", counts=flat.values, hand=velocity[..., 0].ravel())
    data = load_dataset(str(tmp_path / "table.npz"), file=FileOptions(array="counts", velocity="hand"), scaling="none")
    for trials, found in ((data.train_trials, data.train_velocity), (data.test_trials, data.test_velocity)):
        np.testing.assert_array_equal(found, velocity[..., :1].reshape(24, 1)[trials])
    io.savemat(tmp_path / "table.mat", {"x": flat.values, "velocity": flat.velocity})
    np.testing.assert_array_equal(read(tmp_path / "table.mat").velocity, flat.velocity)


def test_names_and_trials_travel_through_the_split(tmp_path):
    x = np.arange(40.0).reshape(20, 2)
    np.savez(tmp_path / "table.npz", x=x, channels=["one", "two"])
    data = load_dataset(str(tmp_path / "table.npz"), scaling="none")
    assert data.channels == ("one", "two")
    np.testing.assert_array_equal(data.test[:, 0], 2 * data.test_trials)
    np.testing.assert_array_equal(data.train[:, 0], 2 * data.train_trials)


def test_splits(tmp_path):
    x, groups = np.arange(100.0)[:, None] * [1, 1], np.repeat(["a", "b", "c", "d", "e"], 20)
    path = tmp_path / "table.npz"
    np.savez(path, x=x, session=groups)
    files = FileOptions(array="x", groups="session")
    data = load_dataset(str(path), file=files, scaling="none")
    assert len(set(groups[data.test[:, 0].astype(int)])) == 1
    assert len(data.test) == 20
    blocks = load_dataset(str(path), file=FileOptions(array="x"), split="block", scaling="none").test[:, 0]
    assert len(blocks) == 20
    assert set(np.diff(np.sort(blocks).reshape(4, 5), axis=1).ravel()) == {1}
    marks = np.zeros(100, int)
    marks[:30] = 1
    np.save(tmp_path / "marks.npy", marks)
    (tmp_path / "marks.csv").write_text("\n".join(np.where(marks, "test", "train")))
    for file in ("marks.npy", "marks.csv"):
        given = load_dataset(str(path), file=FileOptions(array="x"), split=str(tmp_path / file), scaling="none")
        np.testing.assert_array_equal(given.test[:, 0], np.arange(30))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--array y", "--array: got 'y', expected one of the arrays of "),
        ("--labels y", "--labels: got 'y', expected one of the arrays or columns of "),
        ("--groups y", "--groups: got 'y', expected one of the arrays or columns of "),
        ("--groups one", "--groups: got one group of all observations, expected at least two groups"),
        ("--bin 0", "--bin: got 0.0, expected a positive number"),
        ("--time mean", "argument --time: invalid choice: 'mean'"),
        ("--split none.csv", "none.csv, which cannot be read, expected random, block, or a .npy or .csv file"),
        ("--split short.csv", "short.csv with 2 marks, expected one for each of 20 observations"),
        ("--split odd.csv", "odd.csv with the mark maybe, expected 1 or test, and 0 or train"),
        ("--split all.csv", "all.csv with 20 of 20 observations held out, expected some of each"),
        ("--channels one", "with channels of shape (20,) for observations of 2 features; are rows the channels? then"),
        ("--trials few", "with trials of dtype int64 and shape (3,), expected trials for 20 observations"),
        ("--velocity few", "with velocity of shape (3,), expected velocity for 20 observations"),
        ("--missing mask", "--missing: got 'mask' with --likelihood gaussian, expected --likelihood poisson or negbio"),
    ],
)
def test_what_is_refused(command, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    np.savez("table.npz", x=np.ones((20, 2)) * np.arange(20)[:, None], one=np.ones(20), few=np.arange(3))
    for name, marks in (("short", "0 1"), ("odd", "maybe " * 20), ("all", "1 " * 20)):
        (tmp_path / f"{name}.csv").write_text(marks)
    code, out, err = command(f"--data table.npz {options}")
    assert code == 2
    assert out == ""
    assert message in err[-1]


@pytest.mark.parametrize("suffix", [".nwb", ".mat", ".csv", ".npz"])
@pytest.mark.filterwarnings("default")
def test_damaged_files_are_named(tmp_path, suffix):
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(b"PK\x03\x04\xff\xfe\x00 no recording" if suffix == ".npz" else b"\xff\xfe\x00\x81,\x00")
    with pytest.raises(InputError, match=f"damaged{suffix}, which cannot be read") as caught:
        read(path)
    assert "\n" not in str(caught.value)
    (tmp_path / "table.xlsx").touch()
    with pytest.raises(InputError, match=r"whose suffix is .xlsx, expected a .npy, .npz, .mat, .csv, .tsv or .nwb"):
        read(tmp_path / "table.xlsx")
