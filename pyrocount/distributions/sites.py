"""Names of the sites of Pyro programs, for errors."""

import sys


def at_site() -> str:
    """Returns " at site 'z'" for the site of a Pyro program that is being sampled; nothing outside a program.

    Pyro does not tell a distribution at which site it is, but ``pyro.sample``, which knows, stands in a frame below.
    """
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "sample" and frame.f_globals.get("__name__") == "pyro.primitives":
            return f" at site {frame.f_locals['name']!r}"
        frame = frame.f_back  # type: ignore[assignment]
    return ""
