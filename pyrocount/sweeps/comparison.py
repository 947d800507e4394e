"""Comparison of finished runs, over seeds and configurations."""

import math
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from pyrocount.config import Config
from pyrocount.data.options import FileOptions, PatchOptions
from pyrocount.errors import InputError
from pyrocount.metrics.intervals import student_margin
from pyrocount.run import Run

CONFIDENCE = 0.99
# Patterns of the metrics of which less is better, without the name of their suite; of all others more is.
LESS = (
    *("nelbo", "nll", "paper_loss", "*mse", "kl", "fid_*", "kid*", "amortization_gap", "*_distance", "dead_latents"),
    *("constant_latents", "over_marginal", "k_hat_*", "hard_soft_gap", "channels_below_*", "spikes_per_observation"),
)
# Options in which compared runs agree.
UNITS = (
    *("data", "data_dir", "scaling", "whiten", "exposure", "test_fraction", "split"),
    *(item.name for group in (FileOptions, PatchOptions) for item in fields(group)),
)


@dataclass(frozen=True)
class Finished:
    """Run that has ended: its configuration and its metrics."""

    name: str
    config: Config
    metrics: dict[str, float]


@dataclass(frozen=True)
class Row:
    """Row of the comparison: a configuration and the metrics of its runs.

    Attributes:
        data: name of the data set.
        label: model and options in which the configuration differs from the others.
        seeds: number of runs.
        mean: mean of each metric.
        margin: half of the 99 % interval of the mean of each metric, NaN for a single run.
        drop: distance of the chosen metric from the best, in per cent of the best's magnitude.
        p: probability value of a paired t-test of the chosen metric against the best, corrected; NaN for fewer than two
            shared seeds.
        values: chosen metric of each run.
        options: options of the configuration, by name.
        differing: names of those in which it differs from others.
    """

    data: str
    label: str
    seeds: int
    mean: dict[str, float]
    margin: dict[str, float]
    drop: float
    p: float
    values: tuple[float, ...]
    options: dict[str, Any]
    differing: list[str]

    def family(self, without: str) -> str:
        """Returns the model and the options in which the configuration differs from others, apart from one."""
        return _label(self.options, [name for name in self.differing if name != without])


def less_is_better(metric: str) -> bool:
    """Returns whether less of a metric is better.

    >>> less_is_better("nelbo"), less_is_better("representation.knn_200")
    (True, False)
    """
    return any(fnmatchcase(metric.split(".")[-1], pattern) for pattern in LESS)


def read_runs(paths: Sequence[str | Path]) -> list[Finished]:
    """Reads the finished runs at some paths, each a run folder or a folder of run folders.

    Unfinished runs in a folder of runs are left out, and named on standard error.

    Raises:
        InputError: naming ``RUN``, for a path that is neither, or where no run is finished.
    """
    runs: list[Finished] = []
    seen: set[Path] = set()
    for path in map(Path, paths):
        if (path / "config.json").is_file():
            if not Run(path).is_finished:
                raise InputError("RUN", f"{path}, which is not finished", "a run with a summary.json")
            folders = [path]
        else:
            folders = sorted(file.parent for file in path.glob("*/config.json"))
            if not folders:
                raise InputError("RUN", path, "a run folder, or a folder of run folders")
        for folder in folders:
            if folder.resolve() in seen:
                continue
            seen.add(folder.resolve())
            run = Run(folder)
            if run.is_finished:
                runs.append(Finished(run.path.name, run.config, run.metrics | _of_suites(run)))
            else:
                print(f"pyrocount.compare: {folder} is not finished and left out", file=sys.stderr)
    if not runs:
        raise InputError("RUN", ", ".join(map(str, paths)), "at least one finished run")
    return runs


def _of_suites(run: Run) -> dict[str, float]:
    """Returns the metrics of the suites that have measured a run, named ``suite.metric``."""
    found = {}
    for suite, results in run.evaluations.items():
        for name, value in results["metrics"].items():
            number = value["mean"] if isinstance(value, dict) else value
            found[f"{suite}.{name}"] = math.nan if number is None else float(number)
    return found


