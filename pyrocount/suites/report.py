"""Report of an evaluation: one HTML file with all metrics, tables and figures, which opens offline."""

import base64
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from .protocols import DEFAULT, MARK

# Captions of the figures of a fit that belong to a suite.
OF_THE_FIT = {
    "reconstruction": {"reconstructions": "Data and reconstructions", "curves": "Inference", "trajectories": "Steps"},
    "sparsity": {"dictionary": "What each latent adds", "counts": "Counts of some latents", "spikes": "Spikes"},
}
CAPTIONS = {
    "raster": "Recorded counts, and counts predicted from the other channels",
    "tuning": "Tuning of latents and channels",
    "channel_fits": "Each channel: mean counts, Fano factors, bits per spike",
    "loadings": "What one unit of each latent adds to each channel",
    "worst_reconstructions": "The worst reconstructions",
    "generated": "Means of the data given samples of the prior",
    "information": "Information and selectivity of the latents",
    "inference_steps": "Fit and accuracy over the steps of inference",
    "mean_variance": "Mean and variance of the latent counts",
    "importance": "Importance weights of posterior samples",
    "pit": "Calibration of the predictions",
    "calibration": "Simulation-based calibration of the latents",
    "rootogram": "Hanging rootograms",
    "restarts": "Latents of the restarts",
    "sensitivity": "Latents silenced and stimulated",
    "perturbations": "Mean changes of the decoded data, of the latents without which most is lost",
    "energy": "Spikes, and what fewer of them tell",
    "reaction_time": "Decisions from spikes in time: speed and accuracy, Hick's law, reaction times",
    "exciting_inputs": "Inputs that excite latents most, and what the latents add to the data",
    "serial_dependence": "What is left of the input before",
    "latency": "Responses by contrast, and their latency",
    "training": "Training",
}
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { border-bottom: 1px solid #ccc; margin-top: 2.5rem; }
nav a { margin-right: 1rem; } table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .15rem .8rem .15rem 0; text-align: left; border-bottom: 1px solid #eee; vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
figure { margin: 1.5rem 0; } img { max-width: 100%; height: auto; }
figcaption, .quiet { color: #666; font-size: .9rem; }
.verdict { display: inline-block; min-width: 4.5rem; text-align: center; border-radius: .3rem; color: #fff;
  padding: 0 .4rem; font-size: .85rem; }
.good { background: #2a7f3f; } .doubtful { background: #b26a00; } .bad { background: #b3261e; }
.unknown { background: #777; } .remark { background: #fff6e0; padding: .3rem .8rem; margin: .3rem 0; }
"""


def report(options: Mapping[str, Any], suites: Mapping[str, Any], figures: Path) -> str:
    """Returns the HTML of the results of suites, with figures in it.

    Args:
        options: options of the run, by name.
        suites: results by suite, as in ``evaluation.json``.
        figures: folder with the figures of the run.
    """
    title = f"{options['model']} on {options['data'].rsplit('/', 1)[-1]}"
    links = "".join(f'<a href="#{name}">{name}</a>' for name in (*suites, "configuration"))
    head = f"{options['latent_dim']} latents, seed {options['seed']}, {options['epochs']} epochs"
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="quiet">{escape(head)}</p>',
        f"<nav>{links}</nav>",
        _summary(suites),
        _protocols(suites),
    ]
    body += [_section(figures, name, found) for name, found in suites.items()]
    rows = [
        [name, "" if value is None else str(value)] for name, value in options.items() if name not in ("out", "resume")
    ]
    rows = [[name, value.rsplit("/", 1)[-1] if name in ("data", "data_dir") else value] for name, value in rows]
    body += [
        '<h2 id="configuration">configuration</h2>',
        _figure(figures, "training"),
        _table("", ["option", "value"], rows),
    ]
    content = "\n".join(body)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>\n{content}\n</body></html>\n"
    )


def _summary(suites: Mapping[str, Any]) -> str:
    """Returns the verdicts of all checks, which come first."""
    checks = [check for found in suites.values() for check in found["checks"]]
    if not checks:
        return ""
    lines = "".join(
        f"<tr><td>{_badge(check['verdict'])}</td><td class=number>{number(check['value'])}</td>"
        f"<td><b>{escape(check['name'])}</b><br><span class=quiet>{escape(check['sentence'])} "
        f"Good {_side(check)} {check['good']:g}, bad {_side(check, False)} {check['bad']:g}.</span></td></tr>"
        for check in checks
    )
    return f"<h2>Can model and posterior be trusted?</h2><table>{lines}</table>"


def _protocols(suites: Mapping[str, Any]) -> str:
    """Returns a table of the metrics that several protocols measure unlike; nothing where there is one protocol."""
    measured: dict[str, dict[str, Any]] = {}
    for name, found in suites.items():
        suite, _, protocol = name.partition(MARK)
        for metric, value in found["metrics"].items():
            mean = value["mean"] if isinstance(value, Mapping) else value
            measured.setdefault(f"{suite}: {metric.replace('_', ' ')}", {})[protocol or DEFAULT.name] = mean
    protocols = sorted({name for values in measured.values() for name in values} - {DEFAULT.name})
    if not protocols:
        return ""
    rows = [
        [metric, *(values.get(name, "") for name in (DEFAULT.name, *protocols))]
        for metric, values in measured.items()
        if len(set(values.values())) > 1
    ]
    remark = "Numbers of different protocols do not compare: each stands beside what its publication reports."
    table = _table("", ["metric", DEFAULT.name, *protocols], rows) if rows else ""
    return f'<h2>Protocols</h2><p class="quiet">{remark}</p>{table}'


def _section(figures: Path, name: str, found: Mapping[str, Any]) -> str:
    suite, _, protocol = name.partition(MARK)
    parts = [f'<h2 id="{name}">{suite}{f", protocol {protocol}" if protocol else ""}</h2>']
    parts += [f'<p class="remark">{escape(remark)}</p>' for remark in found["remarks"]]
    rows = []
    for metric, value in found["metrics"].items():
        interval = ""
        if isinstance(value, Mapping):
            interval, value = interval_of(value), value["mean"]
        rows.append([metric.replace("_", " "), value, interval])
    if rows:
        parts.append(_table("", ["metric", "value", "95 % interval"], rows))
    parts += [_table(table["title"], table["header"], table["rows"]) for table in found["tables"]]
    parts += [_figure(figures, figure) for figure in found["figures"]]
    parts += [_figure(figures, figure, caption) for figure, caption in OF_THE_FIT.get(name, {}).items()]
    settings = ", ".join(
        f"{key.replace('_', ' ')} {value}" for key, value in found["settings"].items() if value is not None
    )
    parts.append(f'<p class="quiet">{escape(settings)}; {found["seconds"]:.1f} s</p>')
    return "\n".join(parts)


def _table(title: str, header: list[str], rows: list[list[Any]]) -> str:
    caption = f"<h3>{escape(title)}</h3>" if title else ""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    lines = "".join("<tr>" + "".join(_cell(cell) for cell in row) + "</tr>" for row in rows)
    return f"{caption}<table><tr>{head}</tr>{lines}</table>"


def _cell(cell: Any) -> str:
    if isinstance(cell, str):
        return f"<td>{escape(cell)}</td>"
    return f"<td class=number>{number(cell)}</td>"


def _figure(figures: Path, name: str, caption: str | None = None) -> str:
    """Returns a figure as a part of the page; nothing where there is no figure of the name."""
    path = figures / f"{name}.png"
    if not path.is_file():
        return ""
    content = path.read_bytes()
    # A PNG has its width there; of the two pixels in each direction, sharp screens show both.
    width = int.from_bytes(content[16:20]) // 2
    figure, _, protocol = name.partition(MARK)
    text = escape((caption or CAPTIONS.get(figure, figure)) + (f", protocol {protocol}" if protocol else ""))
    source = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    image = f'<img src="{source}" width="{width}" alt="{text}">'
    return f"<figure>{image}<figcaption>{text}</figcaption></figure>"


def _badge(verdict: str) -> str:
    return f'<span class="verdict {verdict}">{verdict}</span>'


def _side(check: Mapping[str, Any], good: bool = True) -> str:
    return "up to" if (check["bad"] >= check["good"]) == good else "from"


def interval_of(value: Mapping[str, Any]) -> str:
    """Returns the interval of a mean; nothing for a single repeat, which has none."""
    return "" if value["low"] is None else f"{number(value['low'])} to {number(value['high'])}"


def number(value: float | None) -> str:
    """Returns a metric as reports and tables show it; a dash for none."""
    return "-" if value is None else str(value) if isinstance(value, int) else f"{value:.4g}"
