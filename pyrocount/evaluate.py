"""The command ``python -m pyrocount.evaluate``: how good a fitted model is, whether to trust it, what its codes do."""

import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from pyrocount import fitted
from pyrocount.adapters import Adapter, adapt
from pyrocount.command_line import Parser, run_command
from pyrocount.config import Config
from pyrocount.devices import DEVICES, jax_device, torch_device
from pyrocount.errors import InputError
from pyrocount.models import ITERATIVE
from pyrocount.report import number, report
from pyrocount.run import RunFolder
from pyrocount.suites import SUITES, Subject

# Of the format of evaluation.json.
VERSION = 1
LEAST = {"observations": 2, "train_observations": 2, "samples": 2, "checked": 2, "images": 1, "steps": 1, "seed": 0}
# What is done with iterative models, each of whose observations takes many steps.
ITERATIVE_OBSERVATIONS, ITERATIVE_CODES = 1000, 5000
# For FID, as published figures have them.
IMAGES = (5000, 10_000)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Returns:
        The exit code: 0, or 2 for bad input.
    """
    given = sys.argv[1:] if arguments is None else arguments
    return run_command("pyrocount.evaluate", lambda: evaluate_run(_parser().parse_args(given)))


def evaluate_run(given: Any) -> RunFolder:
    """Runs suites on a run folder, and writes what they find beside what others found before.

    Args:
        given: the parsed command line.

    Raises:
        InputError: naming the argument.
    """
    names = [name for name in given.suite.split(",") if name]
    for name in names:
        if name not in SUITES:
            raise InputError("--suite", repr(name), f"some of {', '.join(SUITES)}, with commas between")
    run = RunFolder(given.run)
    _earlier(run)
    subject = _subject(given)
    failed: list[Exception] = []
    with computing_on(given.device, subject.config):
        for name in names:
            print(f"{name} ...", file=sys.stderr)
            try:
                _evaluate_and_save(name, subject, run)
            except Exception as error:
                # A bug, or too little memory: the other suites still run, and then it is shown.
                print(f"  {name} stopped: {error}", file=sys.stderr)
                failed.append(error)
    run.write_text("report.html", report(run, _earlier(run)))
    print(run.path / "report.html")
    if failed:
        raise failed[0]
    return run


def computing_on(device: str, config: Config) -> AbstractContextManager[Any]:
    """What makes JAX compute on the device; torch's models are moved to it."""
    if config.model not in ITERATIVE:
        return nullcontext()
    import jax

    context: AbstractContextManager[Any] = jax.default_device(jax_device(device))
    return context


def _evaluate_and_save(name: str, subject: Subject, run: RunFolder) -> None:
    start = time.perf_counter()
    result = SUITES[name](subject)
    seconds = round(time.perf_counter() - start, 1)
    found = _earlier(run) | {name: result.to_json() | {"seconds": seconds, "settings": _settings(subject)}}
    run.write_json("evaluation.json", {"version": VERSION, "suites": found})
    for picture, figure in result.pictures.items():
        run.save_figure(picture, figure)
    if result.posterior is not None:
        run.save_posterior(result.posterior)
    print(table(name, _earlier(run)[name]))


def _earlier(run: RunFolder) -> dict[str, Any]:
    """What earlier evaluations have found.

    Raises:
        InputError: if it is of a newer version, or cannot be read.
    """
    if not (run.path / "evaluation.json").is_file():
        return {}
    content = run.read_json("evaluation.json")
    if content.get("version") != VERSION or not isinstance(content.get("suites"), dict):
        problem = f"{run.path}, whose evaluation.json is of version {content.get('version')}"
        raise InputError("RUN", problem, f"one of version {VERSION}, or none")
    suites: dict[str, Any] = content["suites"]
    return suites


