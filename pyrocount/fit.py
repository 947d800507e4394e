"""The command ``python -m pyrocount.fit``: configuration, data, model, inference, run folder."""

import json
import shlex
import sys
import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import torch
from numpy.typing import NDArray
from pyro.infer import ELBO, Trace_ELBO
from torch import Tensor, nn

from pyrocount import figures
from pyrocount.command_line import option, parse, read_config, run_command
from pyrocount.config import Config
from pyrocount.data import Dataset, load_dataset
from pyrocount.errors import InputError
from pyrocount.evaluate import Evaluation, dictionary, evaluate, prior_samples
from pyrocount.inference import (
    SPARSE_CODERS,
    NonFiniteLossError,
    ScoreFunction_ELBO,
    StrictMeanField_ELBO,
    anneal,
    cosine,
    train,
)
from pyrocount.metrics import mean_squared_error, r_squared
from pyrocount.models import VAE, CollapsedVAE, CountLatent, make_vae
from pyrocount.run import RunFolder

# Temperature and KL weight at the start of training; Pyro scales only by positive numbers.
FIRST_TEMPERATURE = 1.0
FIRST_KL_WEIGHT = 1e-4
# Held-out observations that the history follows; the final figures use all.
MONITORED = 1000


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
    device = config.torch_device()
    data = load_data(config)
    if config.flip and len(data.shape) != 3:
        raise InputError("flip", f"it for observations of shape {data.shape}", "images (channels, height, width)")
    torch.manual_seed(config.seed)
    try:
        vae = build(config, data.shape).to(device)
    except RuntimeError as error:
        if "memory" not in str(error):
            raise
        raise InputError("latent_dim", config.latent_dim, f"a model that fits into the memory of {device}") from error
    for part in chain(*(torch.from_numpy(part).split(10_000) for part in (data.train, data.test))):
        if not vae.likelihood.accepts(data.to_units(part)):
            problem = f"{config.data}, whose values are not all {vae.likelihood.support}"
            raise InputError("data", problem, f"such values for --likelihood {config.likelihood}")
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


def build(config: Config, shape: Sequence[int]) -> VAE:
    """The model that a configuration describes, for observations of this shape, with fresh weights."""
    config = config.resolved()
    return make_vae(
        config.model,
        shape,
        latent_dim=config.latent_dim,
        estimator=config.estimator,
        temperature=config.temperature,
        indicator=config.indicator,
        max_count=config.max_count,
        shared_dispersion=config.kl == "shared",
        activation=config.activation,
        initial_rate=config.initial_rate,
        encoder=config.encoder or "lin",
        decoder=config.decoder or "lin",
        output=config.output or "identity",
        weight_norm=config.weight_norm,
        blocks=config.blocks,
        likelihood=config.likelihood,
        scale=config.scale,
        learn_scale=config.learn_scale,
        infer=_sparse_coder(config),
    )


def _sparse_coder(config: Config) -> Callable[[Tensor, Tensor], Tensor] | None:
    """The inference of the codes that minimise the very loss: its terms are over scale^2 here and there."""
    if config.model not in SPARSE_CODERS:
        return None
    sparsity = config.beta * config.scale**2
    return partial(SPARSE_CODERS[config.model], sparsity=sparsity, steps=config.inference_steps)


def make_elbo(config: Config, vae: VAE) -> nn.Module:
    """The loss of a resolved configuration's estimator and KL divergence.

    Args:
        config: resolved.
        vae: the model that it describes.

    Returns:
        A module that takes a batch (N, \\*shape), and its exposure (N,) where there is one, and gives the negative
        ELBO, in nats, summed over the batch.

    Raises:
        InputError: naming ``estimator``, if the exact one does not fit the model.
    """
    if config.estimator == "exact":
        collapsed = CollapsedVAE(vae)
        return Trace_ELBO()(collapsed.model, collapsed.guide)  # type: ignore[arg-type]
    if config.estimator == "score":
        elbo: ELBO = ScoreFunction_ELBO(num_particles=config.samples)
    else:
        kind = Trace_ELBO if config.kl == "mc" else StrictMeanField_ELBO
        elbo = kind(num_particles=config.samples, vectorize_particles=config.samples > 1, max_plate_nesting=1)
    # Pyro takes any callables here, whatever its annotations say.
    return elbo(vae.model, vae.guide)  # type: ignore[arg-type]


def load(path: str | Path) -> VAE:
    """The fitted model of a run folder, on the CPU and in evaluation mode.

    It takes data in the units of training. ``offset`` and ``scale`` of the original values are in the metadata of
    ``model.safetensors``.

    Raises:
        InputError: if the folder holds no finished run.
    """
    run = RunFolder(path)
    weights, metadata = run.load_weights()
    vae = build(read_config(run), json.loads(metadata["data"])["shape"])
    vae.load_state_dict(weights)
    return vae.eval()


