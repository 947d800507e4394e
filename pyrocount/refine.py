"""The command ``python -m pyrocount.refine``: iterative inference that starts from the encoder of a fitted VAE.

The posteriors of the encoder are moved down the natural gradient of the free energy (semi-amortised, or hybrid
inference), and so are those that start from the prior, so that the two can be compared.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from pyrocount import figures
from pyrocount.command_line import Parser, read_config, run_command
from pyrocount.errors import InputError, needing
from pyrocount.evaluate_amortized import evaluate
from pyrocount.fit import load_data, load_vae
from pyrocount.models import VAE
from pyrocount.run import RunFolder

if TYPE_CHECKING:
    from pyrocount.evaluate_iterative import Curves

# Held-out observations that are inferred.
OBSERVATIONS = 1000
SHOWN = ("nelbo", "nll", "kl", "mse", "r2", "zero_fraction")


@dataclass(frozen=True)
class Refinement:
    """Figures of the encoder's posteriors and of those that iterative inference makes of them and of the prior.

    Attributes:
        figures: by ``"encoder"``, ``"from the encoder"`` and ``"from the prior"``; see ``pyrocount.evaluation``.
        curves: over the steps, of the last two.
    """

    figures: dict[str, dict[str, float]]
    curves: "dict[str, Curves]"


def refine(
    vae: VAE,
    x: torch.Tensor,
    exposure: torch.Tensor | None = None,
    *,
    steps: int = 200,
    step_size: float = 0.1,
    leak: float | None = 1.0,
    seed: int = 0,
) -> Refinement:
    """Refines the posteriors of a VAE by natural-gradient steps in JAX, in exact counts and with the exact drive.

    Args:
        vae: of Poisson, negative-binomial or Gaussian latents. A negative-binomial posterior keeps the mean that the
            encoder gives it, and takes the total_count of the prior.
        x: data, shape (N, \\*shape).
        exposure: length of each observation's window, shape (N,), for likelihoods of counts.
        steps: of the inference.
        step_size: of the inference.
        leak: weight of the divergence from the prior; 1 descends the negative ELBO, None is online inference.
        seed: of the samples.

    Raises:
        InputError: naming the argument that is out of range, or ``refine``, if JAX is not installed.
    """
    if not 0 < step_size < np.inf:
        raise InputError("step_size", step_size, "a positive number")
    with needing("numpyro", "refine", "iterative inference"):
        from pyrocount.evaluate_iterative import evaluate_iterative
        from pyrocount.iterative import encoded_potentials, from_pyro
    iterative = from_pyro(vae, step_size=step_size, leak=leak)
    data = [part.numpy() for part in (x, exposure) if part is not None]
    found = {"encoder": evaluate(vae, x, exposure, seed=seed).figures}
    curves = {}
    for name, start in (("from the encoder", encoded_potentials(vae, x, exposure)), ("from the prior", None)):
        evaluation, curves[name] = evaluate_iterative(iterative, *data, steps=steps, seed=seed, potentials=start)
        found[name] = evaluation.figures
    return Refinement(found, curves)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Returns:
        The exit code: 0, or 2 for bad input.
    """
    given = sys.argv[1:] if arguments is None else arguments
    return run_command("pyrocount.refine", lambda: _refine_and_save(given))


def _refine_and_save(arguments: Sequence[str]) -> None:
    given = _parser().parse_args(arguments)
    vae, run = load_vae(given.run), RunFolder(given.run)
    data = load_data(read_config(run).resolved())
    windows = None if data.test_exposure is None else torch.from_numpy(data.test_exposure[:OBSERVATIONS])
    result = refine(
        vae,
        torch.from_numpy(data.test_units()[:OBSERVATIONS]),
        windows,
        steps=given.steps,
        step_size=given.step_size,
        leak=None if given.online else given.leak,
    )
    run.write_json("refinement.json", result.figures)
    run.save_figure("refinement", figures.convergence({name: curves.r2 for name, curves in result.curves.items()}))
    print(table(result))
    print(run.path)


def table(result: Refinement) -> str:
    """One line a way of inference."""
    lines = [f"{'posterior':<18}" + "".join(f"{name:>15}" for name in SHOWN)]
    for name, values in result.figures.items():
        lines.append(f"{name:<18}" + "".join(f"{values[figure]:>15.4g}" for figure in SHOWN))
    return "\n".join(lines)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m pyrocount.refine",
        description="Iterative inference from the encoder of a fitted model, beside the encoder's own posteriors.",
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", help="folder of a fitted VAE")
    parser.add_argument("--steps", type=int, default=200, metavar="N", help="of the inference (default: 200)")
    parser.add_argument("--step-size", type=float, default=0.1, metavar="X", help="of the inference (default: 0.1)")
    parser.add_argument(
        "--leak", type=float, default=1.0, metavar="X", help="weight of the divergence from the prior (default: 1)"
    )
    parser.add_argument("--online", action="store_true", help="the posterior of a step is the prior of the next")
    return parser


if __name__ == "__main__":
    sys.exit(main())
