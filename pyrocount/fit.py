"""The command ``python -m pyrocount.fit``: configuration, data, model, inference, run folder."""

import json
import shlex
import sys
import warnings
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import torch
from pyro.infer import Trace_ELBO

from pyrocount import figures
from pyrocount.config import Config, UsageError, option, parse, read_config
from pyrocount.data import Dataset, load_dataset
from pyrocount.distributions import ArrivalTimes, GumbelSoftmax, Relaxation, SteinChen, StraightThrough
from pyrocount.errors import InputError
from pyrocount.evaluate import Evaluation, dictionary, evaluate, prior_samples
from pyrocount.inference import NonFiniteLossError, StrictMeanField_ELBO, anneal, train
from pyrocount.metrics import mean_squared_error, r_squared
from pyrocount.models import VAE, make_vae
from pyrocount.run import RunFolder

# Temperature and KL weight at the start of training; Pyro scales only by positive numbers.
FIRST_TEMPERATURE = 1.0
FIRST_KL_WEIGHT = 1e-4
# Held-out observations that the history follows; the final figures use all.
MONITORED = 1000

ELBOS = {"shared": StrictMeanField_ELBO, "exact": StrictMeanField_ELBO, "mc": Trace_ELBO}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Returns:
        The exit code: 0, 1 for a loss that is not finite, 2 for bad input, 130 for Ctrl-C.
    """
    try:
        fit(parse(sys.argv[1:] if arguments is None else arguments))
    except UsageError as error:
        return _stop(2, f"error: {error}; --help lists the options")
    except InputError as error:
        return _stop(2, f"error: {option(error.argument)}: {error.problem}")
    except NonFiniteLossError as error:
        return _stop(1, f"stopped: not finite at {error}", error)
    except KeyboardInterrupt as interrupt:
        return _stop(130, "interrupted", interrupt)
    return 0


def _stop(code: int, message: str, reason: BaseException | None = None) -> int:
    print("pyrocount.fit: " + "; ".join([message, *getattr(reason, "__notes__", [])]), file=sys.stderr)
    return code


def fit(config: Config) -> RunFolder:
    """Trains, evaluates and draws a model; returns its run folder.

    Raises:
        InputError: for bad data, a name that is taken, a folder that cannot be written, or no CUDA device.
        NonFiniteLossError: if training diverges; the last good checkpoint is kept.
    """
    config.check()
    device = config.torch_device()
    data = load_dataset(
        config.data, seed=config.seed, test_fraction=config.test_fraction, standardize=config.standardize
    )
    torch.manual_seed(config.seed)
    try:
        vae = build(config, data.shape).to(device)
    except RuntimeError as error:
        if "memory" not in str(error):
            raise
        raise InputError("latent_dim", config.latent_dim, f"a model that fits into the memory of {device}") from error
    if config.resume:
        run = RunFolder.open(config.out, config.name)
    else:
        run = RunFolder.create(config.out, config.name, f"{config.model}-{data.name}-{config.seed}")
    with (
        pyro.validation_enabled(False),
        pyro.settings.context(module_local_params=True),
        warnings.catch_warnings(),
    ):
        # The training loop stops at a loss that is not finite and says more than Pyro.
        warnings.filterwarnings("ignore", "Encountered (NaN|\\+?-?inf)", UserWarning)
        try:
            _fit(config, data, vae, device, run)
        except KeyboardInterrupt as interrupt:
            interrupt.add_note(_how_to_go_on(run))
            raise
        except NonFiniteLossError as error:
            # The same options would end at the same step.
            error.add_note(f"{run.path} keeps the last good checkpoint; try a smaller --lr or a larger --scale")
            raise
    return run


def build(config: Config, shape: Sequence[int]) -> VAE:
    """The model that a configuration describes, for observations of this shape, with fresh weights."""
    return make_vae(
        config.model,
        shape,
        latent_dim=config.latent_dim,
        relaxation=_relaxation(config, config.temperature),
        encoder=config.encoder,
        decoder=config.decoder,
        scale=config.scale,
        shared_dispersion=config.kl == "shared",
    )


def load(path: str | Path) -> VAE:
    """The fitted model of a run folder, on the CPU and in evaluation mode.

    It takes data in the units of training: standardised, unless the run was not. ``offset`` and ``scale`` of the
    original values are in the metadata of ``model.safetensors``.

    Raises:
        InputError: if the folder holds no finished run.
    """
    run = RunFolder(path)
    weights, metadata = run.load_weights()
    vae = build(read_config(run), json.loads(metadata["data"])["shape"])
    vae.load_state_dict(weights)
    return vae.eval()


def _relaxation(config: Config, temperature: float) -> Relaxation:
    match config.estimator:
        case "gumbel":
            return GumbelSoftmax(temperature, config.max_count)
        case "stein":
            return SteinChen()
        case "straight-through":
            return StraightThrough()
        case _:
            return ArrivalTimes(temperature, config.indicator, hard=config.estimator == "arrival-hard")


def _fit(config: Config, data: Dataset, vae: VAE, device: torch.device, run: RunFolder) -> None:
    fingerprint = zlib.crc32(data.test.tobytes(), zlib.crc32(data.train.tobytes()))
    training, test = torch.from_numpy(data.train).to(device), torch.from_numpy(data.test).to(device)
    test_figures = partial(evaluate, vae, beta=config.beta, seed=config.seed)

    checkpoint = None
    if config.resume:
        checkpoint = _checked(run, config, fingerprint)
        initial = checkpoint["initial"]
        run.write_metrics(checkpoint["training"]["history"])
    else:
        run.write_json("config.json", asdict(config) | {"resume": False})
        initial = test_figures(test).figures
    print(_description(data), file=sys.stderr)

    def schedule(progress: float) -> dict[str, float]:
        temperature = anneal(FIRST_TEMPERATURE, config.temperature, progress)
        vae.latent.relaxation = _relaxation(config, temperature)
        vae.kl_weight = anneal(FIRST_KL_WEIGHT, config.beta, progress)
        return {"kl_weight": vae.kl_weight, "temperature": temperature}

    def monitor() -> dict[str, float]:
        now = test_figures(test[:MONITORED], samples=1).figures
        return {"mean_rate": now["mean_rate"]} | {f"test_{name}": now[name] for name in ("nelbo", "kl", "mse", "r2")}

    def save(state: dict[str, Any]) -> None:
        identity = {"config": config.identity(), "data": fingerprint, "initial": initial}
        run.save_checkpoint(identity | {"training": state})
        if state["history"]:
            run.append_metrics(state["history"][-1])

    history = train(
        # Pyro takes any callables here, whatever its annotations say.
        ELBOS[config.kl]()(vae.model, vae.guide),  # type: ignore[arg-type]
        vae,
        torch.optim.Adam(vae.parameters(), lr=config.lr, fused=True),
        training,
        epochs=config.epochs,
        batch_size=config.batch_size,
        max_gradient_norm=config.max_gradient_norm,
        anneal=schedule,
        monitor=monitor,
        save=save,
        checkpoint=checkpoint and checkpoint["training"],
    )

    final = test_figures(test)
    units = {"shape": data.shape, "offset": data.offset, "scale": data.scale}
    run.save_weights(vae.state_dict(), {"data": json.dumps(units)})
    _draw(run, vae, data, final, history)
    run.write_json("summary.json", final.figures)
    capped = float((final.counts > config.max_count).mean())
    if config.estimator == "gumbel" and capped > 0:
        problem = f"{capped:.2%} of the posterior counts are larger, which training could not see"
        print(f"warning: --max-count {config.max_count}: {problem}", file=sys.stderr)
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
    mean = data.train.mean(0, keepdims=True)
    return {"mse": mean_squared_error(data.test, mean), "r2": r_squared(data.test, mean)}


def _table(test: Mapping[str, float], initial: Mapping[str, float], mean_image: Mapping[str, float]) -> str:
    def cell(figures: Mapping[str, float], name: str) -> str:
        return f"{figures[name]:.4g}" if name in figures else ""

    columns = {"test": test, "initially": initial, "mean image": mean_image}
    rows = [["figure (exact counts)", *columns]]
    rows += [[name, *(cell(figures, name) for figures in columns.values())] for name in test]
    return "\n".join(f"{row[0]:<22}" + "".join(f"{value:>12}" for value in row[1:]) for row in rows)


def _draw(run: RunFolder, vae: VAE, data: Dataset, final: Evaluation, history: Sequence[Mapping[str, float]]) -> None:
    by_information = np.argsort(-final.latent_kl)
    limits = float(data.test.min()), float(data.test.max())
    run.save_figure("reconstructions", figures.reconstructions(data.test, final.reconstructions))
    run.save_figure("samples", figures.samples(prior_samples(vae, 60), limits=limits))
    run.save_figure("dictionary", figures.dictionary(dictionary(vae)[by_information]))
    run.save_figure("training", figures.training_curves(history))
    run.save_figure("counts", figures.count_histograms(final.counts, by_information[:8].tolist()))


if __name__ == "__main__":
    sys.exit(main())
