"""Comparison of runs as text, CSV, LaTeX and figures."""

import csv
import io
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from pyrocount import figures
from pyrocount.folder import Folder

from .comparison import Row

PLUS_MINUS = r" \pm "


def table(rows: Sequence[Row], metric: str) -> str:
    """Returns the comparison as text, a line a configuration: of all metrics, and then of those of each suite."""
    blocks = []
    for data in dict.fromkeys(row.data for row in rows):
        members = [row for row in rows if row.data == data]
        names = list(dict.fromkeys(name for row in members for name in row.mean))
        columns = {"runs": [str(row.seeds) for row in members]}
        columns[f"{metric} (99 %)"] = [_mean(row, metric) for row in members]
        columns["drop %"] = [f"{row.drop:.2f}" for row in members]
        columns["p"] = ["" if math.isnan(row.p) else f"{row.p:.2g}" for row in members]
        for name in names:
            if name != metric and "." not in name:
                columns[name] = [f"{row.mean.get(name, math.nan):.4g}" for row in members]
        labels = [row.label for row in members]
        blocks.append(_block(data, labels, columns))
        for suite in dict.fromkeys(name.split(".")[0] for name in names if "." in name):
            own = [name for name in names if name.startswith(f"{suite}.")]
            measured = {name.split(".")[1]: [_mean(row, name) for row in members] for name in own}
            blocks.append(_block(suite, labels, measured))
    return "\n\n".join(blocks)


def _block(title: str, labels: Sequence[str], columns: Mapping[str, Sequence[str]]) -> str:
    width = max(map(len, [title, *labels]))
    widths = {name: max(map(len, [name, *cells])) + 2 for name, cells in columns.items()}
    lines = [f"{title:<{width}}" + "".join(f"{name:>{widths[name]}}" for name in columns)]
    for place, label in enumerate(labels):
        lines.append(
            f"{label:<{width}}" + "".join(f"{cells[place]:>{widths[name]}}" for name, cells in columns.items())
        )
    return "\n".join(lines)


def _mean(row: Row, name: str, between: str = " +-") -> str:
    """Returns the mean of a metric with half of its interval."""
    margin = row.margin.get(name, math.nan)
    text = f"{row.mean.get(name, math.nan):.5g}"
    return text if math.isnan(margin) else f"{text}{between}{margin:.2g}"


def latex(rows: Sequence[Row], metric: str) -> str:
    """Returns the comparison as a table of LaTeX's ``booktabs``: the chosen metric first, then all others."""
    names = list(dict.fromkeys([metric, *(name for row in rows for name in row.mean)]))
    lines = [
        rf"\begin{{tabular}}{{ll{'r' * (len(names) + 2)}}}",
        r"\toprule",
        " & ".join(["data", "configuration", "runs", "$p$", *map(_escaped, names)]) + r" \\",
        r"\midrule",
    ]
    for row in rows:
        p = "--" if math.isnan(row.p) else f"{row.p:.2g}"
        cells = [f"${_mean(row, name, PLUS_MINUS)}$" if name in row.mean else "--" for name in names]
        lines.append(" & ".join([_escaped(row.data), _escaped(row.label), str(row.seeds), p, *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _escaped(text: str) -> str:
    """Returns text with the marks that LaTeX reads as commands made plain."""
    return "".join(f"\\{mark}" if mark in "_%&#$" else mark for mark in text)


def save(folder: Folder, rows: Sequence[Row], metric: str) -> None:
    """Writes ``comparison.csv``, ``comparison.tex`` and ``comparison.png``, and over latents ``latents.png``."""
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
    folder.write_text("comparison.tex", latex(rows, metric))
    labels = [row.label if len({r.data for r in rows}) == 1 else f"{row.data}: {row.label}" for row in rows]
    values, margins = [row.values for row in rows], [row.margin[metric] for row in rows]
    drawn = {"comparison": figures.comparison(labels, values, margins, metric)}
    curves: defaultdict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for row in rows:
        name = row.family if len({r.data for r in rows}) == 1 else f"{row.data}: {row.family}"
        curves[name].append((row.latents, row.mean[metric], row.margin[metric]))
    if several := {name: sorted(points) for name, points in curves.items() if len(points) > 1}:
        drawn["latents"] = figures.over_latents(several, metric)
    folder.save_figures(drawn)
