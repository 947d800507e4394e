"""Error for bad input, and the checks of arguments that both backends make."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

Parameter = TypeVar("Parameter")

# Largest rate of a count that is drawn: CUDA's sampler of Poisson counts has 32 bits.
LARGEST_RATE = 2.0**31


class InputError(ValueError):
    """Bad input; the message is one line that names the argument, its value and what is expected.

    Attributes:
        argument: its Python name.
        problem: the value and what is expected.

    >>> raise InputError("latent_dim", 0, "a positive whole number")
    Traceback (most recent call last):
    pyrocount.errors.InputError: latent_dim: got 0, expected a positive whole number
    """

    def __init__(self, argument: str, value: object, expected: str) -> None:
        # Pickle and copy call the class with the arguments that the base class received.
        super().__init__(argument, str(value), expected)
        self.argument = argument
        self.problem = f"got {value}, expected {expected}"

    def __str__(self) -> str:
        return f"{self.argument}: {self.problem}"


@contextmanager
def require_extra(extra: str, argument: str, value: object) -> Iterator[None]:
    """Imports within need an extra of the package.

    Args:
        extra: its name.
        argument: what asks for it.
        value: of the argument.

    Raises:
        InputError: naming the argument, if a module of the extra is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "pyrocount":
            raise
        expected = f'an installation with it: pip install "pyrocount[{extra}]"'
        raise InputError(argument, f"{value}, which needs {error.name}", expected) from error


def exactly_one(**parameters: Parameter | None) -> dict[str, Parameter]:
    """Returns the one parameter that is not None, under its name."""
    given = {name: value for name, value in parameters.items() if value is not None}
    if len(given) != 1:
        raise InputError(" or ".join(parameters), " and ".join(given) or "neither", "exactly one of them")
    return given


def broadcasts(shape: Sequence[int], to: Sequence[int]) -> bool:
    """Returns whether a shape broadcasts to another, which stays as it is."""
    pairs = zip(reversed(shape), reversed(to), strict=False)
    return len(shape) <= len(to) and all(size in (1, wanted) for size, wanted in pairs)


def positive_temperature(temperature: float) -> None:
    """Checks the temperature of a relaxation.

    Raises:
        InputError: if it is not positive and finite.
    """
    if not 0 < temperature < math.inf:
        hint = "; exact counts are Discrete()" if temperature == 0 else ""
        raise InputError("temperature", temperature, f"a positive number{hint}")


def drawable_rate(largest: float, place: Callable[[], str] = str) -> None:
    """Checks the largest rate of the counts that are to be drawn.

    Args:
        largest: largest rate.
        place: returns where the rates are, for the message, for example " at site 'z'".

    Raises:
        InputError: if it is above ``LARGEST_RATE``.
    """
    if largest > LARGEST_RATE:
        wanted = f"rates of at most {LARGEST_RATE:.3g}; start at smaller ones, or take a smaller lr"
        raise InputError("rate", f"rates up to {largest:.3g}{place()}", wanted)


def largest_count(max_count: object) -> None:
    """Checks the cap of a relaxation.

    Raises:
        InputError: if it is no whole number or less than 1.
    """
    if not isinstance(max_count, int) or max_count < 1:
        raise InputError("max_count", repr(max_count), "a positive whole number")
