"""Reads the recipes."""

import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import Any

from pyrocount.errors import InputError

SUFFIX = ".toml"


@dataclass(frozen=True)
class Recipe:
    """Options of a published experiment.

    Attributes:
        name: name of the recipe.
        title: what it fits.
        source: publication.
        differs: what differs from the publication.
        options: options of ``pyrocount.fit``, by name.
    """

    name: str
    title: str
    source: str
    differs: str
    options: dict[str, Any]


def recipes() -> list[Recipe]:
    """Returns all recipes by their names.

    >>> recipes()[0].name
    'igvae-mnist'
    """
    files = resources.files(__package__).iterdir()
    return [_read(file.name.removesuffix(SUFFIX)) for file in sorted(files, key=str) if file.name.endswith(SUFFIX)]


def recipe(name: str) -> Recipe:
    """Returns the recipe of a name.

    Raises:
        InputError: naming ``--recipe``, if there is none.
    """
    known = [each.name for each in recipes()]
    if name not in known:
        raise InputError("--recipe", repr(name), "the name of a recipe; --recipe help lists them")
    return _read(name)


def _read(name: str) -> Recipe:
    content = tomllib.loads((resources.files(__package__) / f"{name}{SUFFIX}").read_text())
    return Recipe(name, **content)
