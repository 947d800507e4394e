"""From a configuration to a finished run: trains a model, measures and draws it, and keeps all in a run folder."""

import math
import shlex
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from pyrocount.backends import Backend, Evaluation, build
from pyrocount.config import Config, RunOptions
from pyrocount.data import Dataset
from pyrocount.inference import NonFiniteLossError
from pyrocount.process import group
from pyrocount.process.memory import keep_freed
from pyrocount.process.state import own_state
from pyrocount.run import Run, fingerprint, load_data

from .tracking import tracker

# Metrics of held-out data in the history.
FOLLOWED = ("nelbo", "kl", "mse", "r2", "bits_per_spike")


class StoppedError(Exception):
    """Error of a fit that its follower stops; the argument is the last epoch, of which there is a checkpoint."""


@own_state()
def fit(config: Config, follow: Callable[[Mapping[str, float]], None] | None = None) -> Run:
    """Trains, evaluates and draws a model; returns its run.

    Of the processes that ``torchrun`` starts, all train, and the first one writes.

    Args:
        config: the configuration.
        follow: called with each row of the history, after the checkpoint; it may raise an error to stop the fit.

    Raises:
        InputError: for bad data, a name that is taken, a folder that cannot be written, or no CUDA device.
        NonFiniteLossError: if training diverges; the last good checkpoint is kept.
    """
    keep_freed()
    with group.joined(config[RunOptions].device, jax=config.spec.inference == "iterative"):
        return _fit(config, follow)


def _fit(config: Config, follow: Callable[[Mapping[str, float]], None] | None) -> Run:
    data = load_data(config)
    torch.manual_seed(config.seed)
    backend = build(config, data.shape)
    backend.check_data(config, data)
    place = config[RunOptions]
    if group.rank():
        return _train_along(config, data, backend)
    run = Run.resume(place.out, place.name) if place.resume else Run.start(config, data.name)
    with run.held():
        initial, final = _train(config, data, backend, run, follow)
    for remark in backend.remarks(config, data, final):
        print(remark, file=sys.stderr)
    print(_table({"test": final.metrics, "initially": initial} | _yardsticks(backend, data)))
    print(run.path)
    return run


def _train_along(config: Config, data: Dataset, backend: Backend) -> Run:
    """Trains with the first process, which writes, and measures alone or with the others."""
    place, checkpoint = config[RunOptions], None
    run = Run(Path(place.out) / str(place.name))
    if place.resume:
        checkpoint = run.matching_checkpoint(config, fingerprint(data))["training"]
    else:
        backend.adapt(data)

    def measure(quick: bool = False) -> dict[str, float]:
        if backend.measures_together:
            backend.evaluate_held_out(config, data, quick)
        return {"mean_rate": math.nan}

    if checkpoint is None:
        measure()
    backend.train(
        config,
        data,
        monitor=partial(measure, True),
        save=lambda state: None,
        checkpoint=checkpoint,
        progress=False,
    )
    measure()
    return run


def _train(
    config: Config,
    data: Dataset,
    backend: Backend,
    run: Run,
    follow: Callable[[Mapping[str, float]], None] | None,
) -> tuple[dict[str, float], Evaluation]:
    """Trains, evaluates and draws the model into its run; returns the metrics of the start, and the evaluation."""
    checkpoint, own = None, fingerprint(data)
    follower = tracker(config[RunOptions].log, run.path, config.identity())
    try:
        if config[RunOptions].resume:
            checkpoint = run.matching_checkpoint(config, own)
            initial = checkpoint["initial"]
            run.write_history(checkpoint["training"]["history"])
        else:
            backend.adapt(data)
            initial = backend.evaluate_held_out(config, data).metrics
        for line in [_description(data), *data.remarks(backend.observes_counts)]:
            print(line, file=sys.stderr)

        def monitor() -> dict[str, float]:
            now = backend.evaluate_held_out(config, data, quick=True).metrics
            return {"mean_rate": now["mean_rate"]} | {f"test_{name}": now[name] for name in FOLLOWED if name in now}

        def save(state: dict[str, Any]) -> None:
            run.save_checkpoint({"config": config.identity(), "data": own, "initial": initial, "training": state})
            if state["history"]:
                run.append_history(state["history"][-1])
                follower.row(state["history"][-1])
                if follow is not None:
                    follow(state["history"][-1])

        training = checkpoint and checkpoint["training"]
        history = backend.train(config, data, monitor=monitor, save=save, checkpoint=training)
        final = backend.evaluate_held_out(config, data)
        run.finish(backend, data, final, history)
        follower.finish(final.metrics, run.path / "figures")
    except KeyboardInterrupt as interrupt:
        interrupt.add_note(_how_to_go_on(run))
        raise
    except NonFiniteLossError as error:
        # The same options would end at the same step.
        error.add_note(f"{run.path} keeps the last good checkpoint; try a smaller --lr or a larger --scale")
        raise
    return initial, final


def _description(data: Dataset) -> str:
    axes = ("channels", "height", "width") if len(data.shape) == 3 else ("features",)
    shape = " x ".join(f"{size} {axis}" for size, axis in zip(data.shape, axes, strict=True))
    return f"{data.name}: {len(data.train)} observations for training, {len(data.test)} for testing, of {shape}"


def _how_to_go_on(run: Run) -> str:
    if not (run.path / "checkpoint.pt").is_file():
        return f"{run.path} holds no checkpoint yet; the same command starts it again"
    options = [f"--name={run.path.name}", "--resume"]
    if run.path.parent != Path(RunOptions.out):
        options.insert(1, f"--out={run.path.parent}")
    return f"{run.path} keeps the last checkpoint; to go on: python -m pyrocount.fit {shlex.join(options)}"


def _yardsticks(backend: Backend, data: Dataset) -> dict[str, dict[str, float]]:
    """Returns the metrics of the mean of the training set: of counts, of the mean rates with either distribution."""
    marginal = backend.marginal(data)
    if not backend.observes_counts:
        metrics = marginal.distances(data.mean())
        if backend.has_density:
            metrics = {"nelbo": float(marginal.nll.mean())} | metrics
        return {"mean image" if len(data.shape) == 3 else "mean": metrics}
    shared = marginal.distances(marginal.rates)
    return {
        name: {"nelbo": float(nll.mean()), "bits_per_spike": marginal.bits_per_spike(nll)} | shared
        for name, nll in (("mean rate", marginal.rate_nll), ("mean rate, NB", marginal.overdispersed_nll))
    }


def _table(columns: Mapping[str, Mapping[str, float]]) -> str:
    def cell(metrics: Mapping[str, float], name: str) -> str:
        return f"{metrics[name]:.4g}" if name in metrics else ""

    rows = [["metric (exact samples)", *columns]]
    rows += [[name, *(cell(metrics, name) for metrics in columns.values())] for name in columns["test"]]
    return "\n".join(f"{row[0]:<22}" + "".join(f"{value:>14}" for value in row[1:]) for row in rows)
