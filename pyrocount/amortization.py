"""The command ``python -m pyrocount.amortization``: what sparse coding makes of the dictionary of a fitted model.

The distance between a linear model's own latents and codes that an optimisation finds for the same dictionary is one
measure of the amortisation gap (Vafaii, Galor and Yates, Poisson Variational Autoencoder, NeurIPS 2024, figure 5b);
what the ELBO gains by posteriors that are optimised for each observation, of any model, is the other.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyrocount import figures
from pyrocount.command_line import Parser, read_config, run_command
from pyrocount.distributions import SteinChen
from pyrocount.errors import InputError
from pyrocount.evaluate_amortized import evaluate, evaluation_mode
from pyrocount.evaluation import Array
from pyrocount.fit import load_data, load_vae
from pyrocount.inference import SPARSE_CODERS
from pyrocount.metrics import lifetime_sparsity, zero_fraction
from pyrocount.models import VAE, CountLatent, GaussianLikelihood, linear_weight
from pyrocount.progress import progress_bar
from pyrocount.run import RunFolder

SPARSITIES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
# Held-out observations that are coded.
OBSERVATIONS = 2000


@dataclass(frozen=True)
class Point:
    """How well and how sparsely some latents represent data.

    Attributes:
        sparsity: weight of the sum of the codes; None for a model's own latents.
        mse: mean squared error, in the units of the model.
        lifetime_sparsity: see ``pyrocount.metrics``.
        zero_fraction: of the latents.
    """

    sparsity: float | None
    mse: float
    lifetime_sparsity: float
    zero_fraction: float


def amortization_gap(
    vae: VAE, x: Tensor, sparsities: Sequence[float] = SPARSITIES, *, method: str = "lca", steps: int = 400
) -> list[Point]:
    """A model's own latents, exact samples of its posterior, and then sparse codes with its dictionary.

    Args:
        vae: with a linear decoder.
        x: data, shape (N, \\*shape).
        sparsities: weights of the sum of the codes, for columns of unit norm.
        method: ``"lca"``, ``"ista"`` or ``"fista"``.
        steps: of the method.

    Raises:
        InputError: if the decoder is not linear or the noise not Gaussian, the method is unknown, or a sparsity or the
            number of steps is not positive.
    """
    if method not in SPARSE_CODERS:
        raise InputError("method", repr(method), f"one of {', '.join(SPARSE_CODERS)}")
    if (weight := linear_weight(vae.decoder)) is None or not isinstance(vae.likelihood, GaussianLikelihood):
        raise InputError("RUN", "a model whose decoder is not linear or whose noise is not Gaussian", "a dictionary")
    if steps < 1:
        raise InputError("steps", steps, "a positive whole number")
    for sparsity in sparsities:
        if not 0 < sparsity < float("inf"):
            raise InputError("sparsities", sparsity, "positive numbers")
    own = evaluate(vae, x, samples=1)
    points = [Point(None, *(own.figures[name] for name in ("mse", "lifetime_sparsity", "zero_fraction")))]
    with torch.no_grad():
        dictionary = torch.nn.functional.normalize(weight, dim=0)
        silence = vae.decoder(torch.zeros_like(weight[:1]))
        residual = (x - silence).flatten(1)
        for sparsity in sparsities:
            codes = SPARSE_CODERS[method](residual, dictionary, sparsity, steps)
            mse = (residual - codes @ dictionary.T).square().mean().item()
            values = codes.cpu().numpy()
            points.append(Point(sparsity, mse, lifetime_sparsity(values), zero_fraction(values)))
    return points


def posterior_gap(
    vae: VAE,
    x: Tensor,
    exposure: Tensor | None = None,
    *,
    steps: int = 300,
    lr: float = 0.03,
    samples: int = 20,
    seed: int = 0,
    progress: bool = False,
) -> tuple[Array, Array]:
    """What is lost by an encoder that has to serve all observations: the amortisation gap.

    The features that the encoder gives for an observation are where Adam starts, to find those with the largest ELBO,
    in the same family. Gradients of counts are Stein-Chen's.

    Args:
        vae: of any latents that carry a gradient.
        x: data, shape (N, \\*shape), on the device of the model.
        exposure: length of each observation's window, shape (N,), for likelihoods of counts.
        steps: of Adam.
        lr: its learning rate at first, which decays to 0 with a cosine.
        samples: exact ones, for the bounds that are returned; 4 are drawn in a step.
        seed: of all samples.
        progress: whether to show a progress bar.

    Returns:
        The negative ELBO of each observation, in nats, by the encoder and refined, both (N,). Their difference is the
        gap, with the noise of the samples.

    Raises:
        InputError: naming ``estimator``, if samples of the latents carry no gradient.

    Reference:
        Cremer, Li and Duvenaud, Inference Suboptimality in Variational Autoencoders, ICML 2018.
    """
    latent = vae.latent
    with torch.no_grad():
        first = vae.encoder(vae.likelihood.inputs(x, exposure))
    features = first.clone().requires_grad_()
    optimizer = torch.optim.Adam([features], lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    known: Any = getattr(latent, "relaxation", None)
    with evaluation_mode(vae, seed):
        vae.train()
        if isinstance(latent, CountLatent):
            latent.relaxation = SteinChen()
        try:
            for _ in progress_bar(range(steps), shown=progress, leave=False, unit="step"):
                posterior = latent.posterior(features)
                if not posterior.has_rsample:
                    raise InputError("estimator", "samples without a gradient", "reparameterised ones")
                loss = _nelbo(vae, posterior, posterior.rsample((4,)), x, exposure).sum()
                (features.grad,) = torch.autograd.grad(loss, features)
                optimizer.step()
                schedule.step()
        finally:
            if isinstance(latent, CountLatent):
                latent.relaxation = known
    found = []
    for part in (first, features.detach()):
        # The same random numbers for both.
        with torch.no_grad(), evaluation_mode(vae, seed + 1):
            posterior = latent.posterior(part)
            found.append(_nelbo(vae, posterior, posterior.sample((samples,)), x, exposure).cpu().numpy())
    return found[0], found[1]


def _nelbo(vae: VAE, posterior: Any, z: Tensor, x: Tensor, exposure: Tensor | None) -> Tensor:
    """The negative ELBO of each observation, shape (N,), by samples (S, N, K) of its posterior."""
    law = vae.likelihood(vae.decode(z), exposure)
    kl: Tensor = vae.latent.divergence(posterior).sum(-1)
    return kl - law.log_prob(x).flatten(2).sum(2).mean(0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Returns:
        The exit code: 0, or 2 for bad input.
    """
    given = sys.argv[1:] if arguments is None else arguments
    return run_command("pyrocount.amortization", lambda: _measure_and_save(given))


