"""Checks of arguments that are the same in both backends: of names, shapes and plain numbers."""

import math
from collections.abc import Sequence
from typing import TypeVar

from pyrocount.errors import InputError

Parameter = TypeVar("Parameter")


def exactly_one(**parameters: Parameter | None) -> dict[str, Parameter]:
    """Returns the one parameter that is not None, under its name."""
    given = {name: value for name, value in parameters.items() if value is not None}
    if len(given) != 1:
        raise InputError(" or ".join(parameters), " and ".join(given) or "neither", "exactly one of them")
    return given


def broadcasts(shape: Sequence[int], to: Sequence[int]) -> bool:
    """Whether a shape broadcasts to another, which stays as it is."""
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


def largest_count(max_count: object) -> None:
    """Checks the cap of a relaxation.

    Raises:
        InputError: if it is no whole number or less than 1.
    """
    if not isinstance(max_count, int) or max_count < 1:
        raise InputError("max_count", repr(max_count), "a positive whole number")