def _fit(config: Config, data: Dataset, vae: VAE, device: torch.device, run: RunFolder) -> None:
    fingerprint = 0
    for part in (data.train, data.test, data.train_exposure, data.test_exposure):
        fingerprint = fingerprint if part is None else zlib.crc32(np.ascontiguousarray(part).data, fingerprint)
    test = torch.from_numpy(data.test_units()).to(device)
    windows = None if data.test_exposure is None else torch.from_numpy(data.test_exposure).to(device)
    test_figures = partial(evaluate, vae, beta=config.beta, seed=config.seed)

    checkpoint = None
    if config.resume:
        checkpoint = _checked(run, config, fingerprint)
        initial = checkpoint["initial"]
        run.write_metrics(checkpoint["training"]["history"])
    else:
        run.write_json("config.json", asdict(config) | {"resume": False})
        initial = test_figures(test, windows).figures
    print(_description(data), file=sys.stderr)

    def schedule(progress: float) -> dict[str, float]:
        exponential = config.temperature_schedule == "exponential"
        temperature = anneal(FIRST_TEMPERATURE, config.temperature, progress, config.anneal, exponential)
        vae.latent.set_temperature(temperature)
        vae.kl_weight = anneal(FIRST_KL_WEIGHT, config.beta, progress, config.anneal)
        return {"kl_weight": vae.kl_weight, "temperature": temperature}

    def monitor() -> dict[str, float]:
        first = None if windows is None else windows[:MONITORED]
        now = test_figures(test[:MONITORED], first, samples=1).figures
        return {"mean_rate": now["mean_rate"]} | {f"test_{name}": now[name] for name in ("nelbo", "kl", "mse", "r2")}

    def save(state: dict[str, Any]) -> None:
        identity = {"config": config.identity(), "data": fingerprint, "initial": initial}
        run.save_checkpoint(identity | {"training": state})
        if state["history"]:
            run.append_metrics(state["history"][-1])

    history = train(
        make_elbo(config, vae),
        vae,
        _optimizer(config, vae),
        [_placed(part, device) for part in (data.train, data.train_exposure) if part is not None],
        epochs=config.epochs,
        batch_size=config.batch_size,
        max_gradient_norm=config.max_gradient_norm,
        anneal=schedule,
        monitor=monitor,
        save=save,
        prepare=partial(_flipped, data) if config.flip else data.to_units,
        learning_rate=partial(cosine, warmup=config.warmup),
        checkpoint=checkpoint and checkpoint["training"],
    )

    final = test_figures(test, windows)
    units = {"shape": data.shape, "offset": data.offset, "scale": data.scale}
    run.save_weights(vae.state_dict(), {"data": json.dumps(units)})
    _draw(run, vae, data, final, history)
    run.write_json("summary.json", final.figures)
    capped = float((final.counts > config.max_count).mean())
    if config.estimator == "gumbel" and isinstance(vae.latent, CountLatent) and capped > 0:
        problem = f"{capped:.2%} of the posterior counts are larger, which training could not see"
        print(f"warning: --max-count {config.max_count}: {problem}", file=sys.stderr)
    print(_table(final.figures, initial, _mean_image(data)))
    print(run.path)


def _optimizer(config: Config, vae: VAE) -> torch.optim.Optimizer:
    match config.optimizer:
        case "adamax":
            return torch.optim.Adamax(vae.parameters(), lr=config.lr)
        case "adamw":
            return torch.optim.AdamW(vae.parameters(), lr=config.lr, fused=True)
        case _:
            return torch.optim.Adam(vae.parameters(), lr=config.lr, fused=True)


def _placed(array: NDArray[Any], device: torch.device) -> Tensor:
    """The data on the device if they take less than half of what is free there; else where copying is fastest."""
    tensor = torch.from_numpy(array)
    if device.type != "cuda":
        return tensor
    free, _ = torch.cuda.mem_get_info(device)
    return tensor.to(device) if tensor.nbytes < free / 2 else tensor.pin_memory()


def _flipped(data: Dataset, x: Tensor) -> Tensor:
    """A batch in units, every second image mirrored."""
    mirrored = torch.rand(len(x), 1, 1, 1, device=x.device) < 0.5
    x = data.to_units(x)
    return x.flip(-1).where(mirrored, x)


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


def _draw(run: RunFolder, vae: VAE, data: Dataset, final: Evaluation, history: Sequence[Mapping[str, float]]) -> None:
    by_information = np.argsort(-final.latent_kl)
    shown = data.test_units()[: len(final.reconstructions)]
    limits = float(shown.min()), float(shown.max())
    run.save_figure("reconstructions", figures.reconstructions(shown, final.reconstructions))
    run.save_figure("samples", figures.samples(prior_samples(vae, 60), limits=limits))
    run.save_figure("dictionary", figures.dictionary(dictionary(vae)[by_information]))
    run.save_figure("training", figures.training_curves(history))
    if isinstance(vae.latent, CountLatent):
        run.save_figure("counts", figures.count_histograms(final.counts, by_information[:8].tolist()))


if __name__ == "__main__":
    sys.exit(main())
