"""The benchmarks run, on problems so small that their figures mean nothing."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent / "benchmarks"
NAMES = ("relaxations", "training", "iterative", "samplers")


@pytest.mark.parametrize("name", NAMES)
def test_benchmark(name, tutorials, tmp_path):
    code, changed = tutorials.SMALL.subn(r"\1 = \2", (BENCHMARKS / f"{name}.py").read_text())
    assert changed
    (tmp_path / f"{name}.py").write_text(code)
    path = os.pathsep.join([str(BENCHMARKS), str(BENCHMARKS.parents[1])])
    done = subprocess.run(
        [sys.executable, tmp_path / f"{name}.py"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"\d ms", done.stdout)) >= 10


def test_every_benchmark_is_run():
    assert {file.stem for file in BENCHMARKS.glob("*.py")} == {*NAMES, "measure"}
