"""Command ``python -m pyrocount.evaluate``: measures a fitted model, and checks whether it can be trusted."""

import sys
from collections.abc import Sequence

from pyrocount.backends.devices import DEVICES
from pyrocount.command_line import Parser, run_command
from pyrocount.suites import ASKED_FOR, SUITES
from pyrocount.suites.protocols import DEFAULT, PROTOCOLS
from pyrocount.suites.run import CODED, Request, evaluate_run


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Returns:
        The exit code: 0, or 2 for bad input.
    """
    given = sys.argv[1:] if arguments is None else arguments
    return run_command("pyrocount.evaluate", lambda: evaluate_run(Request(**vars(_parser().parse_args(given)))))


def _parser() -> Parser:
    parser = Parser(
        prog="python -m pyrocount.evaluate",
        description="Metrics and diagnostics of a fitted model, in its evaluation.json and report.html.",
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", help="folder of a fitted model")
    parser.add_argument(
        "--suite",
        metavar="SUITES",
        help=f"some of {','.join(SUITES)}, with commas between; earlier results of the others stay (default: all that "
        f"have a meaning for the data, but {', '.join(ASKED_FOR)}); SUITE@PROTOCOL names the protocol of one",
    )
    parser.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        default=DEFAULT.name,
        help="protocol of a publication: pvae (Poisson VAE) or negbio (negative-binomial VAE); its results are kept "
        f"beside ours (default: {DEFAULT.name})",
    )
    parser.add_argument(
        "--observations",
        type=int,
        metavar="N",
        help="held-out observations (default: all, of iterative models 1000)",
    )
    parser.add_argument(
        "--train-observations",
        type=int,
        metavar="N",
        help=f"training observations from which shattering learns (default: all, of iterative models {CODED})",
    )
    parser.add_argument(
        "--samples",
        type=int,
        default=1000,
        metavar="N",
        help="samples of a posterior, for its weights (default: 1000)",
    )
    parser.add_argument(
        "--checked", type=int, default=500, metavar="N", help="observations in the diagnostics (default: 500)"
    )
    parser.add_argument(
        "--images",
        type=int,
        nargs="+",
        metavar="N",
        help="numbers of images for FID (default: 5000 10000, or all held-out ones of fewer)",
    )
    parser.add_argument(
        "--inception-weights",
        metavar="FILE",
        help="weights of Inception, for FID and KID, or 'download' to fetch them; by default a small seeded network",
    )
    parser.add_argument(
        "--held-out",
        default="0.25",
        metavar="PART",
        help="channels that co-smoothing holds out and predicts: a part of them, in five random splits, or their names "
        "with commas between (default: 0.25)",
    )
    parser.add_argument("--steps", type=int, metavar="N", help="steps of iterative inference (default: the run's)")
    parser.add_argument(
        "--restarts", nargs="+", default=(), metavar="RUN", help="other fits to the same data, to compare the latents"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of all samples (default: 0)")
    parser.add_argument(
        "--device",
        choices=DEVICES,
        default="auto",
        help="device to compute on (default: auto, CUDA if there is)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
