"""Command ``python -m pyrocount.compare``: metrics of many runs, over seeds and configurations."""

import sys
from collections.abc import Sequence
from pathlib import Path

from pyrocount.command_line import Parser, run_command
from pyrocount.errors import InputError
from pyrocount.folder import Folder
from pyrocount.sweeps.comparison import compare, read_runs
from pyrocount.sweeps.tables import check_plots, save, table

DESCRIPTION = """Compare fitted models: for every configuration the mean of each metric over its seeds with a 99 %
interval, the distance from the best, and paired t-tests against the best over shared seeds, corrected for the number of
tests (Benjamini and Hochberg)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Returns:
        The exit code: 0, or 2 for bad input.
    """
    given = sys.argv[1:] if arguments is None else arguments
    return run_command("pyrocount.compare", lambda: _compare_and_save(given))


def _compare_and_save(arguments: Sequence[str]) -> None:
    given = _parser().parse_args(arguments)
    rows = compare(read_runs(given.runs), given.metric)
    plots = [_pair(text) for text in given.plot]
    check_plots(rows, plots)
    out = Path(given.out).resolve()
    folder = Folder.create(out.parent, None, out.name or "comparison")
    save(folder, rows, given.metric, plots)
    print(table(rows, given.metric))
    print(folder.path)


def _pair(text: str) -> tuple[str, str]:
    across, comma, up = (part.strip() for part in text.partition(","))
    if not (across and comma and up) or "," in up:
        raise InputError("--plot", repr(text), "two names with a comma between")
    return across, up


def _parser() -> Parser:
    parser = Parser(prog="python -m pyrocount.compare", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folders, or folders of them")
    parser.add_argument(
        "--metric",
        default="nelbo",
        metavar="NAME",
        help="metric by which runs are ranked: of summary.json, or SUITE.METRIC of an evaluation (default: nelbo)",
    )
    parser.add_argument(
        "--plot",
        action="append",
        default=[],
        metavar="X,Y",
        help="also draw metric Y over X, a metric or beta or latent_dim; runs that differ in beta alone, or else in "
        "latents, are joined; may be given several times",
    )
    parser.add_argument("--out", default="comparison", help="folder for table and figure (default: comparison)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
