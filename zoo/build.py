"""Fits the models of the zoo anew by their recipes, and writes their cards: python zoo/build.py [NAME ...]."""

import argparse
import json
import shutil
import tempfile
from pathlib import Path

from pyrocount.config import Config
from pyrocount.recipes import recipe, recipes
from pyrocount.run import Run, load
from pyrocount.training import fit

MODELS = Path(__file__).parent / "pyrocount_zoo"
PREFIX = "zoo-"
# Options of the machine that fits, which say nothing of the model.
PLACES = ("data_dir", "device", "download", "log", "name", "out", "resume")
DATA = {
    "digits": "scikit-learn's handwritten digits (UCI, 1797 images of 8 x 8; CC BY 4.0)",
    "patches": "whitened patches of 16 x 16 of scikit-learn's two photographs (CC BY)",
    "mnist": "MNIST (LeCun, Cortes and Burges; CC BY-SA 3.0), which torchvision downloads",
}


def build(name: str, data_dir: str | None) -> None:
    """Fits a model of the zoo and writes its folder."""
    found = recipe(PREFIX + name)
    place = {"data_dir": data_dir} if found.options["data"] == "mnist" and data_dir else {}
    with tempfile.TemporaryDirectory() as out:
        run = fit(Config(**found.options, **place, out=out, name=name))
        export(run, MODELS / name)
    (MODELS / name / "README.md").write_text(card(name, load(MODELS / name)))


def export(run: Run, folder: Path) -> None:
    """Writes the parts of a run that its model needs, without paths and without the fingerprint of its data.

    The fingerprint is of every bit, which differs between processors where data are computed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    options = {option: value for option, value in run.config.options.items() if option not in PLACES}
    (folder / "config.json").write_text(json.dumps(options, indent=2) + "\n")
    for file in ("metrics.csv", "summary.json"):
        shutil.copy(run.path / file, folder)
    weights, units = run.load_weights()
    Run(folder).save_weights(weights, {key: value for key, value in units.items() if key != "fingerprint"})


def card(name: str, run: Run) -> str:
    """Returns the card of a model."""
    found = recipe(PREFIX + name)
    size = (run.path / "model.safetensors").stat().st_size / 1000
    parameters = sum(weight.numel() for weight in run.load_weights()[0].values())
    rows = [f"| {metric} | {value:.4g} |" for metric, value in run.metrics.items()]
    lines = [
        f"# {name}",
        "",
        f"{found.title}. {parameters:,} numbers, {size:.0f} kB.",
        "",
        f'- Load: `pyrocount.load("zoo/{name}")`',
        f"- Made by: `python -m pyrocount.fit --recipe {PREFIX}{name}`",
        f"- Data: {DATA[found.options['data']]}",
        f"- Model after: {found.source}. What differs: {found.differs}.",
        "- Use: examples, tests and teaching; it is too small to be compared with published figures.",
        "",
        "Metrics of held-out data, from exact samples, as `pyrocount.fit` prints them:",
        "",
        "| metric | value |",
        "| --- | --- |",
        *rows,
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    known = [each.name.removeprefix(PREFIX) for each in recipes() if each.name.startswith(PREFIX)]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(known)} (default: all)")
    parser.add_argument("--data-dir", help="folder that holds torchvision's MNIST")
    given = parser.parse_args()
    for chosen in given.names or known:
        build(chosen, given.data_dir)
