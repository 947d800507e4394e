"""Exceptions of the package travel between processes."""

import copy
import importlib
import inspect
import pickle
from pathlib import Path

import pytest

from pyrocount.command_line import UsageError
from pyrocount.errors import InputError
from pyrocount.inference import NonFiniteLossError
from pyrocount.process.group import ProcessLostError
from pyrocount.training import StoppedError

ROOT = Path(__file__).parents[1]
EXAMPLES = [
    InputError("latent_dim", 0, "a positive whole number"),
    InputError("data", pytest, "an array"),  # a module cannot be pickled
    NonFiniteLossError(7, 2, float("nan"), 0.5),
    ProcessLostError("another process ended"),
    StoppedError(3),
    UsageError("unrecognized arguments: --color"),
]


def exceptions():
    """All exception classes that modules of the package define."""
    found = set()
    for room in ("pyrocount", "models", "inference"):
        for file in (ROOT / room).rglob("*.py"):
            name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            module = importlib.import_module(name if room == "pyrocount" else f"pyrocount.{name}")
            for _, value in inspect.getmembers(module, inspect.isclass):
                if issubclass(value, BaseException) and value.__module__.startswith("pyrocount"):
                    found.add(value)
    return found


def test_each_exception_has_an_example():
    assert exceptions() == {type(example) for example in EXAMPLES}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: type(example).__name__)
@pytest.mark.parametrize("travel", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy])
def test_an_exception_keeps_its_class_message_and_attributes(travel, example):
    example.add_note("go on with --resume")
    other = travel(example)
    assert type(other) is type(example)
    assert str(other) == str(example)
    assert {name: str(value) for name, value in vars(other).items()} == {
        name: str(value) for name, value in vars(example).items()
    }
