"""The command ``python -m pyrocount.compare``: figures of many runs, over seeds and configurations."""

import csv
import io
import math
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from pyrocount import figures
from pyrocount.command_line import Parser, read_config, run_command
from pyrocount.config import Config
from pyrocount.errors import InputError
from pyrocount.metrics.intervals import student_margin
from pyrocount.run import RunFolder

CONFIDENCE = 0.99
# Of these less is better; of r2 more. Of the others neither.
LESS, MORE = ("nelbo", "nll", "paper_loss", "mse"), ("r2",)
# Runs are compared where these agree.
UNITS = ("data", "data_dir", "scaling", "whiten", "exposure", "test_fraction")

DESCRIPTION = """Compare fitted models: for every configuration the mean of each figure over its seeds with a 99 %
interval, the distance from the best, and paired t-tests against the best over shared seeds, corrected for the number of
tests (Benjamini and Hochberg)."""


@dataclass(frozen=True)
class Finished:
    """A run that has ended: its configuration and its figures."""

    name: str
    config: Config
    figures: dict[str, float]


@dataclass(frozen=True)
class Row:
    """A configuration.

    Attributes:
        data: the data set.
        label: what sets it apart from the others.
        seeds: how many runs.
        mean: of each figure.
        margin: half of the 99 % interval of the mean, NaN for a single run.
        drop: distance of the chosen figure from the best, in per cent of the best's magnitude.
        p: of a paired t-test of the chosen figure against the best, corrected; NaN for fewer than two shared seeds.
        values: the chosen figures of the runs.
    """

    data: str
    label: str
    seeds: int
    mean: dict[str, float]
    margin: dict[str, float]
    drop: float
    p: float
    values: tuple[float, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Returns:
        The exit code: 0, or 2 for bad input.
    """
    given = sys.argv[1:] if arguments is None else arguments
    return run_command("pyrocount.compare", lambda: _compare_and_save(given))


def _compare_and_save(arguments: Sequence[str]) -> None:
    given = _parser().parse_args(arguments)
    rows = compare(read_runs(given.runs), given.figure)
    out = Path(given.out).resolve()
    folder = RunFolder.create(out.parent, None, out.name or "comparison")
    save(folder, rows, given.figure)
    print(table(rows, given.figure))
    print(folder.path)


def _parser() -> Parser:
    parser = Parser(prog="python -m pyrocount.compare", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folders, or folders of them")
    parser.add_argument(
        "--figure", default="nelbo", choices=(*LESS, *MORE), help="what decides which is best (default: nelbo)"
    )
    parser.add_argument("--out", default="comparison", help="folder for table and picture (default: comparison)")
    return parser


def read_runs(paths: Sequence[str | Path]) -> list[Finished]:
    """The finished runs at these paths, each a run folder or a folder of some; unfinished ones among many are told.

    Raises:
        InputError: naming ``RUN``, for a path that is neither, or fewer than one finished run.
    """
    runs: list[Finished] = []
    seen: set[Path] = set()
    for path in map(Path, paths):
        if (path / "config.json").is_file():
            if not (path / "summary.json").is_file():
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
            if (folder / "summary.json").is_file():
                runs.append(_read_run(RunFolder(folder)))
            else:
                print(f"pyrocount.compare: {folder} is not finished and left out", file=sys.stderr)
    if not runs:
        raise InputError("RUN", ", ".join(map(str, paths)), "at least one finished run")
    return runs


def _read_run(run: RunFolder) -> Finished:
    config = read_config(run)
    config.check()
    summary = run.read_json("summary.json")
    if any(not isinstance(value, int | float | None) for value in summary.values()):
        raise InputError("RUN", f"{run.path}, whose summary.json holds more than numbers", "an intact run")
    return Finished(run.path.name, config, {name: math.nan if x is None else x for name, x in summary.items()})


def compare(runs: Sequence[Finished], figure: str = "nelbo") -> list[Row]:
    """A row for each configuration, best first within each data set.

    Args:
        runs: some, of any configurations and seeds.
        figure: what is compared, one of ``LESS`` or ``MORE``.

    Raises:
        InputError: if a run lacks the figure, or two runs have the same configuration and seed.
    """
    sets: defaultdict[tuple[Any, ...], list[Finished]] = defaultdict(list)
    for run in runs:
        if not math.isfinite(run.figures.get(figure, math.nan)):
            raise InputError("figure", f"{figure}, which {run.name} lacks", "a figure of all runs")
        sets[tuple(run.config.identity()[name] for name in UNITS)].append(run)
    varied = [name for name in UNITS[1:] if len({units[UNITS.index(name)] for units in sets}) > 1]
    files = {units[0] for units in sets}
    rows = []
    for units, members in sets.items():
        alone = sum(Path(file).stem == Path(units[0]).stem for file in files) == 1
        names = [Path(units[0]).stem if alone else units[0]]
        names += [f"{name}={units[UNITS.index(name)]}" for name in varied]
        rows += _compare_set(" ".join(names), members, figure)
    return rows


def _compare_set(data: str, runs: Sequence[Finished], figure: str) -> list[Row]:
    identities = [_without_seed(run.config) for run in runs]
    differing = [name for name in identities[0] if len({repr(each[name]) for each in identities}) > 1]
    groups: defaultdict[str, dict[int, Finished]] = defaultdict(dict)
    for run, identity in zip(runs, identities, strict=True):
        # The model comes first, and the fields that follow from it need not be said.
        label = " ".join([run.config.model, *(f"{n}={identity[n]}" for n in differing if n != "model")])
        if run.config.seed in groups[label]:
            both = f"{groups[label][run.config.seed].name} and {run.name}"
            raise InputError("RUN", f"{both}, of one configuration and seed", "one run of each")
        groups[label][run.config.seed] = run

    sign = -1.0 if figure in MORE else 1.0
    values = {label: {seed: run.figures[figure] for seed, run in group.items()} for label, group in groups.items()}
    order = sorted(groups, key=lambda label: sign * float(np.mean(list(values[label].values()))))
    best = values[order[0]]
    corrected = _corrected([_paired(values[label], best) for label in order[1:]])
    top = float(np.mean(list(best.values())))
    rows = []
    for label, p in zip(order, [math.nan, *corrected], strict=True):
        names = [name for name in next(iter(groups[label].values())).figures]
        columns = {n: np.array([run.figures.get(n, math.nan) for run in groups[label].values()]) for n in names}
        rows.append(
            Row(
                data,
                label,
                len(groups[label]),
                {name: float(column.mean()) for name, column in columns.items()},
                {name: student_margin(column, CONFIDENCE) for name, column in columns.items()},
                100 * sign * (float(columns[figure].mean()) - top) / abs(top) if top else math.nan,
                p,
                tuple(columns[figure].tolist()),
            )
        )
    return rows


def _without_seed(config: Config) -> dict[str, Any]:
    return {name: value for name, value in config.identity().items() if name not in ("seed", *UNITS)}


def _paired(one: dict[int, float], other: dict[int, float]) -> float:
    """Probability value of a paired t-test over the shared seeds; NaN for fewer than two."""
    seeds = sorted(one.keys() & other.keys())
    difference = np.array([one[seed] - other[seed] for seed in seeds])
    if len(seeds) < 2:
        return math.nan
    if difference.std() == 0:
        return 1.0 if difference[0] == 0 else 0.0
    return float(stats.ttest_1samp(difference, 0.0).pvalue)


def _corrected(p: Sequence[float]) -> list[float]:
    """Benjamini and Hochberg's correction, leaving out what is NaN."""
    known = [value for value in p if not math.isnan(value)]
    corrected = iter(stats.false_discovery_control(known).tolist() if known else [])
    return [math.nan if math.isnan(value) else float(next(corrected)) for value in p]


def table(rows: Sequence[Row], figure: str) -> str:
    """One line a configuration."""
    columns = [name for name in rows[0].mean if name != figure]
    lines = []
    for data in dict.fromkeys(row.data for row in rows):
        members = [row for row in rows if row.data == data]
        width = max(len(row.label) for row in members) + 2
        lines.append(
            f"{data:<{width}}{'runs':>5}{figure + ' (99 %)':>20}{'drop %':>8}{'p':>9}"
            + "".join(f"{name:>{max(12, len(name)) + 1}}" for name in columns)
        )
        for row in members:
            margin = "" if math.isnan(row.margin[figure]) else f" +-{row.margin[figure]:.2g}"
            p = "" if math.isnan(row.p) else f"{row.p:.2g}"
            lines.append(
                f"{row.label:<{width}}{row.seeds:>5}{f'{row.mean[figure]:.5g}{margin}':>20}{row.drop:>8.2f}{p:>9}"
                + "".join(f"{row.mean.get(name, math.nan):>{max(12, len(name)) + 1}.4g}" for name in columns)
            )
        lines.append("")
    return "\n".join(lines).rstrip()


def save(folder: RunFolder, rows: Sequence[Row], figure: str) -> None:
    """Writes ``comparison.csv`` and ``figures/comparison.png``."""
    names = list(dict.fromkeys(name for row in rows for name in row.mean))
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(
        ["data", "configuration", "runs", "drop_percent", "p", *names, *(f"{name}_margin" for name in names)]
    )
    for row in rows:
        cells = [row.mean.get(name, "") for name in names] + [row.margin.get(name, "") for name in names]
        writer.writerow([row.data, row.label, row.seeds, row.drop, row.p, *cells])
    folder.write_text("comparison.csv", text.getvalue())
    folder.save_figure(
        "comparison",
        figures.comparison(
            [row.label if len({r.data for r in rows}) == 1 else f"{row.data}: {row.label}" for row in rows],
            [row.values for row in rows],
            [row.margin[figure] for row in rows],
            figure,
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
