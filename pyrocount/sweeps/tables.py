"""Comparison of runs as text, CSV, LaTeX and figures."""

import csv
import io
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from pyrocount import figures
from pyrocount.errors import InputError
from pyrocount.folder import Folder

from .comparison import Row

PLUS_MINUS = r" \pm "
# Options over which metrics are drawn where configurations differ in them.
OPTIONS = ("beta", "latent_dim")
# Metrics that are drawn over the weight of the divergence.
SPARSITY = ("r2", "zero_fraction", "lifetime_sparsity")


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


def save(folder: Folder, rows: Sequence[Row], metric: str, plots: Sequence[tuple[str, str]] = ()) -> None:
    """Writes ``comparison.csv``, ``comparison.tex`` and ``comparison.png``, and what is drawn over options.

    These are ``latents.png``, the metric over the numbers of latents; ``beta.png``, the quality of reconstructions and
    the sparsity of latents over the weights of the divergence; ``rate_distortion.png``, errors over divergences.

    Args:
        folder: folder of the comparison.
        rows: rows of the comparison.
        metric: metric that is compared.
        plots: metrics, or ``beta`` and ``latent_dim``, across and up of further figures.
    """
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
    labels = _among(rows, [row.label for row in rows])
    values, margins = [row.values for row in rows], [row.margin[metric] for row in rows]
    drawn = {"comparison": figures.comparison(labels, values, margins, metric)}
    if latents := curves(rows, "latent_dim"):
        drawn["latents"] = figures.relations(latents, [("latent_dim", metric)], OPTIONS)
    if betas := curves(rows, "beta"):
        known = set.union(*(set(row.mean) for row in rows))
        over = [("beta", name) for name in SPARSITY if name in known]
        drawn["beta"] = figures.relations(betas, over or [("beta", metric)], OPTIONS)
        if {"kl", "mse"} <= known:
            beside = [("lifetime_sparsity", "mse")] if "lifetime_sparsity" in known else []
            drawn["rate_distortion"] = figures.relations(betas, [("kl", "mse"), *beside], OPTIONS, "beta")
    for across, up in plots:
        joined = across if across in OPTIONS else next((name for name in OPTIONS if curves(rows, name)), "beta")
        drawn[f"{up}_over_{across}"] = figures.relations(curves(rows, joined, 1), [(across, up)], OPTIONS, joined)
    folder.save_figures(drawn)


def _among(rows: Sequence[Row], names: Sequence[str]) -> list[str]:
    """Returns names of rows, with their data where rows are of several."""
    several = len({row.data for row in rows}) > 1
    return [f"{row.data}: {name}" if several else name for row, name in zip(rows, names, strict=True)]


def check_plots(rows: Sequence[Row], plots: Sequence[tuple[str, str]]) -> None:
    """Checks that some configuration has what each plot draws.

    Raises:
        InputError: naming ``--plot``.
    """
    for across, up in plots:
        for name, others in ((across, OPTIONS), (up, ())):
            known = {*others, *(name for row in rows for name in row.mean)}
            if name not in known:
                raise InputError("--plot", name, f"one of {', '.join(sorted(known))}")


def curves(rows: Sequence[Row], option: str, least: int = 2) -> dict[str, list[dict[str, tuple[float, float]]]]:
    """Returns the configurations that differ in an option alone, by their families, in the order of its values.

    Args:
        rows: rows of the comparison.
        option: name of the option.
        least: least number of the points of a family.

    Returns:
        Of each configuration the means of its metrics with half of their intervals, and its options, by name.
    """
    found: defaultdict[str, list[dict[str, tuple[float, float]]]] = defaultdict(list)
    for row, name in zip(rows, _among(rows, [row.family(option) for row in rows]), strict=True):
        metrics = {metric: (value, row.margin[metric]) for metric, value in row.mean.items() if math.isfinite(value)}
        numbers = {each: (float(row.options[each]), math.nan) for each in OPTIONS}
        found[name].append(metrics | numbers)
    return {
        name: sorted(points, key=lambda point: point[option]) for name, points in found.items() if len(points) >= least
    }
