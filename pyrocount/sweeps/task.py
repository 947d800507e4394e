"""One fit of a sweep, in a process of an engine."""

import contextlib
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pyrocount.config import Config
from pyrocount.errors import InputError
from pyrocount.inference import NonFiniteLossError
from pyrocount.run import Run
from pyrocount.suites.run import Request, evaluate_run
from pyrocount.training import StoppedError, fit

from .grid import Task
from .remote import Remote
from .study import follower

Follow = Callable[[Mapping[str, float]], None]
# Folder beside the runs that holds what fits print.
LOGS = "logs"


@dataclass(frozen=True)
class Place:
    """Where a sweep keeps its runs, and what is measured of each.

    Attributes:
        out: folder that holds the runs, or what is known of them.
        suites: suites that measure each run.
        metric: metric by which the fits of a search are compared.
        remote: address of the folder that holds the runs, in place of ``out``.
    """

    out: str
    suites: tuple[str, ...] = ()
    metric: str = "nelbo"
    remote: str | None = None

    def run(self, task: Task) -> Path:
        """Returns the folder of a task's run."""
        return Path(self.out) / task.name

    def log(self, task: Task) -> Path:
        """Returns the file with what a task printed."""
        return Path(self.out) / LOGS / f"{task.name}.txt"


@dataclass(frozen=True)
class Outcome:
    """How a task ended.

    Attributes:
        name: name of the run.
        seconds: seconds that it took.
        problem: why it failed, in one line; None if it did not.
        trial: number of the fit in a search.
        stopped: epoch at which a search stopped it; None if it did not.
    """

    name: str
    seconds: float
    problem: str | None = None
    trial: int | None = None
    stopped: int | None = None


def state(task: Task, place: Place) -> str:
    """Returns whether the run of a task is ``finished``, ``started`` or ``new``.

    Raises:
        InputError: naming ``out``, if it holds another run of this name.
    """
    path = place.run(task)
    if not (path / "config.json").is_file():
        return "new"
    if Run(path).config.identity() != task.config.identity():
        raise InputError(
            "out", f"{place.out}, which holds another run {task.name}", "the folder of this sweep, or a new one"
        )
    measured = Run(path).is_finished and set(place.suites) <= Run(path).evaluations.keys()
    return "finished" if measured else "started"


def run_task(task: Task, place: Place) -> Outcome:
    """Fits and measures what a task is still without; what it prints goes into its log.

    A run in a remote folder is made in a local one, and copied after each epoch.
    """
    if place.remote is None:
        return _run(task, place)
    with tempfile.TemporaryDirectory(prefix="pyrocount-") as scratch:
        remote, here = Remote(place.remote), replace(place, out=scratch, remote=None)
        remote.pull(task.name, Path(scratch))
        own = replace(task, options=task.options | {"out": scratch})
        try:
            return _run(own, here, lambda row: remote.push(here.run(task)))
        finally:
            remote.push(here.run(task))
            remote.push(here.log(task).parent)


def _run(task: Task, place: Place, follow: Follow | None = None) -> Outcome:
    start = time.perf_counter()
    place.log(task).parent.mkdir(parents=True, exist_ok=True)
    problem = stopped = None
    with place.log(task).open("a") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        try:
            _finish(task, place, follow)
        except StoppedError as error:
            stopped = error.args[0]
            print(f"stopped after epoch {stopped}, worse than other fits", file=sys.stderr)
        except InputError as error:
            problem = f"{error.argument}: {error.problem}"
        except NonFiniteLossError as error:
            problem = f"not finite at {error}"
        except Exception as error:
            traceback.print_exc(file=log)
            problem = f"{type(error).__name__}: {' '.join(str(error).split())}"
        if problem is not None:
            print(problem, file=sys.stderr)
    return Outcome(task.name, time.perf_counter() - start, problem, task.trial, stopped)


def _finish(task: Task, place: Place, follow: Follow | None) -> None:
    path = place.run(task)
    if not (path / "summary.json").is_file():
        options = dict(task.options)
        if (path / "checkpoint.pt").is_file():
            options = Run(path).config.options | {"out": place.out, "resume": True}
        if task.trial is not None:
            follow = follower(task, place.out, place.metric)
        fit(Config(**options | {"name": task.name}), follow)
    if missing := [name for name in place.suites if name not in Run(path).evaluations]:
        evaluate_run(Request(str(path), ",".join(missing), device=task.config.options["device"]))


def failed(outcomes: Sequence[Outcome]) -> list[str]:
    """Returns a line for each task that failed."""
    return [f"{outcome.name}: {outcome.problem}" for outcome in outcomes if outcome.problem is not None]
