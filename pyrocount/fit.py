"""The command ``python -m pyrocount.fit``: configuration, data, model, inference, run folder."""

import json
import shlex
import sys
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyro
import torch
from torch import Tensor

from pyrocount.amortized import AmortizedFitting, build
from pyrocount.command_line import option, parse, read_config, run_command
from pyrocount.config import Config
from pyrocount.data import Dataset, load_dataset
from pyrocount.errors import InputError, needing
from pyrocount.fitting import Fitting
from pyrocount.inference import NonFiniteLossError
from pyrocount.metrics import mean_squared_error, r_squared
from pyrocount.models import ITERATIVE, VAE
from pyrocount.run import RunFolder

if TYPE_CHECKING:
    from pyrocount.iterative import Iterative


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Returns:
        The exit code: 0, 1 for a loss that is not finite, 2 for bad input, 130 for Ctrl-C.
    """
    try:
        given = sys.argv[1:] if arguments is None else arguments
        return run_command("pyrocount.fit", lambda: fit(parse(given)), option)
    except NonFiniteLossError as error:
        return _stop(1, f"stopped: not finite at {error}", error)
    except KeyboardInterrupt as interrupt:
        return _stop(130, "interrupted", interrupt)


def _stop(code: int, message: str, reason: BaseException) -> int:
    print("pyrocount.fit: " + "; ".join([message, *getattr(reason, "__notes__", [])]), file=sys.stderr)
    return code


def fit(config: Config) -> RunFolder:
    """Trains, evaluates and draws a model; returns its run folder.

    Raises:
        InputError: for bad data, a name that is taken, a folder that cannot be written, or no CUDA device.
        NonFiniteLossError: if training diverges; the last good checkpoint is kept.
    """
    config = config.resolved()
    data = load_data(config)
    if config.flip and len(data.shape) != 3:
        raise InputError("flip", f"it for observations of shape {data.shape}", "images (channels, height, width)")
    torch.manual_seed(config.seed)
    fitting = make_fitting(config, data)
    fitting.check()
    if config.resume:
        run = RunFolder.open(config.out, config.name)
    else:
        run = RunFolder.create(config.out, config.name, f"{config.model}-{data.name}-{config.seed}")
    with training_settings():
        try:
            _fit(config, data, fitting, run)
        except KeyboardInterrupt as interrupt:
            interrupt.add_note(_how_to_go_on(run))
            raise
        except NonFiniteLossError as error:
            # The same options would end at the same step.
            error.add_note(f"{run.path} keeps the last good checkpoint; try a smaller --lr or a larger --scale")
            raise
    return run


@contextmanager
def training_settings() -> Iterator[None]:
    """Pyro without validation and with parameters of modules' own, within."""
    with (
        pyro.validation_enabled(False),
        pyro.settings.context(module_local_params=True),
        warnings.catch_warnings(),
    ):
        # The training loop stops at a loss that is not finite and says more than Pyro.
        warnings.filterwarnings("ignore", "Encountered (NaN|\\+?-?inf)", UserWarning)
        yield


def make_fitting(config: Config, data: Dataset) -> Fitting:
    """The model of a resolved configuration with fresh weights, ready to be trained.

    Raises:
        InputError: naming ``model``, if JAX is not installed and the model needs it, or ``device``, if there is none.
    """
    if config.model not in ITERATIVE:
        return AmortizedFitting(config, data)
    return _iterative_fitting()(config, data)


def _iterative_fitting() -> Any:
    """The class, which brings JAX.

    Raises:
        InputError: naming ``model``, if JAX is not installed.
    """
    with needing("numpyro", "model", "an iterative one"):
        from pyrocount.fit_iterative import IterativeFitting
    return IterativeFitting


def load_data(config: Config) -> Dataset:
    """The observations of a resolved configuration.

    Raises:
        InputError: for bad data.
    """
    return load_dataset(
        config.data,
        seed=config.seed,
        test_fraction=config.test_fraction,
        scaling=config.scaling,
        data_dir=config.data_dir,
        download=config.download,
        whiten=config.whiten,
        exposure=config.exposure,
    )


def rebuild(config: Config, shape: Sequence[int], weights: Mapping[str, Tensor]) -> "VAE | Iterative":
    """The model of a configuration with saved weights: a VAE on the CPU and in evaluation mode, or an iterative one."""
    config = config.resolved()
    if config.model in ITERATIVE:
        iterative: Iterative = _iterative_fitting().load(config, shape, weights)
        return iterative
    vae = build(config, shape)
    vae.load_state_dict(weights)
    return vae.eval()


