"""Command ``python -m pyrocount.amortization``: sparse coding with the dictionary of a fitted model.

The distance between a linear model's own latents and codes that an optimisation finds for the same dictionary is one
measure of the amortisation gap (Vafaii, Galor and Yates, Poisson Variational Autoencoder, NeurIPS 2024, figure 5b);
the gain of the ELBO by posteriors that are optimised for each observation, of any model, is the other
(``pyrocount.backends.amortization_gap``).
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pyrocount import figures
from pyrocount.backends import as_backend
from pyrocount.command_line import Parser, run_command
from pyrocount.errors import InputError
from pyrocount.inference import SPARSE_CODERS
from pyrocount.metrics import lifetime_sparsity, zero_fraction
from pyrocount.models import VAE, GaussianLikelihood, linear_weight
from pyrocount.run import load

SPARSITIES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
# Number of held-out observations that are coded.
OBSERVATIONS = 2000


@dataclass(frozen=True)
class Point:
    """Quality and sparsity of some latents of data.

    Attributes:
        sparsity: weight of the sum of the codes; None for a model's own latents.
        mse: mean squared error, in the units of the model.
        lifetime_sparsity: lifetime sparsity of the latents, see ``pyrocount.metrics``.
        zero_fraction: fraction of zeros among the latents.
    """

    sparsity: float | None
    mse: float
    lifetime_sparsity: float
    zero_fraction: float


def compare_with_sparse_codes(
    vae: VAE, x: Tensor, sparsities: Sequence[float] = SPARSITIES, *, method: str = "lca", steps: int = 400
) -> list[Point]:
    """Measures a model's own latents, exact samples of its posterior, and then sparse codes with its dictionary.

    Args:
        vae: VAE with a linear decoder.
        x: data, shape (N, \\*shape).
        sparsities: weights of the sum of the codes, for columns of unit norm.
        method: ``"lca"``, ``"ista"`` or ``"fista"``.
        steps: number of steps of the method.

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
    own = as_backend(vae).evaluate(x.cpu().numpy(), quick=True)
    points = [Point(None, *(own.metrics[name] for name in ("mse", "lifetime_sparsity", "zero_fraction")))]
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Returns:
        The exit code: 0, or 2 for bad input.
    """
    given = sys.argv[1:] if arguments is None else arguments
    return run_command("pyrocount.amortization", lambda: _measure_and_save(given))


def _measure_and_save(arguments: Sequence[str]) -> None:
    given = _parser().parse_args(arguments)
    run = load(given.run)
    vae = run.backend.encoder_model()
    x = torch.from_numpy(run.data().held_out(OBSERVATIONS)[0])
    points = compare_with_sparse_codes(vae, x, given.sparsities, method=given.method, steps=given.steps)
    run.write_json("amortization.json", {"method": given.method, "points": [vars(point) for point in points]})
    pairs = [(point.lifetime_sparsity, point.mse) for point in points]
    run.save_figures({"amortization": figures.amortization(pairs[0], pairs[1:], given.method.upper())})
    print(table(points))
    print(run.path)


def table(points: Sequence[Point]) -> str:
    """Returns the points as text, a line each."""
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
    parser.add_argument("--steps", type=int, default=400, help="steps of the algorithm (default: 400)")
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
