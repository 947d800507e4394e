"""Command ``python -m pyrocount.out_of_distribution``: a fitted model on inputs that it was not trained for."""

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pyrocount import figures
from pyrocount.backends import as_backend
from pyrocount.command_line import Parser, run_command
from pyrocount.data import load_dataset, user_path
from pyrocount.data.options import DataOptions
from pyrocount.errors import InputError
from pyrocount.inference.options import ObjectiveOptions
from pyrocount.run import load

FloatArray = NDArray[np.floating[Any]]

ANGLES = (15.0, 30.0, 60.0, 90.0)
SHIFTS = (1.0, 2.0, 4.0)
# Number of inputs of each kind, and of those in the figure.
OBSERVATIONS, DRAWN = 1000, 16
# R^2 first: nats and squared errors depend on how bright an input is, and do not compare kinds of inputs.
SHOWN = ("r2", "mse", "zero_fraction", "nelbo")


def rotated(x: FloatArray, degrees: float) -> FloatArray:
    """Returns images (N, channels, height, width) turned about their centres; edges are continued.

    >>> rotated(np.array([[[[1.0, 2.0], [3.0, 4.0]]]]), 90).tolist()
    [[[[2.0, 4.0], [1.0, 3.0]]]]
    """
    turned: FloatArray = ndimage.rotate(x, degrees, axes=(3, 2), reshape=False, order=1, mode="nearest")
    return turned


def shifted(x: FloatArray, pixels: float) -> FloatArray:
    """Returns images (N, channels, height, width) moved to the right and down; edges are continued.

    >>> shifted(np.array([[[[1.0, 2.0], [3.0, 4.0]]]]), 1).tolist()
    [[[[1.0, 1.0], [1.0, 1.0]]]]
    """
    moved: FloatArray = ndimage.shift(x, (0, 0, pixels, pixels), order=1, mode="nearest")
    return moved


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Returns:
        The exit code: 0, or 2 for bad input.
    """
    given = sys.argv[1:] if arguments is None else arguments
    return run_command("pyrocount.out_of_distribution", lambda: _measure_and_save(given))


def _measure_and_save(arguments: Sequence[str]) -> None:
    given = _parser().parse_args(arguments)
    run = load(given.run)
    if run.backend.observes_counts:
        raise InputError("RUN", f"{given.run} with counts for data", "a model of images")
    data, options = run.data(), run.config[DataOptions]
    x = data.test_view[:OBSERVATIONS]
    kinds = {"held out": x}
    if x.ndim == 4:
        kinds |= {f"rotated by {angle:g}": rotated(x, angle) for angle in given.rotations}
        kinds |= {f"shifted by {pixels:g}": shifted(x, pixels) for pixels in given.shifts}
    elif not given.other:
        raise InputError("RUN", f"{given.run} of data of {x.shape[1]} features", "images, or --other with more data")
    for name in given.other:
        source = str(user_path(name, "other").resolve()) if name.endswith((".npy", ".npz")) else name
        other = load_dataset(
            source,
            seed=run.config.seed,
            test_fraction=options.test_fraction,
            scaling=options.scaling,
            data_dir=given.data_dir or options.data_dir,
        )
        if other.shape != data.shape:
            raise InputError(
                "other", f"{name} with observations of shape {other.shape}", f"observations of shape {data.shape}"
            )
        kinds[other.name] = other.test_view[:OBSERVATIONS]

    beta = run.config[ObjectiveOptions].beta
    backend = run.backend if given.steps is None else as_backend(run.model, steps=given.steps)
    found = {name: backend.evaluate(inputs, beta=beta) for name, inputs in kinds.items()}
    run.write_json("out_of_distribution.json", {name: evaluation.metrics for name, evaluation in found.items()})
    drawn = min(DRAWN, *map(len, kinds.values()))
    pairs = {name: (kinds[name][:drawn], found[name].reconstructions[:drawn]) for name in kinds}
    run.save_figures({"out_of_distribution": figures.reconstructions_by_kind(pairs)})
    print(table({name: evaluation.metrics for name, evaluation in found.items()}))
    print(run.path)


def table(found: dict[str, dict[str, float]]) -> str:
    """Returns the metrics as text, a line a kind of inputs."""
    lines = [f"{'inputs':<24}" + "".join(f"{name:>15}" for name in SHOWN)]
    for name, values in found.items():
        lines.append(f"{name:<24}" + "".join(f"{values.get(metric, math.nan):>15.4g}" for metric in SHOWN))
    return "\n".join(lines)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m pyrocount.out_of_distribution",
        description="A fitted model on rotated and shifted inputs and on other data, beside held-out data of its own.",
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", help="folder of a fitted model")
    parser.add_argument(
        "--rotations",
        type=float,
        nargs="*",
        default=ANGLES,
        metavar="DEGREES",
        help="angles of images (default: 15 30 60 90)",
    )
    parser.add_argument(
        "--shifts",
        type=float,
        nargs="*",
        default=SHIFTS,
        metavar="PIXELS",
        help="shifts of images (default: 1 2 4)",
    )
    parser.add_argument(
        "--other", nargs="+", default=(), metavar="DATA", help="other data of the same shape, as for --data of the fit"
    )
    parser.add_argument("--data-dir", metavar="FOLDER", help="folder of the other data (default: the run's)")
    parser.add_argument("--steps", type=int, metavar="N", help="steps of iterative inference (default: the run's)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
