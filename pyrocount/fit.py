"""Command ``python -m pyrocount.fit``: trains a model, measures and draws it, and keeps all in a run folder."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from pyrocount.backends import Backend, Evaluation, build
from pyrocount.command_line import option_name, parse, run_command
from pyrocount.config import Config, RunOptions
from pyrocount.data import Dataset
from pyrocount.inference import NonFiniteLossError
from pyrocount.process.state import own_state
from pyrocount.run import Run, fingerprint, load_data

# Metrics of held-out data in the history.
FOLLOWED = ("nelbo", "kl", "mse", "r2", "bits_per_spike")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Returns:
        The exit code: 0, 1 for a loss that is not finite, 2 for bad input, 130 for Ctrl-C.
    """
    given = sys.argv[1:] if arguments is None else arguments
    return run_command("pyrocount.fit", lambda: fit(parse(given)), option_name)


@own_state()
def fit(config: Config) -> Run:
    """Trains, evaluates and draws a model; returns its run.

    Raises:
        InputError: for bad data, a name that is taken, a folder that cannot be written, or no CUDA device.
        NonFiniteLossError: if training diverges; the last good checkpoint is kept.
    """
    data = load_data(config)
    torch.manual_seed(config.seed)
    backend = build(config, data.shape)
    backend.check_data(config, data)
    place = config[RunOptions]
    run = Run.resume(place.out, place.name) if place.resume else Run.start(config, data.name)
    with run.held():
        initial, final = _train(config, data, backend, run)
    for remark in backend.remarks(config, data, final):
        print(remark, file=sys.stderr)
    print(_table({"test": final.metrics, "initially": initial} | _yardsticks(backend, data)))
    print(run.path)
    return run


def _train(config: Config, data: Dataset, backend: Backend, run: Run) -> tuple[dict[str, float], Evaluation]:
    """Trains, evaluates and draws the model into its run; returns the metrics of the start, and the evaluation."""
    checkpoint, own = None, fingerprint(data)
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

        training = checkpoint and checkpoint["training"]
        history = backend.train(config, data, monitor=monitor, save=save, checkpoint=training)
        final = backend.evaluate_held_out(config, data)
        run.finish(backend, data, final, history)
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


if __name__ == "__main__":
    sys.exit(main())
