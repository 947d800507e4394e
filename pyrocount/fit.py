"""Command ``python -m pyrocount.fit``: trains a model, measures and draws it, and keeps all in a run folder."""

import sys
from collections.abc import Sequence

from pyrocount.command_line import option_name, parse, run_command
from pyrocount.training import fit


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Returns:
        The exit code: 0, 1 for a loss that is not finite, 2 for bad input, 130 for Ctrl-C.
    """
    given = sys.argv[1:] if arguments is None else arguments
    return run_command("pyrocount.fit", lambda: fit(parse(given)), option_name)


if __name__ == "__main__":
    sys.exit(main())
