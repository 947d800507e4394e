"""Recordings as spike times, counted in the windows of trials."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyrocount.errors import InputError, require_extra

from .options import FileOptions
from .paths import unreadable

Array = NDArray[Any]

# Name of the array that says which bin of its trial an observation is; no array or column of a file has this name.
TIMES = "bin of the trial"


def read_nwb(path: Path, options: FileOptions, argument: str) -> dict[str, Array]:
    """Reads spike counts of the units of an NWB file, in the windows of its table of trials.

    Without a table of trials the whole recording is one window. The columns of the table are arrays of their names.

    Args:
        path: path of the file.
        options: ``bin``, and ``channels`` for a column of the table of units that names them.
        argument: name of the path in errors.

    Raises:
        InputError: naming the argument, if the file has no units; or ``channels`` or ``bin``.
        Exception: of any kind, if the file is damaged.
    """
    with require_extra("neural", argument, path):
        import pynwb
    with pynwb.NWBHDF5IO(str(path), "r") as file:
        recording = file.read()
        units = None if recording.units is None else recording.units.to_dataframe()
        trials = None if recording.trials is None else recording.trials.to_dataframe()
    if units is None or "spike_times" not in units:
        raise InputError(argument, f"{path} without a table of units with spike_times", "a recording with sorted units")
    if options.channels is not None and options.channels not in units:
        raise InputError("channels", repr(options.channels), f"a column of the units: {', '.join(units)}")
    names = units.index if options.channels is None else units[options.channels]
    times = [np.asarray(spikes, np.float64) for spikes in units["spike_times"]]
    if trials is None:
        return _counts(times, *_whole(times), {}, options, argument, path) | {
            options.channels or "channels": np.array([*map(str, names)])
        }
    windows = trials["start_time"].to_numpy(np.float64), trials["stop_time"].to_numpy(np.float64)
    columns = {name: _plain(trials[name].to_numpy()) for name in trials if trials[name].map(np.isscalar).all()}
    columns["trials"] = trials.index.to_numpy()
    counted = _counts(times, *windows, columns, options, argument, path)
    return counted | {options.channels or "channels": np.array([*map(str, names)])}


def read_pynapple(path: Path, options: FileOptions, argument: str) -> dict[str, Array]:
    """Reads spike counts of a ``TsGroup`` of pynapple, in trials or in the epochs of its time support.

    Args:
        path: path of the ``.npz`` file of the group.
        options: ``bin``, and ``trials`` for the path of an ``IntervalSet`` with metadata such as labels.
        argument: name of the path in errors.

    Raises:
        InputError: naming the argument, ``trials`` or ``bin``.
    """
    with require_extra("neural", argument, path):
        import pynapple
    group = _loaded(pynapple, path, pynapple.TsGroup, argument)
    epochs, columns = group.time_support, dict[str, Array]()
    if options.trials is not None:
        epochs = _loaded(pynapple, Path(options.trials).expanduser(), pynapple.IntervalSet, "trials")
        columns = {name: _plain(epochs.get_info(name).to_numpy()) for name in epochs.metadata_columns}
    times = [np.asarray(group[unit].t, np.float64) for unit in group.index]
    windows = np.asarray(epochs.start, np.float64), np.asarray(epochs.end, np.float64)
    columns[options.trials or "trials"] = np.arange(len(windows[0]))
    names = {"channels": np.array([*map(str, group.index)])}
    return _counts(times, *windows, columns, options, argument, path) | names


def _loaded(pynapple: Any, path: Path, kind: type, argument: str) -> Any:
    expected = f"the .npz file of a pynapple.{kind.__name__}"
    try:
        found = pynapple.load_file(str(path))
    except Exception as error:  # A damaged file may raise any exception.
        raise unreadable(argument, path, error, expected) from error
    if not isinstance(found, kind):
        raise InputError(argument, f"{path}, which holds a {type(found).__name__}", expected)
    return found


def _counts(
    times: Sequence[Array],
    start: Array,
    stop: Array,
    columns: dict[str, Array],
    options: FileOptions,
    argument: str,
    path: Path,
) -> dict[str, Array]:
    """Returns counts ``x`` (N, channels), and columns (trials,) for each of the N observations.

    Without bins a trial is an observation, and ``exposure`` is its duration; with bins ``TIMES`` is the number of the
    bin in its trial.
    """
    if not len(times) or not len(start):
        raise InputError(argument, f"{path} with {len(times)} units and {len(start)} trials", "at least one of each")
    if options.bin is None:
        return columns | {"x": _inside(times, start, stop), "exposure": stop - start}
    # A bin that ends with the trial up to rounding is whole.
    bins = np.floor((stop - start) / options.bin + 1e-6).astype(np.int64)
    if not bins.any():
        raise InputError("bin", f"{options.bin} s", f"at most the longest trial, {np.max(stop - start):.3g} s")
    trial = np.repeat(np.arange(len(bins)), bins)
    place = np.concatenate([np.arange(number) for number in bins])
    edges = start[trial] + options.bin * place
    counts = _inside(times, edges, edges + options.bin)
    return {name: column[trial] for name, column in columns.items()} | {"x": counts, TIMES: place}


def _inside(times: Sequence[Array], start: Array, stop: Array) -> Array:
    """Returns how many spikes of each unit lie in each window, its start included, shape (windows, units)."""
    ordered = [np.sort(spikes) for spikes in times]
    counts = [np.searchsorted(spikes, stop) - np.searchsorted(spikes, start) for spikes in ordered]
    return np.stack(counts, 1).astype(np.float32)


def _whole(times: Sequence[Array]) -> tuple[Array, Array]:
    """Returns the window of a recording without trials, from 0 to just after its last spike."""
    last = max((float(spikes.max()) for spikes in times if len(spikes)), default=0.0)
    return np.zeros(1), np.array([np.nextafter(last, np.inf)])


def _plain(values: Array) -> Array:
    """Returns text as an array of text, which pandas keeps as objects."""
    return values.astype(str) if values.dtype.kind not in "buif" else values
