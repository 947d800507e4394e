"""Building and training of variational autoencoders and sparse codes, from the options of a run."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import pyro
import torch
from numpy.typing import NDArray
from pyro.infer import ELBO
from torch import Tensor, nn

from pyrocount.config import Config
from pyrocount.data import Dataset, Rows, TensorRows, as_tensor
from pyrocount.data.options import DataOptions, FileOptions
from pyrocount.errors import InputError
from pyrocount.inference import (
    SPARSE_CODERS,
    Pathwise_ELBO,
    SampledKL_ELBO,
    ScoreFunction_ELBO,
    StrictMeanField_ELBO,
    UnbiasedCount_ELBO,
    cosine,
)
from pyrocount.inference import train as train_module
from pyrocount.inference.options import ObjectiveOptions, TrainingOptions
from pyrocount.models import VAE, CollapsedVAE, make_vae
from pyrocount.models.options import (
    DivergenceOptions,
    HardForwardOptions,
    LatentOptions,
    LikelihoodOptions,
    NeighbourOptions,
    RelaxationOptions,
    SamplingOptions,
    SparseCodingOptions,
)

from .annealing import annealed
from .base import History

# Options of a model that say how it is trained, not what it is.
OF_TRAINING = ("kl", "samples", "kl_samples", "hard_after")


def build(config: Config, shape: Sequence[int], device: torch.device) -> VAE:
    """Builds the model of a configuration, with fresh weights, for observations of a shape.

    Raises:
        InputError: naming ``latent_dim``, if the model does not fit into the memory of the device.
    """
    options = {name: value for name, value in config.model_options.items() if name not in OF_TRAINING}
    try:
        return make_vae(
            config.model,
            shape,
            shared_dispersion=config[DivergenceOptions].kl == "shared",
            missing=config[FileOptions].missing == "mask",
            infer=_sparse_coder(config),
            **options,
        ).to(device)
    except RuntimeError as error:
        if "memory" not in str(error):
            raise
        latents = config[LatentOptions].latent_dim
        raise InputError("latent_dim", latents, f"a model that fits into the memory of {device}") from error


def train(
    vae: VAE,
    config: Config,
    data: Dataset,
    *,
    monitor: Callable[[], Mapping[str, float]],
    save: Callable[[dict[str, Any]], None],
    checkpoint: dict[str, Any] | None,
    progress: bool,
) -> History:
    """Trains a VAE by stochastic variational inference; see ``Backend.train``."""
    options, hard_after = config[TrainingOptions], config[HardForwardOptions].hard_after

    def anneal(now: float) -> dict[str, float]:
        values = annealed(config, now)
        vae.latent.set_temperature(values["temperature"])
        if hard_after < 1:
            vae.latent.set_hard(now >= hard_after)
        vae.kl_weight = values["kl_weight"]
        return values

    device = next(vae.parameters()).device
    with _training_settings():
        return train_module(
            make_elbo(config, vae),
            vae,
            _optimizer(options, vae),
            [_placed(part, device) for part in (data.train, data.train_exposure) if part is not None],
            epochs=options.epochs,
            batch_size=options.batch_size,
            max_gradient_norm=options.max_gradient_norm,
            anneal=anneal,
            monitor=monitor,
            save=save,
            prepare=partial(_flipped, data) if config[DataOptions].flip else data.to_units,
            learning_rate=partial(cosine, warmup=options.warmup),
            checkpoint=checkpoint,
            progress=progress,
        )


def make_elbo(config: Config, vae: VAE) -> nn.Module:
    """Returns the loss of a configuration's estimator and KL divergence.

    Args:
        config: options of the run.
        vae: the model that they describe.

    Returns:
        A module that takes a batch (N, \\*shape), and its exposure (N,) where there is one, and returns the negative
        ELBO, in nats, summed over the batch.

    Raises:
        InputError: naming ``estimator``, if the exact one does not fit the model.
    """
    estimator, sampling = config[LatentOptions].estimator, config[SamplingOptions]
    samples = sampling.samples
    if estimator == "exact":
        collapsed = CollapsedVAE(vae)
        return Pathwise_ELBO()(collapsed.model, collapsed.guide)  # type: ignore[arg-type]
    particles = {"num_particles": samples, "vectorize_particles": samples > 1, "max_plate_nesting": 1}
    if estimator == "score":
        elbo: ELBO = ScoreFunction_ELBO(num_particles=samples)
    elif estimator == "unbiased":
        neighbours, analytic = config[NeighbourOptions].neighbours, config[DivergenceOptions].kl != "mc"
        elbo = UnbiasedCount_ELBO(neighbours=neighbours, analytic_kl=analytic, **particles)
    elif config[DivergenceOptions].kl != "mc":
        elbo = StrictMeanField_ELBO(**particles)
    elif (capped := estimator == "gumbel" and config.spec.has_counts) or sampling.kl_samples is not None:
        max_count = config[RelaxationOptions].max_count if capped else None
        elbo = SampledKL_ELBO(sampling.kl_samples or 1, max_count, **particles)
    else:
        elbo = Pathwise_ELBO(**particles)
    # Pyro takes any callables here, whatever its annotations say.
    return elbo(vae.model, vae.guide)  # type: ignore[arg-type]


@contextmanager
def _training_settings() -> Iterator[None]:
    """Sets Pyro to no validation and to parameters of the modules' own, within the block."""
    with (
        pyro.validation_enabled(False),
        pyro.settings.context(module_local_params=True),
        warnings.catch_warnings(),
    ):
        # The training loop stops at a loss that is not finite and says more than Pyro.
        warnings.filterwarnings("ignore", "Encountered (NaN|\\+?-?inf)", UserWarning)
        yield


def _sparse_coder(config: Config) -> Callable[[Tensor, Tensor], Tensor] | None:
    """Returns the inference of the codes that minimise the very loss: its terms are over scale^2 here and there."""
    if config.spec.inference != "sparse coding":
        return None
    sparsity = config[ObjectiveOptions].beta * config[LikelihoodOptions].scale ** 2
    return partial(SPARSE_CODERS[config.model], sparsity=sparsity, steps=config[SparseCodingOptions].inference_steps)


def _optimizer(options: TrainingOptions, vae: VAE) -> torch.optim.Optimizer:
    if options.optimizer == "adamax":
        return torch.optim.Adamax(vae.parameters(), lr=options.lr)
    if not options.weight_decay:
        return torch.optim.Adam(vae.parameters(), lr=options.lr, fused=True)
    weights = [part for net in (vae.encoder, vae.decoder) for part in net.parameters() if part.dim() > 1]
    others = [part for part in vae.parameters() if all(part is not weight for weight in weights)]
    groups = [{"params": weights, "weight_decay": options.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=options.lr, fused=True)


def _placed(values: NDArray[Any] | Rows, device: torch.device) -> Tensor | TensorRows:
    """Returns data on the device if they take less than half of its free memory; else where copying is fastest."""
    tensor = as_tensor(values)
    if device.type != "cuda" or isinstance(tensor, TensorRows):
        return tensor
    free, _ = torch.cuda.mem_get_info(device)
    return tensor.to(device) if tensor.nbytes < free / 2 else tensor.pin_memory()


def _flipped(data: Dataset, x: Tensor) -> Tensor:
    """Returns a batch in units, each image mirrored with probability 1/2."""
    mirrored = torch.rand(len(x), 1, 1, 1, device=x.device) < 0.5
    x = data.to_units(x)
    return x.flip(-1).where(mirrored, x)
