"""Declarations of options: fields of small dataclasses, the groups, from which flags and checks are made.

A field is annotated with its help, the values that it accepts, and the condition under which it has a use:

>>> from typing import Annotated
>>> @dataclass(frozen=True)
... class NoiseOptions:
...     scale: Annotated[float, "standard deviation of the noise", POSITIVE_NUMBER] = 0.5
>>> option = options_of(NoiseOptions)["scale"]
>>> option.kind, option.default, option.help
(<class 'float'>, 0.5, 'standard deviation of the noise')
>>> option.check(-1.0)
Traceback (most recent call last):
pyrocount.errors.InputError: scale: got -1.0, expected a positive number
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pyrocount.errors import InputError

Group = TypeVar("Group")

# Default of an option whose value follows from other options.
USUAL: Any = None


@dataclass(frozen=True)
class Accepted:
    """Values that an option accepts, apart from their type.

    Attributes:
        accepts: returns whether a value is accepted.
        expected: description of the accepted values, for errors.
    """

    accepts: Callable[[Any], bool]
    expected: str


POSITIVE_NUMBER = Accepted(lambda value: 0 < value < math.inf, "a positive number")
NONNEGATIVE_NUMBER = Accepted(lambda value: 0 <= value < math.inf, "a number from 0")
POSITIVE_WHOLE_NUMBER = Accepted(lambda value: value >= 1, "a positive whole number")
WHOLE_NUMBER = Accepted(lambda value: value >= 0, "a whole number from 0")
FRACTION = Accepted(lambda value: 0 <= value <= 1, "a number from 0 to 1")


@dataclass(frozen=True)
class UsedWith:
    """Condition under which an option has a use; an option that is given without it is refused.

    Attributes:
        option: name of the option that decides.
        holds: returns whether the condition holds, given all options by name and the facts that follow from them.
        expected: description of the values of the deciding option under which the condition holds, for errors.
    """

    option: str
    holds: Callable[[Mapping[str, Any]], bool]
    expected: str


@dataclass(frozen=True)
class Option:
    """Declaration of an option, as its field in a group states it.

    Attributes:
        name: name of the field.
        kind: type of the values, None aside.
        default: default value.
        help: explanation for ``--help``.
        choices: all accepted values, where there are few; else empty.
        accepted: range of the accepted values, where there is one.
        used_with: condition under which the option has a use, where there is one.
    """

    name: str
    kind: type
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    accepted: Accepted | None = None
    used_with: UsedWith | None = None

    @property
    def expected(self) -> str:
        """Returns what errors call a value of the type."""
        return {int: "a whole number", float: "a number", bool: "true or false"}.get(self.kind, "text")

    def check(self, value: Any) -> None:
        """Checks a value that was given.

        Raises:
            InputError: naming the option, if the value is of another type or not accepted.
        """
        fits = isinstance(value, int | float if self.kind is float else self.kind)
        if not fits or (isinstance(value, bool) and self.kind is not bool):
            raise InputError(self.name, repr(value), self.expected)
        if self.choices and value not in self.choices:
            raise InputError(self.name, repr(value), f"one of {', '.join(self.choices)}")
        if self.accepted is not None and not self.accepted.accepts(value):
            raise InputError(self.name, repr(value) if self.kind is str else value, self.accepted.expected)


class Options:
    """Values of options by name, read through their groups: ``options[NoiseOptions].scale``.

    Args:
        values: values by the names of the options; an option that is missing has its default.

    Attributes:
        options: the values.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.options = dict(values)

    def __getitem__(self, group: type[Group]) -> Group:
        """Returns the options of a group."""
        names = (item.name for item in fields(group))  # type: ignore[arg-type]
        return group(**{name: self.options[name] for name in names if name in self.options})


@cache
def options_of(*groups: type) -> dict[str, Option]:
    """Returns the declarations of the options of some groups, by name, in the order of the groups."""
    found = {}
    for group in groups:
        hints = get_type_hints(group, include_extras=True)
        for item in fields(group):
            kind, *details = get_args(hints[item.name])
            arguments = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
            (plain,) = (argument for argument in arguments if argument is not type(None))
            choices = get_args(plain) if get_origin(plain) is Literal else ()
            found[item.name] = Option(
                item.name,
                str if choices else plain,
                item.default,
                next(detail for detail in details if isinstance(detail, str)),
                choices,
                next((detail for detail in details if isinstance(detail, Accepted)), None),
                next((detail for detail in details if isinstance(detail, UsedWith)), None),
            )
    return found


def listed(names: tuple[str, ...] | list[str]) -> str:
    """Returns names as English lists them.

    >>> listed(["lca", "ista", "fista"])
    'lca, ista or fista'
    """
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last
