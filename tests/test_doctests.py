import doctest
import importlib
from pathlib import Path

import numpy as np
import pytest
import torch

import pyrocount

ROOT = Path(__file__).parents[1]
ROOMS = {"pyrocount": "pyrocount", "models": "pyrocount.models", "inference": "pyrocount.inference"}
MODULES = [
    ".".join((name, *file.relative_to(ROOT / room).with_suffix("").parts)).removesuffix(".__init__")
    for room, name in ROOMS.items()
    for file in sorted((ROOT / room).rglob("*.py"))
]


@pytest.mark.parametrize("module", MODULES)
def test_examples(module):
    assert doctest.testmod(importlib.import_module(module), extraglobs={"torch": torch, "np": np}).failed == 0


def test_the_public_classes_have_examples():
    for name in pyrocount.__all__:
        assert ">>>" in getattr(pyrocount, name).__doc__, name
