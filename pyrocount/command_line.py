"""Command lines: the options of a configuration as flags, and the errors and exit codes of all commands."""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from pyrocount.config import Config, RunOptions, all_options, beside, choices_of
from pyrocount.data import NAMED, user_path
from pyrocount.errors import InputError
from pyrocount.inference import NonFiniteLossError
from pyrocount.options import Option
from pyrocount.process.group import ProcessLostError, rank
from pyrocount.process.state import own_state
from pyrocount.process.streams import lenient_streams
from pyrocount.recipes import recipe, recipes
from pyrocount.run import Run


class UsageError(Exception):
    """Error of a command line that cannot be parsed; the message is one line."""


class Parser(argparse.ArgumentParser):
    """Parser whose errors are exceptions."""

    def error(self, message: str) -> NoReturn:
        """Raises a ``UsageError``."""
        raise UsageError(message)


def run_command(program: str, work: Callable[[], object], named: Callable[[str], str] = str) -> int:
    """Does the work of a command; bad input, divergence or Ctrl-C ends it with one line on standard error.

    The exit code tells whether the work was done, also where its output could not be written.

    Args:
        program: name of the command, with which the line begins.
        work: function that does the work.
        named: function that returns the name of an argument in the line.

    Returns:
        The exit code: 0, 1 for a loss that is not finite or a lost process, 2 for bad input, or 130 for Ctrl-C.
    """
    with lenient_streams():
        try:
            with own_state():
                work()
        except UsageError as error:
            return _stop(program, 2, f"error: {error}; --help lists the options")
        except InputError as error:
            return _stop(program, 2, f"error: {named(error.argument)}: {error.problem}")
        except KeyboardInterrupt as interrupt:
            return _stop(program, 130, "interrupted", interrupt)
        except NonFiniteLossError as error:
            return _stop(program, 1, f"stopped: not finite at {error}", error)
        except ProcessLostError as error:
            return _stop(program, 1, f"stopped: {error}", error)
    return 0


def _stop(program: str, code: int, message: str, reason: BaseException | None = None) -> int:
    """Says in one line why a command stops, with the notes of the reason; returns the exit code.

    Of several processes, the first one says it, or those that lose it.
    """
    if rank() and not isinstance(reason, ProcessLostError):
        return code
    print(f"{program}: " + "; ".join([message, *getattr(reason, "__notes__", [])]), file=sys.stderr)
    return code


def option_name(argument: str) -> str:
    """Returns the command-line name of an option; any other argument as it is.

    >>> option_name("latent_dim")
    '--latent-dim'
    """
    return "--" + argument.replace("_", "-") if argument in all_options() else argument


def parse(arguments: Sequence[str]) -> Config:
    """Reads the command line; when resuming, the run's saved configuration gives the options that are not on it.

    Raises:
        UsageError: for unknown options and values of the wrong type.
        InputError: for bad options, a run that cannot be resumed, and an option that differs from the resumed run's.
        SystemExit: after printing ``--help``.
    """
    given = vars(_parser().parse_args(arguments))
    usual = recipe_options(given)
    given = with_full_paths(beside(usual, given))
    if not given.get("resume"):
        return Config(**given)

    run = Run.resume(given.get("out", RunOptions.out), given.get("name"))
    saved = run.config
    for name in given.keys() - {"device", "download", "name", "out", "resume"}:
        if given[name] != saved.options.get(name):
            problem = f"{saved.options.get(name)}, the value of the resumed run {given['name']}"
            raise InputError(name, given[name], problem)
    return Config(**saved.options | {"name": given["name"], "out": str(run.path.parent), "resume": True} | given)


def recipe_options(given: dict[str, Any]) -> dict[str, Any]:
    """Takes the name of a recipe out of the options that were given; returns the recipe's options, none without one.

    Raises:
        InputError: naming ``--recipe``, if there is no such recipe, or a run is resumed, which has its options.
    """
    name = given.pop("recipe", None)
    if name is None:
        return {}
    if given.get("resume"):
        raise InputError("--recipe", name, "no recipe with --resume, as the run has its options")
    return recipe(name).options


class _ListRecipes(argparse.Action):
    """Action of ``--recipe``, which lists the recipes for ``help``."""

    def __call__(self, parser: argparse.ArgumentParser, given: Any, value: Any, flag: str | None = None) -> None:
        if value == "help":
            width = max(len(each.name) for each in recipes())
            for each in recipes():
                print(f"{each.name:<{width}}  {each.title}")
            parser.exit()
        given.recipe = value


def with_full_paths(given: dict[str, Any]) -> dict[str, Any]:
    """Returns options with absolute paths, so that a run can be resumed from another working directory."""
    found = dict(given)
    for name in ("data", "data_dir", "split", "trials"):
        if not given.get(name) or given[name] in NAMED:
            continue
        path = user_path(given[name], name)
        if name == "data_dir" or path.suffix or (name == "data" and path.is_dir()):
            found[name] = str(path.resolve())
    return found


def _parser() -> Parser:
    parser = Parser(
        prog="python -m pyrocount.fit",
        description="Fit a variational autoencoder or a sparse code; metrics and figures go into a run folder.",
        allow_abbrev=False,
    )
    add_options(parser)
    return parser


def add_options(parser: Parser, without: Sequence[str] = ()) -> None:
    """Adds the options of all models to a parser, which then gives those that are on the command line."""
    parser.add_argument(
        "--recipe",
        action=_ListRecipes,
        default=argparse.SUPPRESS,
        metavar="NAME",
        help="options of a published experiment, beside which others may be given; help lists the recipes",
    )
    for option in all_options().values():
        if option.name in without:
            continue
        settings: dict[str, Any] = {"help": f"{option.help} (default: {option.default})", "default": argparse.SUPPRESS}
        if option.kind is bool:
            # A recipe may set what is off by default; a run that is resumed has its options.
            settings["action"] = "store_true" if option.name == "resume" else argparse.BooleanOptionalAction
        elif choices := choices_of(option):
            settings["choices"] = choices
        else:
            settings |= {"type": _reader(option), "metavar": {int: "N", float: "X"}.get(option.kind, "TEXT")}
        parser.add_argument(option_name(option.name), **settings)


def _reader(option: Option) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return option.kind(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"got {text!r}, expected {option.expected}") from error

    return read