def load(path: str | Path) -> "VAE | Iterative":
    """The fitted model of a run folder: a VAE on the CPU and in evaluation mode, or an iterative model.

    It takes data in the units of training. ``offset`` and ``scale`` of the original values are in the metadata of
    ``model.safetensors``.

    Raises:
        InputError: if the folder holds no finished run.
    """
    run = RunFolder(path)
    weights, metadata = run.load_weights()
    return rebuild(read_config(run), json.loads(metadata["data"])["shape"], weights)


def load_vae(path: str | Path) -> VAE:
    """The fitted VAE of a run folder.

    Raises:
        InputError: if the folder holds no finished run, or one of an iterative model.
    """
    model = load(path)
    if not isinstance(model, VAE):
        raise InputError("RUN", f"{path} with an iterative model", "a model with an encoder")
    return model


def _fit(config: Config, data: Dataset, fitting: Fitting, run: RunFolder) -> None:
    fingerprint = 0
    for part in (data.train, data.test, data.train_exposure, data.test_exposure):
        fingerprint = fingerprint if part is None else zlib.crc32(np.ascontiguousarray(part).data, fingerprint)

    checkpoint = None
    if config.resume:
        checkpoint = _checked(run, config, fingerprint)
        initial = checkpoint["initial"]
        run.write_metrics(checkpoint["training"]["history"])
    else:
        run.write_json("config.json", asdict(config) | {"resume": False})
        initial = fitting.evaluate().figures
    print(_description(data), file=sys.stderr)

    def monitor() -> dict[str, float]:
        now = fitting.evaluate(quick=True).figures
        return {"mean_rate": now["mean_rate"]} | {f"test_{name}": now[name] for name in ("nelbo", "kl", "mse", "r2")}

    def save(state: dict[str, Any]) -> None:
        identity = {"config": config.identity(), "data": fingerprint, "initial": initial}
        run.save_checkpoint(identity | {"training": state})
        if state["history"]:
            run.append_metrics(state["history"][-1])

    history = fitting.train(monitor, save, checkpoint and checkpoint["training"])

    final = fitting.evaluate()
    units: dict[str, Any] = {"shape": data.shape, "offset": data.offset, "scale": data.scale}
    units["exposure"] = data.train_exposure is not None
    run.save_weights(fitting.weights(), {"data": json.dumps(units)})
    fitting.draw(run, final, history)
    run.write_json("summary.json", final.figures)
    for remark in fitting.remarks(final):
        print(remark, file=sys.stderr)
    print(_table(final.figures, initial, _mean_image(data)))
    print(run.path)


def _checked(run: RunFolder, config: Config, fingerprint: int) -> dict[str, Any]:
    """The checkpoint of a run, if it is of this configuration and these data."""
    checkpoint = run.load_checkpoint()
    for name, value in config.identity().items():
        if checkpoint["config"].get(name) != value:
            problem = f"{run.path.name}, whose checkpoint.pt has {name} {checkpoint['config'].get(name)}"
            raise InputError("name", problem, f"a checkpoint of its own configuration, with {name} {value}")
    if checkpoint["data"] != fingerprint:
        raise InputError("data", f"{config.data}, which has changed since the run began", "the data that it began with")
    return checkpoint


def _description(data: Dataset) -> str:
    axes = ("channels", "height", "width") if len(data.shape) == 3 else ("features",)
    shape = " x ".join(f"{size} {axis}" for size, axis in zip(data.shape, axes, strict=True))
    return f"{data.name}: {len(data.train)} observations for training, {len(data.test)} for testing, of {shape}"


def _how_to_go_on(run: RunFolder) -> str:
    if not (run.path / "checkpoint.pt").is_file():
        return f"{run.path} holds no checkpoint yet"
    options = [f"--name={run.path.name}", "--resume"]
    if run.path.parent != Path(Config.out):
        options.insert(1, f"--out={run.path.parent}")
    return f"{run.path} keeps the last checkpoint; to go on: python -m pyrocount.fit {shlex.join(options)}"


def _mean_image(data: Dataset) -> dict[str, float]:
    """What predicting the mean of the training set achieves."""
    mean, test = data.mean(), data.test_units()
    return {"mse": mean_squared_error(test, mean), "r2": r_squared(test, mean)}


def _table(test: Mapping[str, float], initial: Mapping[str, float], mean_image: Mapping[str, float]) -> str:
    def cell(figures: Mapping[str, float], name: str) -> str:
        return f"{figures[name]:.4g}" if name in figures else ""

    columns = {"test": test, "initially": initial, "mean image": mean_image}
    rows = [["figure (exact samples)", *columns]]
    rows += [[name, *(cell(figures, name) for figures in columns.values())] for name in test]
    return "\n".join(f"{row[0]:<22}" + "".join(f"{value:>12}" for value in row[1:]) for row in rows)


if __name__ == "__main__":
    sys.exit(main())
