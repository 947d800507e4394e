"""Evaluation of a run folder by suites, whose results stay in it."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pyrocount.backends import Backend, as_backend
from pyrocount.errors import InputError
from pyrocount.inference.options import ObjectiveOptions
from pyrocount.run import EVALUATION_VERSION, Run, load

from . import SUITES, EvaluationContext, usual_suites
from .protocols import DEFAULT, MARK, PROTOCOLS, Protocol
from .report import interval_of, number, report

# Least values of the options.
LEAST = {"observations": 2, "train_observations": 2, "samples": 2, "checked": 2, "images": 1, "steps": 1, "seed": 0}
# Number of training observations that are coded where each takes many steps of inference.
CODED = 5000
# Numbers of images for FID, as published metrics have them.
IMAGES = (5000, 10_000)


@dataclass(frozen=True)
class Request:
    """What ``python -m pyrocount.evaluate`` is asked for; the attributes are its options."""

    run: str
    suite: str | None = None
    protocol: str = DEFAULT.name
    observations: int | None = None
    train_observations: int | None = None
    samples: int = 1000
    checked: int = 500
    images: Sequence[int] | None = None
    inception_weights: str | None = None
    held_out: str = "0.25"
    steps: int | None = None
    restarts: Sequence[str] = ()
    seed: int = 0
    device: str = "auto"


def evaluate_run(given: Request) -> Run:
    """Runs suites on a run folder, and writes their results beside those of earlier evaluations.

    Args:
        given: the run, the suites and their options.

    Raises:
        InputError: naming the argument.
    """
    asked = None if given.suite is None else suites_of(given.suite, given.protocol)
    run = Run(given.run)
    # An evaluation that cannot be read is told before anything is measured.
    _ = run.evaluations
    contexts = _contexts(given)
    own = contexts[given.protocol]
    names = [own.protocol.result(suite) for suite in usual_suites(own)] if asked is None else asked
    failed: list[Exception] = []
    with own.model.on_device():
        for name in names:
            print(f"{name} ...", file=sys.stderr)
            suite, protocol = parts_of(name)
            try:
                _evaluate_and_save(suite, contexts[protocol.name], run)
            except Exception as error:
                # A bug, or too little memory: the other suites still run, and then it is shown.
                print(f"  {name} stopped: {error}", file=sys.stderr)
                failed.append(error)
    run.write_text("report.html", report(run.config.options, run.evaluations, run.path / "figures"))
    print(run.path / "report.html")
    if failed:
        raise failed[0]
    return run


def suites_of(text: str, protocol: str = DEFAULT.name) -> list[str]:
    """Returns the names of results that a text asks for: suites, perhaps with their protocols, with commas between.

    >>> suites_of("sparsity,representation@negbio", "pvae")
    ['sparsity@pvae', 'representation@negbio']

    Args:
        text: ``SUITE`` or ``SUITE@PROTOCOL``, with commas between.
        protocol: protocol of the suites that name none.

    Raises:
        InputError: naming ``--suite``, if there is no such suite, or if the protocol has none of its own; or
            ``--protocol``, if there is no such protocol.
    """
    found = []
    for name in filter(None, text.split(",")):
        suite, mark, own = name.partition(MARK)
        if suite not in SUITES:
            raise InputError("--suite", repr(name), f"some of {', '.join(SUITES)}, with commas between")
        chosen = _protocol(own if mark else protocol)
        if chosen.suites is not None and suite not in chosen.suites:
            problem = f"{suite!r}, of which protocol {chosen.name} has no other way than ours"
            raise InputError("--suite", problem, f"some of {', '.join(chosen.suites)}")
        found.append(chosen.result(suite))
    return found


def parts_of(name: str) -> tuple[str, Protocol]:
    """Returns the suite and the protocol of results in ``evaluation.json``, by their name.

    >>> parts_of("representation@pvae")[0], parts_of("sparsity")[1].name
    ('representation', 'pyrocount')
    """
    suite, mark, protocol = name.partition(MARK)
    return suite, _protocol(protocol) if mark else DEFAULT


def _protocol(name: str) -> Protocol:
    if name not in PROTOCOLS:
        raise InputError("--protocol", repr(name), f"one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def _evaluate_and_save(suite: str, context: EvaluationContext, run: Run) -> None:
    name = context.protocol.result(suite)
    start = time.perf_counter()
    result = SUITES[suite](context)
    seconds = time.perf_counter() - start
    # Figures of different protocols stand beside each other.
    result.figures = {context.protocol.result(figure): drawn for figure, drawn in result.figures.items()}
    own = result.to_json() | {"seconds": seconds, "settings": _settings(context)}
    with run.held(patient=True):
        run.write_json("evaluation.json", {"version": EVALUATION_VERSION, "suites": run.evaluations | {name: own}})
    run.save_figures(result.figures)
    if result.posterior is not None:
        run.save_posterior(result.posterior)
    print(table(name, run.evaluations[name]))


def _contexts(given: Request) -> dict[str, EvaluationContext]:
    """Returns the context of each protocol; all have one model and data."""
    own = _context(given)
    found = {}
    for name, protocol in PROTOCOLS.items():
        context = replace(own, protocol=protocol)
        available = len(context.real_images)
        images = given.images or [number for number in IMAGES if number <= available] or [available]
        found[name] = replace(context, images=tuple(images))
    return found


def _context(given: Request) -> EvaluationContext:
    _ = _protocol(given.protocol)
    for name, least in LEAST.items():
        value = getattr(given, name)
        for size in value or () if name == "images" else (value,):
            if size is not None and size < least:
                raise InputError("--" + name.replace("_", "-"), size, f"a whole number from {least}")
    held_out = _held_out(given.held_out)
    restarts = {Path(path).name: path for path in given.restarts}
    if len(restarts) < len(given.restarts):
        raise InputError("--restarts", " ".join(given.restarts), "folders of different names")
    run = load(given.run)
    data, model = run.data(), _placed(run, given)
    observations = model.tested or len(data.test)
    codes = len(data.train) if model.tested is None else CODED
    return EvaluationContext(
        model=model,
        beta=run.config[ObjectiveOptions].beta,
        data=data,
        observations=min(given.observations or observations, len(data.test)),
        train_observations=min(given.train_observations or codes, len(data.train)),
        samples=given.samples,
        checked=given.checked,
        images=(),
        inception_weights=given.inception_weights,
        held_out=held_out,
        seed=given.seed,
        restarts={name: _restart(path, run, given) for name, path in restarts.items()},
        progress=True,
    )


def _held_out(text: str) -> float | tuple[str, ...]:
    """Returns the part of the channels that is held out, or their names."""
    try:
        part = float(text)
    except ValueError:
        return tuple(name.strip() for name in text.split(",") if name.strip())
    if not 0 < part < 1:
        raise InputError("--held-out", part, "a number between 0 and 1, or names of channels with commas between")
    return part


def _placed(run: Run, given: Request) -> Backend:
    """Returns the model of a run on the device, with the steps of the command line."""
    backend = run.backend.to(given.device)
    return backend if given.steps is None else as_backend(backend.model, steps=given.steps).to(given.device)


def _restart(path: str, run: Run, given: Request) -> Backend:
    other = load(path)
    for name in ("model", "latent_dim", "data", "scaling", "likelihood", "activation"):
        theirs, ours = (one.config.options.get(name) for one in (other, run))
        if theirs != ours:
            raise InputError(
                "--restarts", f"{path} with {name} {theirs}", f"a run with {name} {ours}, as of {given.run}"
            )
    backend = _placed(other, given)
    if backend.shape != run.backend.shape:
        raise InputError(
            "--restarts", f"{path} of data of shape {backend.shape}", f"a run of data of shape {run.backend.shape}"
        )
    return backend


def _settings(context: EvaluationContext) -> dict[str, Any]:
    names = (
        "observations",
        "train_observations",
        "samples",
        "checked",
        "images",
        "inception_weights",
        "held_out",
        "seed",
    )
    return {"protocol": context.protocol.name} | {name: getattr(context, name) for name in names}


def table(name: str, found: dict[str, Any]) -> str:
    """Returns the metrics and checks of a suite, a line each."""
    lines = [f"{name} (protocol {parts_of(name)[1].name}, {found['seconds']:.1f} s)"]
    for metric, value in found["metrics"].items():
        mean, interval = (value["mean"], interval_of(value)) if isinstance(value, dict) else (value, "")
        lines.append(f"  {metric:<34}{number(mean):>12}   {interval}".rstrip())
    lines += [f"  [{check['verdict']}] {check['name']}: {number(check['value'])}" for check in found["checks"]]
    return "\n".join(lines)
