"""The configuration of a run, from the command line or from JSON."""

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args, get_origin, get_type_hints

import torch

from pyrocount.errors import InputError
from pyrocount.run import RunFolder


def _option(default: Any, explanation: str) -> Any:
    return field(default=default, metadata={"help": explanation})


@dataclass(frozen=True)
class Config:
    """Everything that a run depends on; the fields are the options of the command line, where they are explained."""

    model: Literal["poisson", "negbio"] = _option("negbio", "family of the latent counts: Poisson or negative binomial")
    data: str = _option(
        "digits",
        "'digits' (scikit-learn's handwritten digits), or a .npy or .npz file with an array N x features or "
        "N x channels x height x width",
    )
    standardize: bool = _option(
        True,
        "subtract the mean of the training set and divide by its standard deviation, one number each for the whole "
        "array",
    )
    test_fraction: float = _option(0.2, "part of the data that is held out for testing")
    latent_dim: int = _option(32, "number of latent counts")
    encoder: Literal["lin", "mlp", "conv"] = _option(
        "mlp", "network from data to posterior: linear, perceptron, convolutional"
    )
    decoder: Literal["lin", "mlp", "conv"] = _option(
        "mlp", "network from counts to data: linear, perceptron, convolutional"
    )
    scale: float = _option(
        math.sqrt(0.5),
        "standard deviation of the Gaussian likelihood, in units of the (standardised) data; at sqrt(1/2) the loss is "
        "the sum of squared errors",
    )
    beta: float = _option(1.0, "weight of the KL divergence, reached after the first half of training")
    # On the digits, free dispersion has a test NELBO 2 nats below shared dispersion: the posterior counts can be nearly
    # Poisson while the prior's stay overdispersed.
    kl: Literal["shared", "exact", "mc"] = _option(
        "mc",
        "shared: closed form, a negative-binomial posterior keeps the prior's dispersion; its dispersion is free with "
        "exact (an integral) and mc (Monte Carlo)",
    )
    estimator: Literal["arrival", "arrival-hard", "gumbel", "stein", "straight-through"] = _option(
        "arrival",
        "gradient through the counts: relaxed arrival times, the same with exact counts forward, Gumbel-softmax, exact "
        "counts with the Stein-Chen rule, exact counts with the gradient of their mean",
    )
    temperature: float = _option(
        0.1, "temperature of the relaxation, annealed from 1 over the first half of training (arrival and gumbel)"
    )
    indicator: Literal["cubic", "sigmoid"] = _option("cubic", "what an arrival near the end counts (arrival only)")
    max_count: int = _option(30, "largest relaxed count (gumbel only)")
    epochs: int = _option(300, "passes over the training data")
    batch_size: int = _option(128, "observations a step")
    lr: float = _option(
        2e-3, "peak learning rate of Adam, after a warm-up of 1 %% of the steps and before a cosine decay"
    )
    max_gradient_norm: float = _option(100.0, "norm to which the gradient is clipped")
    seed: int = _option(0, "chooses the held-out data, the initial weights and the random numbers of training")
    device: Literal["auto", "cpu", "cuda"] = _option(
        "auto", "where to compute; auto takes a CUDA device where there is one"
    )
    name: str | None = _option(
        None, "name of the run folder; by default MODEL-DATA-SEED, with a number where that is taken"
    )
    out: str = _option("runs", "folder that holds the run folders")
    resume: bool = _option(
        False, "go on with the run of this --name from its last checkpoint, with its options; others may not be given"
    )

    def check(self) -> None:
        """Checks the choices and the ranges of all numbers.

        Raises:
            InputError: naming the field.
        """
        for name, hint in get_type_hints(Config).items():
            value, kind = getattr(self, name), _KINDS.get(hint, str)
            fits = isinstance(value, int | float if kind is float else kind)
            if not (fits or (name == "name" and value is None)):
                raise InputError(name, repr(value), _expected(kind))
        for name, choices in _choices().items():
            if getattr(self, name) not in choices:
                raise InputError(name, repr(getattr(self, name)), f"one of {', '.join(choices)}")
        for name in ("latent_dim", "epochs", "batch_size", "max_count"):
            if getattr(self, name) < 1:
                raise InputError(name, getattr(self, name), "a positive whole number")
        for name in ("scale", "beta", "temperature", "lr", "max_gradient_norm"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(name, getattr(self, name), "a positive number")
        if not 0 < self.test_fraction < 1:
            raise InputError("test_fraction", self.test_fraction, "a number between 0 and 1")
        if not 0 <= self.seed < 2**63:
            raise InputError("seed", self.seed, "a whole number from 0 to 2^63 - 1")

    def torch_device(self) -> torch.device:
        """The device to compute on.

        Raises:
            InputError: if CUDA is asked for where there is none.
        """
        if self.device == "cuda" and not torch.cuda.is_available():
            raise InputError("device", "cuda, but torch finds no CUDA device", "cpu or auto")
        return torch.device("cuda" if self.device != "cpu" and torch.cuda.is_available() else "cpu")

    def identity(self) -> dict[str, Any]:
        """What makes the numbers of a run: everything but where it computes and where it is kept."""
        return {name: value for name, value in asdict(self).items() if name not in ("device", "name", "out", "resume")}


def _choices() -> dict[str, tuple[str, ...]]:
    return {name: get_args(hint) for name, hint in get_type_hints(Config).items() if get_origin(hint) is Literal}


_KINDS: dict[Any, type] = {bool: bool, int: int, float: float}


def _expected(kind: type) -> str:
    return {int: "a whole number", float: "a number", bool: "true or false"}.get(kind, "text")


def _reader(kind: type) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return kind(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"got {text!r}, expected {_expected(kind)}") from error

    return read


def option(argument: str) -> str:
    """The command-line name of a field; any other argument as it is.

    >>> option("latent_dim")
    '--latent-dim'
    """
    return "--" + argument.replace("_", "-") if argument in Config.__dataclass_fields__ else argument


class UsageError(Exception):
    """The command line cannot be parsed; the message is one line."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def parse(arguments: Sequence[str]) -> Config:
    """Reads the command line; when resuming, the run's saved configuration gives what is not on it.

    Raises:
        UsageError: for unknown options and values of the wrong type.
        InputError: for a run that cannot be resumed, and an option that differs from the resumed run's.
        SystemExit: after printing ``--help``.
    """
    given = vars(_parser().parse_args(arguments))
    if Path(given.get("data", "")).suffix:
        # An absolute path, so that a run can be resumed from another working directory.
        given["data"] = str(Path(given["data"]).expanduser().resolve())
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


def _parser() -> _Parser:
    """A parser that gives only what is on the command line."""
    parser = _Parser(
        prog="python -m pyrocount.fit",
        description="Fit a variational autoencoder with count latents; figures and pictures go into a run folder.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    hints = get_type_hints(Config)
    for item in fields(Config):
        settings: dict[str, Any] = {"help": f"{item.metadata['help']} (default: {item.default})"}
        kind = _KINDS.get(hints[item.name], str)
        if kind is bool:
            settings["action"] = argparse.BooleanOptionalAction if item.default else "store_true"
        elif choices := _choices().get(item.name):
            settings["choices"] = choices
        else:
            settings |= {"type": _reader(kind), "metavar": {int: "N", float: "X"}.get(kind, "TEXT")}
        parser.add_argument(option(item.name), **settings)
    return parser
