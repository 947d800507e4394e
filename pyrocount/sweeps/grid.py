"""Tasks of a sweep: the configurations of a grid or a list, each with the name of its run."""

import hashlib
import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from pyrocount.config import Config, all_options, beside
from pyrocount.errors import InputError, require_extra
from pyrocount.options import Option

# Length from which on a name ends in a number that stands for the rest.
LONGEST = 120
# Options that a sweep sets itself.
OWN = ("name", "resume", "out", "seed")


@dataclass(frozen=True)
class Task:
    """One fit of a sweep.

    Attributes:
        name: name of the run folder, which follows from the options.
        options: options of the fit, by name, as they were given.
        trial: number of the fit in a search; None in a grid.
    """

    name: str
    options: dict[str, Any]
    trial: int | None = None

    @property
    def config(self) -> Config:
        """Returns the configuration of the run."""
        return Config(**self.options, name=self.name)


def tasks_of(
    combinations: Sequence[Mapping[str, Any]],
    seeds: int,
    fixed: Mapping[str, Any],
    out: str,
    usual: Mapping[str, Any] | None = None,
) -> list[Task]:
    """Returns the tasks of a sweep, seed after seed of each combination.

    Args:
        combinations: options of each combination, by name.
        seeds: number of seeds of each, counted from the fixed one, or from 0.
        fixed: options of all fits, by name.
        out: folder that holds the runs.
        usual: options of a recipe, over which all others win.

    Raises:
        InputError: naming an option that is bad or has no use in a combination, or that is set twice.
    """
    if seeds < 1:
        raise InputError("--seeds", seeds, "a positive whole number")
    first = fixed.get("seed", 0)
    usual = usual or {}
    found: dict[str, Task] = {}
    for combination in combinations:
        for name in combination:
            if name in fixed or name in OWN:
                problem = f"{name}, which {'is fixed too' if name in fixed else 'the sweep sets'}"
                raise InputError("--grid", problem, "an option that nothing else sets")
        for seed in range(first, first + seeds):
            options = {**beside(usual, {**fixed, **combination}), "seed": seed, "out": out}
            config = Config(**options)
            named = [f"{name}={value}" for name, value in combination.items() if name != "model"]
            name = plain_name("-".join([config.model, *named, f"seed={seed}"]))
            if name in found:
                raise InputError("--grid", f"the combination {name} twice", "each once")
            found[name] = Task(name, options)
    return list(found.values())


def grid(texts: Sequence[str]) -> list[dict[str, Any]]:
    """Returns all combinations of ``name=value,value`` texts.

    Raises:
        InputError: naming ``--grid``, for a text that is no such thing.

    >>> grid(["latent-dim=8,16", "beta=.5"])
    [{'latent_dim': 8, 'beta': 0.5}, {'latent_dim': 16, 'beta': 0.5}]
    """
    values: dict[str, list[Any]] = {}
    for text in texts:
        option, listed = split_text(text, values)
        values[option.name] = [value_of(option, part.strip(), "--grid") for part in listed.split(",")]
    return [dict(zip(values, combination, strict=True)) for combination in product(*values.values())]


def split_text(text: str, known: Container[str]) -> tuple[Option, str]:
    """Returns the option and the values of a ``name=values`` text.

    Raises:
        InputError: naming ``--grid``, for a text that is no such thing, or an option that is known.
    """
    name, mark, listed = text.partition("=")
    option = all_options().get(name.strip().removeprefix("--").replace("-", "_"))
    if not mark or option is None:
        raise InputError("--grid", repr(text), "OPTION=VALUE,VALUE with an option of pyrocount.fit")
    if option.name in known:
        raise InputError("--grid", f"{option.name} twice", "each option once")
    return option, listed


def value_of(option: Option, text: str, argument: str) -> Any:
    """Returns the value of an option that a text names.

    Raises:
        InputError: naming the argument, if it is none.
    """
    if option.kind is bool:
        if text.lower() not in ("true", "false"):
            raise InputError(argument, f"{option.name}={text}", "true or false")
        return text.lower() == "true"
    try:
        return option.kind(text)
    except ValueError as error:
        raise InputError(argument, f"{option.name}={text}", option.expected) from error


def read_file(path: str | Path) -> list[dict[str, Any]]:
    """Reads combinations from a JSON or YAML file: a list of options by name, or a mapping of names to lists.

    Raises:
        InputError: naming ``--file``, if it cannot be read or holds something else.
    """
    path = Path(path)
    try:
        text = path.read_text()
        if path.suffix.lower() in (".yaml", ".yml"):
            with require_extra("sweep", "--file", path):
                import yaml
            content = yaml.safe_load(text)
        else:
            content = json.loads(text)
    except InputError:
        raise
    except Exception as error:  # Parsers raise errors of their own.
        raise InputError("--file", f"{path}, which cannot be read ({error})", "a JSON or YAML file") from error
    if isinstance(content, dict):
        lists = {name: value if isinstance(value, list) else [value] for name, value in content.items()}
        content = [dict(zip(lists, each, strict=True)) for each in product(*lists.values())]
    if not isinstance(content, list) or not content or not all(isinstance(each, dict) for each in content):
        raise InputError("--file", f"{path} with {type(content).__name__}", "a list of options, or options with lists")
    return [{str(name).replace("-", "_"): value for name, value in each.items()} for each in content]


def plain_name(name: str) -> str:
    """Returns a plain file name."""
    plain = "".join(letter if letter.isalnum() or letter in "=-_.+" else "_" for letter in name)
    if plain == name and len(name) <= LONGEST:
        return name
    return f"{plain[:LONGEST]}-{hashlib.sha1(name.encode()).hexdigest()[:8]}"