def _measure_and_save(arguments: Sequence[str]) -> None:
    given = _parser().parse_args(arguments)
    vae, run = load_vae(given.run), RunFolder(given.run)
    x = torch.from_numpy(load_data(read_config(run).resolved()).test_units()[:OBSERVATIONS])
    points = amortization_gap(vae, x, given.sparsities, method=given.method, steps=given.steps)
    run.write_json("amortization.json", {"method": given.method, "points": [vars(point) for point in points]})
    pairs = [(point.lifetime_sparsity, point.mse) for point in points]
    run.save_figure("amortization", figures.amortization(pairs[0], pairs[1:], given.method.upper()))
    print(table(points))
    print(run.path)


def table(points: Sequence[Point]) -> str:
    """One line a point."""
    lines = [f"{'sparsity':<16}{'mse':>10}{'lifetime sparsity':>20}{'zeros':>10}"]
    for point in points:
        name = "model" if point.sparsity is None else f"{point.sparsity:g}"
        lines.append(f"{name:<16}{point.mse:>10.4g}{point.lifetime_sparsity:>20.3f}{point.zero_fraction:>10.3f}")
    return "\n".join(lines)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m pyrocount.amortization",
        description="Sparse coding with the dictionary of a fitted model, beside the model's own latents.",
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", help="folder of a fitted model with a linear decoder")
    parser.add_argument("--method", choices=tuple(SPARSE_CODERS), default="lca", help="algorithm (default: lca)")
    parser.add_argument("--steps", type=int, default=400, help="of the algorithm (default: 400)")
    parser.add_argument(
        "--sparsities",
        type=float,
        nargs="+",
        default=SPARSITIES,
        metavar="X",
        help=f"weights of the sum of the codes (default: {' '.join(map(str, SPARSITIES))})",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
