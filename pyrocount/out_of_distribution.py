"""Command ``python -m pyrocount.out_of_distribution``: fitted models on inputs that they were not trained for.

The accuracy of classifiers has two parts, where inputs have labels. ``accuracy`` is that of a classifier which learns
from training inputs of the same kind, as rotated ones: whether the codes of unknown inputs tell classes apart.
``transfer`` is that of a classifier which learns from training inputs of the run: whether they do it in the same way.
Labels of other data are taken for those of the run where they are among them.

References:
    Vafaii, Galor and Yates, Brain-like Variational Inference, arXiv 2410.19315.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pyrocount import figures
from pyrocount.backends import Backend, as_backend
from pyrocount.command_line import Parser, run_command
from pyrocount.data import Dataset, load_dataset, user_path
from pyrocount.data.options import DataOptions
from pyrocount.errors import InputError
from pyrocount.inference.options import ObjectiveOptions
from pyrocount.metrics.representation import CLASSIFIERS, Labels, classifier_accuracy
from pyrocount.run import Run, load

FloatArray = NDArray[np.floating[Any]]

ANGLES = (15.0, 30.0, 60.0, 90.0)
SHIFTS = (1.0, 2.0, 4.0)
# Number of inputs of each kind, and of those in the figure.
OBSERVATIONS, DRAWN = 1000, 16
# Number of training inputs of each kind that classifiers learn from; fewer where each takes many steps of inference.
TAUGHT = 5000
# Name of the inputs of the run's own data.
OWN = "held out"
# R^2 first: nats and squared errors depend on how bright an input is, and do not compare kinds of inputs.
SHOWN = ("r2", "mse", "zero_fraction", "nelbo", "logistic_accuracy", "logistic_transfer", "knn_transfer")
PARTS = ("encoder", "decoder", "total")


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
    if given.train_observations is not None and given.train_observations < 2:
        raise InputError("--train-observations", given.train_observations, "a whole number from 2")
    runs = {path: load(path) for path in given.runs}
    parameters = {}
    for path, run in runs.items():
        backend = run.backend if given.steps is None else as_backend(run.model, steps=given.steps)
        if backend.observes_counts:
            raise InputError("RUN", f"{path} with counts for data", "a model of images")
        number = given.train_observations or (TAUGHT if backend.tested is None else backend.tested)
        kinds = _kinds(path, run, given, number)
        beta = run.config[ObjectiveOptions].beta
        found = {name: backend.evaluate(kind.x, beta=beta) for name, kind in kinds.items()}
        read = _accuracies(backend, kinds)
        parameters[run.path.name] = backend.parameter_counts(run.config)
        metrics = {name: evaluation.metrics | read[name] for name, evaluation in found.items()}
        run.write_json("out_of_distribution.json", {"parameters": parameters[run.path.name], "inputs": metrics})
        drawn = min(DRAWN, *(len(kind.x) for kind in kinds.values()))
        pairs = {name: (kind.x[:drawn], found[name].reconstructions[:drawn]) for name, kind in kinds.items()}
        run.save_figures({"out_of_distribution": figures.reconstructions_by_kind(pairs)})
        print(f"{run.path.name}\n{table(metrics)}\n" if len(runs) > 1 else f"{table(metrics)}\n")
    print(parameter_table(parameters))
    print(*(run.path for run in runs.values()), sep="\n")


@dataclass(frozen=True)
class Kind:
    """Inputs of one kind, with what classifiers learn from.

    Attributes:
        x: inputs, shape (N, \\*shape).
        labels: class of each input, shape (N,), where it is known.
        train: inputs of this kind to learn from, shape (M, \\*shape).
        train_labels: class of each of them, shape (M,), where it is known.
    """

    x: FloatArray
    labels: Labels | None
    train: FloatArray
    train_labels: Labels | None


def _kinds(path: str, run: Run, given: argparse.Namespace, number: int) -> dict[str, Kind]:
    """Returns the inputs of each kind, by name: first those of the run itself."""
    data, options = run.data(), run.config[DataOptions]
    own = _of_data(data, number)
    kinds = {OWN: own}
    if own.x.ndim == 4:
        changes = {f"rotated by {angle:g}": partial(rotated, degrees=angle) for angle in given.rotations}
        changes |= {f"shifted by {pixels:g}": partial(shifted, pixels=pixels) for pixels in given.shifts}
        kinds |= {
            name: Kind(change(own.x), own.labels, change(own.train), own.train_labels)
            for name, change in changes.items()
        }
    elif not given.other:
        problem = f"{path} of data of {own.x.shape[1]} features"
        raise InputError("RUN", problem, "images, or --other with more data")
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
        kinds[other.name] = _of_data(other, number)
    return kinds


def _of_data(data: Dataset, number: int) -> Kind:
    labels, taught = data.test_labels, data.train_labels
    return Kind(
        data.test_view[:OBSERVATIONS],
        None if labels is None else labels[:OBSERVATIONS],
        data.train_view[:number],
        None if taught is None else taught[:number],
    )


def _accuracies(backend: Backend, kinds: dict[str, Kind]) -> dict[str, dict[str, float]]:
    """Returns the accuracies of classifiers of each kind of inputs, where there are labels.

    ``transfer`` is that of classifiers which learn from inputs of the run; ``accuracy`` that of classifiers which learn
    from inputs of the kind itself.
    """
    codes = {name: (_read(backend, kind.train, 1), _read(backend, kind.x, 0)) for name, kind in kinds.items()}
    found: dict[str, dict[str, float]] = {}
    for name, kind in kinds.items():
        found[name] = {}
        for part, source in (("accuracy", name), ("transfer", OWN)):
            taught = kinds[source].train_labels
            if kind.labels is None or taught is None or not set(kind.labels.tolist()) <= set(taught.tolist()):
                continue
            for classifier in CLASSIFIERS:
                accuracy = classifier_accuracy(
                    codes[source][0], taught, codes[name][1], kind.labels, classifier=classifier
                )
                found[name][f"{classifier}_{part}"] = accuracy
    return found


def _read(backend: Backend, x: FloatArray, seed: int) -> FloatArray:
    """Returns what classifiers read: codes, or of iterative models the posterior means, as their publication does."""
    if backend.steps is None:
        return backend.code(x, seed=seed)
    steps = backend.inference_steps(x, times=[backend.steps], seed=seed)
    assert steps is not None
    return steps.means[-1]


def table(found: dict[str, dict[str, float]]) -> str:
    """Returns the metrics as text, a line a kind of inputs."""
    lines = [f"{'inputs':<24}" + "".join(f"{name:>20}" for name in SHOWN)]
    for name, values in found.items():
        lines.append(f"{name:<24}" + "".join(f"{values.get(metric, math.nan):>20.4g}" for metric in SHOWN))
    return "\n".join(lines)


def parameter_table(found: dict[str, dict[str, int]]) -> str:
    """Returns the numbers of trained parameters as text, a line a run."""
    lines = [f"{'parameters':<24}" + "".join(f"{name:>20}" for name in PARTS)]
    lines += [f"{run:<24}" + "".join(f"{counts[name]:>20,}" for name in PARTS) for run, counts in found.items()]
    return "\n".join(lines)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m pyrocount.out_of_distribution",
        description="Fitted models on rotated and shifted inputs and on other data, beside held-out data of their own, "
        "with the accuracy of classifiers of their codes, and numbers of parameters.",
        allow_abbrev=False,
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folders of fitted models")
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
    parser.add_argument(
        "--train-observations",
        type=int,
        metavar="N",
        help=f"training inputs of each kind that classifiers learn from (default: {TAUGHT}, of iterative models 1000)",
    )
    parser.add_argument("--steps", type=int, metavar="N", help="steps of iterative inference (default: the run's)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
