"""Command ``python -m pyrocount.refine``: iterative inference that starts from the encoder of a fitted VAE.

The posteriors of the encoder are moved down the natural gradient of the free energy (semi-amortised, or hybrid
inference), and so are those that start from the prior, so that the two can be compared.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pyrocount import figures
from pyrocount.backends import Curves, as_backend
from pyrocount.command_line import Parser, run_command
from pyrocount.errors import InputError, require_extra
from pyrocount.models import VAE
from pyrocount.run import load

# Number of held-out observations that are inferred.
OBSERVATIONS = 1000
SHOWN = ("nelbo", "nll", "kl", "mse", "r2", "zero_fraction")


@dataclass(frozen=True)
class Refinement:
    """Metrics of the encoder's posteriors and of those that iterative inference makes of them and of the prior.

    Attributes:
        metrics: metrics by ``"encoder"``, ``"from the encoder"`` and ``"from the prior"``; see ``Evaluation``.
        curves: curves over the steps of the last two.
    """

    metrics: dict[str, dict[str, float]]
    curves: dict[str, Curves]


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
        vae: VAE of Poisson, negative-binomial or Gaussian latents. A negative-binomial posterior keeps the mean that
            the encoder gives it, and takes the total_count of the prior.
        x: data, shape (N, \\*shape).
        exposure: length of each observation's window, shape (N,), for likelihoods of counts.
        steps: number of steps of the inference.
        step_size: size of the steps of the inference.
        leak: weight of the divergence from the prior; 1 descends the negative ELBO, None is online inference.
        seed: seed of the samples.

    Raises:
        InputError: naming the argument that is out of range, or ``refine``, if JAX is not installed.
    """
    if not 0 < step_size < np.inf:
        raise InputError("step_size", step_size, "a positive number")
    with require_extra("numpyro", "refine", "iterative inference"):
        from pyrocount.backends.conversion import encoded_potentials, from_pyro
        from pyrocount.backends.iterative_evaluation import evaluate_iterative
    iterative = from_pyro(vae, step_size=step_size, leak=leak)
    data = [part.numpy() for part in (x, exposure) if part is not None]
    found = {"encoder": as_backend(vae).evaluate(*data, seed=seed).metrics}
    curves = {}
    for name, start in (("from the encoder", encoded_potentials(vae, x, exposure)), ("from the prior", None)):
        evaluation = evaluate_iterative(iterative, *data, steps=steps, seed=seed, potentials=start)
        assert evaluation.curves is not None
        found[name], curves[name] = evaluation.metrics, evaluation.curves
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
    run = load(given.run)
    x, exposure = run.data().held_out(OBSERVATIONS)
    result = refine(
        run.backend.encoder_model(),
        torch.from_numpy(x),
        None if exposure is None else torch.from_numpy(exposure),
        steps=given.steps,
        step_size=given.step_size,
        leak=None if given.online else given.leak,
    )
    run.write_json("refinement.json", result.metrics)
    curves = {name: curves.r2 for name, curves in result.curves.items()}
    run.save_figures({"refinement": figures.convergence(curves)})
    print(table(result))
    print(run.path)


def table(result: Refinement) -> str:
    """Returns the metrics as text, a line each way of inference."""
    lines = [f"{'posterior':<18}" + "".join(f"{name:>15}" for name in SHOWN)]
    for name, values in result.metrics.items():
        lines.append(f"{name:<18}" + "".join(f"{values[metric]:>15.4g}" for metric in SHOWN))
    return "\n".join(lines)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m pyrocount.refine",
        description="Iterative inference from the encoder of a fitted model, beside the encoder's own posteriors.",
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", help="folder of a fitted VAE")
    parser.add_argument("--steps", type=int, default=200, metavar="N", help="steps of the inference (default: 200)")
    parser.add_argument("--step-size", type=float, default=0.1, metavar="X", help="size of its steps (default: 0.1)")
    parser.add_argument(
        "--leak", type=float, default=1.0, metavar="X", help="weight of the divergence from the prior (default: 1)"
    )
    parser.add_argument("--online", action="store_true", help="the posterior of a step is the prior of the next")
    return parser


if __name__ == "__main__":
    sys.exit(main())
