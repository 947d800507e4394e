"""Command ``python -m pyrocount.sweep``: fits of many configurations, resumed by the same command, and compared."""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pyrocount.command_line import Parser, add_options, option_name, recipe_options, run_command, with_full_paths
from pyrocount.config import RunOptions
from pyrocount.errors import InputError
from pyrocount.folder import Folder
from pyrocount.process.progress import progress_bar
from pyrocount.suites.run import suites_of
from pyrocount.sweeps import Outcome, Place, Task, failed, grid, read_file, state, tasks_of
from pyrocount.sweeps.comparison import compare, read_runs
from pyrocount.sweeps.local import run_locally
from pyrocount.sweeps.on_ray import run_on_ray
from pyrocount.sweeps.remote import RECORDS, Remote, is_remote
from pyrocount.sweeps.search import Search, ranges
from pyrocount.sweeps.tables import save, table

DESCRIPTION = """Fit all combinations of a grid of options, or those of a file, each with several seeds. Runs are those
of pyrocount.fit, in folders whose names follow from their options. The same command resumes a sweep: finished runs are
kept, started ones resumed. Further options are those of pyrocount.fit, for all fits."""


# Metrics of summary.json by which runs can be ranked.
METRICS = ("nelbo", "nll", "paper_loss", "mse", "r2", "kl", "bits_per_spike")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Returns:
        The exit code: 0, 1 if fits failed, 2 for bad input, 130 for Ctrl-C.
    """
    given = sys.argv[1:] if arguments is None else arguments
    problems: list[str] = []
    code = run_command("pyrocount.sweep", lambda: problems.extend(sweep(_parser().parse_args(given))), option_name)
    for line in problems:
        print(f"pyrocount.sweep: failed: {line}", file=sys.stderr)
    return code or int(bool(problems))


def sweep(given: argparse.Namespace) -> list[str]:
    """Runs a sweep and compares its runs; returns a line for each fit that failed.

    Args:
        given: the parsed command line.

    Raises:
        InputError: naming the option, before anything is fitted.
    """
    own = {action.dest for action in _own_parser()._actions}
    fixed = {name: value for name, value in vars(given).items() if name not in own}
    usual = recipe_options(fixed)
    fixed = with_full_paths(fixed)
    if is_remote(url := str(fixed.get("out", ""))):
        return _remotely(given, fixed, usual, url)
    return _sweep(given, fixed, usual, str(Path(fixed.pop("out", RunOptions.out)).resolve()))


def _remotely(given: argparse.Namespace, fixed: dict[str, Any], usual: dict[str, Any], url: str) -> list[str]:
    """Runs a sweep of a remote folder, of which the records are copied here, and to which the comparison goes."""
    if given.engine != "ray" or given.search is not None:
        raise InputError("--out", url, "a folder of this machine, but for a grid with --engine ray")
    remote = Remote(url)
    with tempfile.TemporaryDirectory(prefix="pyrocount-") as known:
        for name in remote.names():
            remote.pull(name, Path(known), RECORDS)
        problems = _sweep(given, {name: value for name, value in fixed.items() if name != "out"}, usual, known, url)
        if (comparison := Path(known) / "comparison").is_dir():
            remote.push(comparison)
    return problems


def _sweep(
    given: argparse.Namespace, fixed: dict[str, Any], usual: dict[str, Any], out: str, remote: str | None = None
) -> list[str]:
    if given.file is not None and (given.grid or given.search is not None):
        raise InputError("--file", given.file, "no --grid and no --search beside it")
    if given.search is not None:
        return _search(given, fixed, usual, out)
    combinations = read_file(given.file) if given.file is not None else grid(given.grid)
    tasks = tasks_of(combinations, given.seeds, fixed, out, usual)
    place = Place(out, tuple(suites_of(given.evaluate or "")), remote=remote)
    _check(given)
    states = [state(task, place) for task in tasks]
    left = [task for task, known in zip(tasks, states, strict=True) if known != "finished"]
    print(
        f"{len(tasks)} fits in {remote or out}: {states.count('finished')} finished, "
        f"{states.count('started')} to resume, {states.count('new')} new",
        file=sys.stderr,
    )
    Path(out).mkdir(parents=True, exist_ok=True)
    outcomes = _run(given, left, len(left), place)
    if remote is not None:
        for task in left:
            Remote(remote).pull(task.name, Path(out), RECORDS)
    _compare([place.run(task) for task in tasks], place, given.metric)
    return failed(outcomes)


def _search(given: argparse.Namespace, fixed: dict[str, Any], usual: dict[str, Any], out: str) -> list[str]:
    if given.seeds != 1:
        raise InputError("--seeds", given.seeds, "1 with --search, whose fits differ in their options")
    place = Place(out, tuple(suites_of(given.evaluate or "")), given.metric)
    _check(given)
    search = Search(ranges(given.grid), given.search, given.metric, fixed, out, usual)
    print(f"{search.left} of {given.search} fits left in {out}", file=sys.stderr)
    outcomes = _run(given, search.tasks(), search.left, place, search)
    _compare(sorted(path.parent for path in Path(out).glob("trial=*/summary.json")), place, given.metric)
    print(search.summary())
    return failed(outcomes)


def _check(given: argparse.Namespace) -> None:
    suite, mark, _ = given.metric.partition(".")
    if mark and suite not in (given.evaluate or "").split(","):
        raise InputError("--metric", given.metric, f"--evaluate {suite} with it")
    if not mark and given.metric not in METRICS:
        raise InputError("--metric", given.metric, f"one of {', '.join(METRICS)}, or SUITE.METRIC of --evaluate")
    if given.jobs is not None and given.jobs < 1:
        raise InputError("--jobs", given.jobs, "a positive whole number")
    if given.engine != "ray":
        for name, usual in (("address", None), ("cpus", 1.0), ("gpus", 0.0)):
            if getattr(given, name) != usual:
                raise InputError(f"--{name}", getattr(given, name), "--engine ray with it")
    if given.cpus <= 0 or given.gpus < 0:
        raise InputError("--cpus", f"{given.cpus:g} and --gpus {given.gpus:g}", "processors, and no fewer than 0 cards")


def _run(
    given: argparse.Namespace, tasks: Iterable[Task], number: int, place: Place, search: Search | None = None
) -> list[Outcome]:
    outcomes: list[Outcome] = []
    with progress_bar(total=number, desc="sweep", unit="fit", delay=0) as bar:

        def done(outcome: Outcome) -> None:
            outcomes.append(outcome)
            if search is not None:
                search.tell(outcome)
            bar.set_postfix_str(f"last={outcome.name} ({outcome.seconds:.0f} s)", refresh=False)
            bar.update()

        if given.engine == "ray":
            resources = {"address": given.address, "jobs": given.jobs, "cpus": given.cpus, "gpus": given.gpus}
            run_on_ray(tasks, place, done, **resources, sequential=search is not None)
        else:
            run_locally(tasks, place, given.jobs or max(1, (os.cpu_count() or 1) // 2), done)
    return outcomes


def _compare(runs: Sequence[Path], place: Place, metric: str) -> None:
    finished = [run for run in runs if (run / "summary.json").is_file()]
    if not finished:
        return
    rows = compare(read_runs(finished), metric)
    folder = Folder(Path(place.out) / "comparison")
    folder.path.mkdir(exist_ok=True)
    save(folder, rows, metric)
    print(table(rows, metric))
    print(folder.path if place.remote is None else f"{place.remote}/comparison")


def _parser() -> Parser:
    parser = _own_parser()
    add_options(parser, without=("name", "resume"))
    return parser


def _own_parser() -> Parser:
    parser = Parser(prog="python -m pyrocount.sweep", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument(
        "--grid",
        nargs="+",
        action="extend",
        default=[],
        metavar="OPTION=VALUES",
        help="option of pyrocount.fit and its values, with commas between; several make all combinations; "
        "for --search also LOW:HIGH or log:LOW:HIGH",
    )
    parser.add_argument(
        "--search",
        type=int,
        metavar="N",
        help="N fits whose options are chosen from --grid by --metric, of which the worse ones are stopped early",
    )
    parser.add_argument(
        "--file",
        metavar="FILE",
        help="JSON or YAML file in place of a grid: a list of options by name, or names with lists of values",
    )
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="seeds of each combination (default: 1)")
    parser.add_argument(
        "--engine", choices=("local", "ray"), default="local", help="processes of this machine, or Ray (default: local)"
    )
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="fits at a time on this machine (default: half of the processors)"
    )
    parser.add_argument("--address", metavar="ADDRESS", help="address of a Ray cluster, or auto; by default a Ray here")
    parser.add_argument("--cpus", type=float, default=1.0, metavar="X", help="processors of a fit on Ray (default: 1)")
    parser.add_argument("--gpus", type=float, default=0.0, metavar="X", help="graphics cards of a fit (default: 0)")
    parser.add_argument(
        "--evaluate", metavar="SUITES", help="suites of pyrocount.evaluate that measure each run, with commas between"
    )
    parser.add_argument(
        "--metric",
        default="nelbo",
        metavar="NAME",
        help="metric by which runs are ranked: of summary.json, or SUITE.METRIC of --evaluate (default: nelbo)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