def compare(runs: Sequence[Finished], metric: str = "nelbo") -> list[Row]:
    """Compares runs; returns a row for each configuration, best first within each data set.

    Args:
        runs: finished runs, of any configurations and seeds.
        metric: name of the metric that is compared, of a suite as ``suite.metric``.

    Raises:
        InputError: if a run lacks the metric, or two runs have the same configuration and seed.
    """
    sets: defaultdict[tuple[Any, ...], list[Finished]] = defaultdict(list)
    for run in runs:
        if not math.isfinite(run.metrics.get(metric, math.nan)):
            shared = set.intersection(*(set(each.metrics) for each in runs))
            problem = f"{metric}, which {run.name} lacks"
            raise InputError("--metric", problem, f"one of {', '.join(sorted(shared))}")
        sets[tuple(run.config.identity().get(name) for name in UNITS)].append(run)
    varied = _differing([dict(zip(UNITS[1:], units[1:], strict=True)) for units in sets])
    files = {units[0] for units in sets}
    rows = []
    for units, members in sets.items():
        alone = sum(Path(file).stem == Path(units[0]).stem for file in files) == 1
        names = [Path(units[0]).stem if alone else units[0]]
        names += [f"{name}={units[UNITS.index(name)]}" for name in varied if units[UNITS.index(name)] is not None]
        rows += _compare_set(" ".join(names), members, metric)
    return rows


def _compare_set(data: str, runs: Sequence[Finished], metric: str) -> list[Row]:
    identities = [_without_seed(run.config) for run in runs]
    differing = _differing(identities)
    groups: defaultdict[str, dict[int, Finished]] = defaultdict(dict)
    for run, identity in zip(runs, identities, strict=True):
        label = _label(identity, differing)
        if run.config.seed in groups[label]:
            both = f"{groups[label][run.config.seed].name} and {run.name}"
            raise InputError("RUN", f"{both}, of one configuration and seed", "one run of each")
        groups[label][run.config.seed] = run

    sign = 1.0 if less_is_better(metric) else -1.0
    values = {label: {seed: run.metrics[metric] for seed, run in group.items()} for label, group in groups.items()}
    order = sorted(groups, key=lambda label: sign * float(np.mean(list(values[label].values()))))
    best = values[order[0]]
    corrected = _corrected([_paired(values[label], best) for label in order[1:]])
    top = float(np.mean(list(best.values())))
    rows = []
    for label, p in zip(order, [math.nan, *corrected], strict=True):
        names = list(dict.fromkeys(name for run in groups[label].values() for name in run.metrics))
        columns = {n: np.array([run.metrics.get(n, math.nan) for run in groups[label].values()]) for n in names}
        rows.append(
            Row(
                data,
                label,
                len(groups[label]),
                {name: float(column.mean()) for name, column in columns.items()},
                {name: student_margin(column, CONFIDENCE) for name, column in columns.items()},
                100 * sign * (float(columns[metric].mean()) - top) / abs(top) + 0.0 if top else math.nan,
                p,
                tuple(columns[metric].tolist()),
                next(iter(groups[label].values())).config.options,
                differing,
            )
        )
    return rows


def _label(options: Mapping[str, Any], differing: Sequence[str]) -> str:
    """Returns the model, and the options that differ; the model comes first, and its name need not be said."""
    named = [f"{name}={options[name]}" for name in differing if name != "model" and name in options]
    return " ".join([options["model"], *named])


def _differing(options: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the names of options with several values; that some runs have no use for one follows from others."""
    values: defaultdict[str, set[str]] = defaultdict(set)
    for each in options:
        for name, value in each.items():
            if value is not None:
                values[name].add(repr(value))
    return [name for name, known in values.items() if len(known) > 1]


def _without_seed(config: Config) -> dict[str, Any]:
    return {name: value for name, value in config.identity().items() if name not in ("seed", *UNITS)}


def _paired(one: dict[int, float], other: dict[int, float]) -> float:
    """Returns the probability value of a paired t-test over the shared seeds; NaN for fewer than two seeds."""
    seeds = sorted(one.keys() & other.keys())
    difference = np.array([one[seed] - other[seed] for seed in seeds])
    if len(seeds) < 2:
        return math.nan
    if difference.std() == 0:
        return 1.0 if difference[0] == 0 else 0.0
    return float(stats.ttest_1samp(difference, 0.0).pvalue)


def _corrected(p: Sequence[float]) -> list[float]:
    """Returns probability values with Benjamini and Hochberg's correction, which leaves out those that are NaN."""
    known = [value for value in p if not math.isnan(value)]
    corrected = iter(stats.false_discovery_control(known).tolist() if known else [])
    return [math.nan if math.isnan(value) else float(next(corrected)) for value in p]
