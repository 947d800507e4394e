"""The command line of ``pyrocount.fit``, made from the fields of the configuration."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NoReturn, get_type_hints

from pyrocount.config import Config, choices_of, expected, kind_of
from pyrocount.data import user_path
from pyrocount.errors import InputError
from pyrocount.run import RunFolder


class UsageError(Exception):
    """The command line cannot be parsed; the message is one line."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are exceptions."""

    def error(self, message: str) -> NoReturn:
        """Raises a ``UsageError``."""
        raise UsageError(message)


def run_command(program: str, work: Callable[[], object], named: Callable[[str], str] = str) -> int:
    """Does the work of a command; bad input ends it with one line on standard error.

    Args:
        program: its name, with which the line begins.
        work: what it does.
        named: gives the name of an argument in the line.

    Returns:
        The exit code: 0, or 2 for bad input.
    """
    try:
        work()
    except UsageError as error:
        problem = f"{error}; --help lists the options"
    except InputError as error:
        problem = f"{named(error.argument)}: {error.problem}"
    else:
        return 0
    print(f"{program}: error: {problem}", file=sys.stderr)
    return 2


def option(argument: str) -> str:
    """The command-line name of a field; any other argument as it is.

    >>> option("latent_dim")
    '--latent-dim'
    """
    return "--" + argument.replace("_", "-") if argument in Config.__dataclass_fields__ else argument


def parse(arguments: Sequence[str]) -> Config:
    """Reads the command line; when resuming, the run's saved configuration gives what is not on it.

    Raises:
        UsageError: for unknown options and values of the wrong type.
        InputError: for a run that cannot be resumed, and an option that differs from the resumed run's.
        SystemExit: after printing ``--help``.
    """
    given = vars(_parser().parse_args(arguments))
    # Absolute paths, so that a run can be resumed from another working directory.
    for name in ("data", "data_dir"):
        if name in given and (name == "data_dir" or Path(given[name]).suffix):
            given[name] = str(user_path(given[name], name).resolve())
    if not given.get("resume"):
        return Config(**given)

    run = RunFolder.open(given.get("out", Config.out), given.get("name"))
    saved = read_config(run)
    for name in saved.identity().keys() & given.keys():
        if given[name] != getattr(saved, name):
            raise InputError(name, given[name], f"{getattr(saved, name)}, the value of the resumed run {given['name']}")
    return replace(saved, **{"name": given["name"], "out": str(run.path.parent), "resume": True} | given)


def read_config(run: RunFolder) -> Config:
    """The configuration of a run.

    Raises:
        InputError: if it is missing, corrupt or of another version.
    """
    try:
        return Config(**run.read_json("config.json"))
    except TypeError as error:
        raise InputError(
            "name", f"{run.path.name}, whose config.json is of another version", "an intact run"
        ) from error


def _parser() -> Parser:
    """A parser that gives only what is on the command line."""
    parser = Parser(
        prog="python -m pyrocount.fit",
        description="Fit a variational autoencoder or a sparse code; figures and pictures go into a run folder.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    hints = get_type_hints(Config)
    for item in fields(Config):
        settings: dict[str, Any] = {"help": f"{item.metadata['help']} (default: {item.default})"}
        kind = kind_of(hints[item.name])
        if kind is bool:
            settings["action"] = argparse.BooleanOptionalAction if item.default else "store_true"
        elif choices := choices_of(item.name):
            settings["choices"] = choices
        else:
            settings |= {"type": _reader(kind), "metavar": {int: "N", float: "X"}.get(kind, "TEXT")}
        parser.add_argument(option(item.name), **settings)
    return parser


def _reader(kind: type) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return kind(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"got {text!r}, expected {expected(kind)}") from error

    return read
