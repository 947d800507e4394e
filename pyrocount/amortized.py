"""The fitting of variational autoencoders and sparse codes, in Pyro."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from numpy.typing import NDArray
from pyro.infer import ELBO, Trace_ELBO
from torch import Tensor, nn

from pyrocount.config import Config
from pyrocount.data import Dataset
from pyrocount.devices import torch_device
from pyrocount.errors import InputError
from pyrocount.evaluate_amortized import dictionary, evaluate, prior_samples
from pyrocount.evaluation import Evaluation
from pyrocount.fitting import MONITORED, Fitting, History, annealed, draw_model
from pyrocount.inference import SPARSE_CODERS, ScoreFunction_ELBO, StrictMeanField_ELBO, cosine, train
from pyrocount.models import VAE, CollapsedVAE, CountLatent, make_vae
from pyrocount.run import RunFolder


class AmortizedFitting(Fitting):
    """A VAE on a device, of a resolved configuration.

    Attributes:
        vae: the model.
    """

    def __init__(self, config: Config, data: Dataset) -> None:
        self.config, self.data, self.device = config, data, torch_device(config.device)
        try:
            self.vae = build(config, data.shape).to(self.device)
        except RuntimeError as error:
            if "memory" not in str(error):
                raise
            raise InputError(
                "latent_dim", config.latent_dim, f"a model that fits into the memory of {self.device}"
            ) from error
        self.likelihood = self.vae.likelihood
        held_out = (data.test_units(), data.test_exposure)
        self._test = [torch.from_numpy(part).to(self.device) for part in held_out if part is not None]

    def evaluate(self, quick: bool = False) -> Evaluation:
        """Figures of held-out data, of exact samples."""
        number, samples = (MONITORED, 1) if quick else (None, 8)
        test = [part[:number] for part in self._test]
        return evaluate(self.vae, *test, beta=self.config.beta, seed=self.config.seed, samples=samples)

    def train(
        self,
        monitor: Callable[[], Mapping[str, float]],
        save: Callable[[dict[str, Any]], None],
        checkpoint: dict[str, Any] | None,
        progress: bool = True,
    ) -> History:
        """Trains by stochastic variational inference."""
        config, data, vae = self.config, self.data, self.vae

        def schedule(progress: float) -> dict[str, float]:
            now = annealed(config, progress)
            vae.latent.set_temperature(now["temperature"])
            vae.kl_weight = now["kl_weight"]
            return now

        return train(
            make_elbo(config, vae),
            vae,
            _optimizer(config, vae),
            [_placed(part, self.device) for part in (data.train, data.train_exposure) if part is not None],
            epochs=config.epochs,
            batch_size=config.batch_size,
            max_gradient_norm=config.max_gradient_norm,
            anneal=schedule,
            monitor=monitor,
            save=save,
            prepare=partial(_flipped, data) if config.flip else data.to_units,
            learning_rate=partial(cosine, warmup=config.warmup),
            checkpoint=checkpoint,
            progress=progress,
        )

    def weights(self) -> dict[str, Tensor]:
        """The state of the module."""
        weights: dict[str, Tensor] = self.vae.state_dict()
        return weights

    def draw(self, run: RunFolder, final: Evaluation, history: History) -> None:
        """Reconstructions, samples of the prior, dictionary, training curves, histograms of counts."""
        x, is_count = self.data.test_units(), isinstance(self.vae.latent, CountLatent)
        draw_model(run, x, prior_samples(self.vae, 60), dictionary(self.vae), final, history, is_count, self.config)

    def remarks(self, final: Evaluation) -> list[str]:
        """A warning where counts exceed what the Gumbel-softmax could see."""
        capped = float((final.counts > self.config.max_count).mean())
        if self.config.estimator != "gumbel" or not isinstance(self.vae.latent, CountLatent) or capped == 0:
            return []
        problem = f"{capped:.2%} of the posterior counts are larger, which training could not see"
        return [f"warning: --max-count {self.config.max_count}: {problem}"]


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