def _subject(given: Any) -> Subject:
    for name, least in LEAST.items():
        value = getattr(given, name)
        for one in value or () if name == "images" else (value,):
            if one is not None and one < least:
                raise InputError("--" + name.replace("_", "-"), one, f"a whole number from {least}")
    restarts = {Path(path).name: path for path in given.restarts}
    if len(restarts) < len(given.restarts):
        raise InputError("--restarts", " ".join(given.restarts), "folders of different names")
    whole = fitted.load(given.run)
    data, config = whole.data(), whole.config
    iterative = config.model in ITERATIVE
    images = given.images or [number for number in IMAGES if number <= len(data.test)] or [len(data.test)]
    observations, codes = (ITERATIVE_OBSERVATIONS, ITERATIVE_CODES) if iterative else (len(data.test), len(data.train))
    return Subject(
        adapter=_adapter(whole.model, config, given),
        config=config,
        data=data,
        observations=min(given.observations or observations, len(data.test)),
        train_observations=min(given.train_observations or codes, len(data.train)),
        samples=given.samples,
        checked=given.checked,
        images=tuple(images),
        inception_weights=given.inception_weights,
        seed=given.seed,
        restarts={name: _restart(path, whole, given) for name, path in restarts.items()},
        progress=True,
    )


def _adapter(model: Any, config: Config, given: Any) -> Adapter:
    if config.model not in ITERATIVE:
        model = model.to(torch_device(given.device))
    return adapt(model, steps=config.test_steps if given.steps is None else given.steps)


def _restart(path: str, whole: fitted.Fitted, given: Any) -> Adapter:
    other = fitted.load(path)
    for name in ("model", "latent_dim", "data", "scaling", "likelihood", "activation"):
        theirs, ours = getattr(other.config, name), getattr(whole.config, name)
        if theirs != ours:
            raise InputError("--restarts", f"{path} with {name} {theirs}", f"{ours}, as of {given.run}")
    adapter = _adapter(other.model, other.config, given)
    if adapter.shape != whole.model_shape:
        raise InputError(
            "--restarts", f"{path} of data of shape {adapter.shape}", f"those of shape {whole.model_shape}"
        )
    return adapter


def _settings(subject: Subject) -> dict[str, Any]:
    names = ("observations", "train_observations", "samples", "checked", "images", "inception_weights", "seed")
    return {name: getattr(subject, name) for name in names}


def table(name: str, found: dict[str, Any]) -> str:
    """The figures and checks of a suite, a line each."""
    lines = [f"{name} ({found['seconds']:g} s)"]
    for figure, value in found["figures"].items():
        if isinstance(value, dict):
            lines.append(
                f"  {figure:<34}{number(value['mean']):>12}   {number(value['low'])} to {number(value['high'])}"
            )
        else:
            lines.append(f"  {figure:<34}{number(value):>12}")
    lines += [f"  [{check['verdict']}] {check['name']}: {number(check['value'])}" for check in found["checks"]]
    return "\n".join(lines)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m pyrocount.evaluate",
        description="Figures of merit and diagnostics of a fitted model, in its evaluation.json and report.html.",
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", help="folder of a fitted model")
    parser.add_argument(
        "--suite",
        default=",".join(SUITES),
        metavar="SUITES",
        help="some of the suites, with commas between; what others found before stays (default: %(default)s)",
    )
    parser.add_argument(
        "--observations",
        type=int,
        metavar="N",
        help=f"held-out ones (default: all, of iterative models {ITERATIVE_OBSERVATIONS})",
    )
    parser.add_argument(
        "--train-observations",
        type=int,
        metavar="N",
        help=f"from which shattering learns (default: all, of iterative models {ITERATIVE_CODES})",
    )
    parser.add_argument(
        "--samples", type=int, default=1000, metavar="N", help="of a posterior, for its weights (default: 1000)"
    )
    parser.add_argument(
        "--checked", type=int, default=500, metavar="N", help="observations in the diagnostics (default: 500)"
    )
    parser.add_argument(
        "--images",
        type=int,
        nargs="+",
        metavar="N",
        help="for FID (default: 5000 10000, or all held-out ones of fewer)",
    )
    parser.add_argument(
        "--inception-weights",
        metavar="FILE",
        help="Inception's, for FID and KID, or 'download' to fetch them; by default a small seeded network stands in",
    )
    parser.add_argument("--steps", type=int, metavar="N", help="of iterative inference (default: the run's)")
    parser.add_argument(
        "--restarts", nargs="+", default=(), metavar="RUN", help="other fits to the same data, to compare the latents"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of all samples (default: 0)")
    parser.add_argument(
        "--device", choices=DEVICES, default="auto", help="where to compute (default: auto, CUDA if there is)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
