"""The benchmarks run, on problems so small that their figures mean nothing."""

import importlib
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parent / "benchmarks"
NAMES = ("relaxations", "training", "iterative", "samplers", "estimators", "families", "twin")


@pytest.fixture
def threads():
    """Leaves torch's number of threads, which benchmarks set, as it was."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", NAMES)
def test_benchmark(name, tutorials, tmp_path, monkeypatch, capsys, threads):
    code, changed = tutorials.SMALL.subn(r"\1 = \2", (BENCHMARKS / f"{name}.py").read_text())
    assert changed
    (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setattr("sys.argv", [f"{name}.py"])
    # Here, not in a process of its own, which would spend most of its time on imports.
    runpy.run_path(str(tmp_path / f"{name}.py"), run_name="__main__")
    assert len(re.findall(r"\d ms", capsys.readouterr().out)) >= 10


def test_no_benchmark_hides_a_module():
    """The folder of a script is the first that is searched for modules; torch imports ``cuda`` where it exists."""
    code = "import sys, importlib.util; print([name for name in sys.argv[1:] if importlib.util.find_spec(name)])"
    names = [file.stem for file in BENCHMARKS.glob("*.py")]
    found = subprocess.run([sys.executable, "-P", "-c", code, *names], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_simulated_schedule(monkeypatch, capsys):
    monkeypatch.syspath_prepend(BENCHMARKS)
    schedule = importlib.import_module("schedule")
    monkeypatch.setattr(schedule, "SPREAD", 0.0)
    alone = schedule.simulate(10, 1, 60.0, epochs=6)
    assert alone.seconds == pytest.approx(schedule.START + 10 * (60 + schedule.HANDOVER))
    four = schedule.simulate(10, 4, 60.0, epochs=6)
    # Three rounds, of which the last has two fits.
    assert four.seconds == pytest.approx(schedule.START + 3 * (60 + schedule.HANDOVER))
    assert four.efficiency == pytest.approx(600 / (4 * four.seconds))
    losing = schedule.simulate(10, 4, 60.0, epochs=6, losses_per_hour=60)
    assert four.seconds < losing.seconds < 2 * four.seconds
    monkeypatch.setattr("sys.argv", ["schedule.py"])
    schedule.main()
    assert len(capsys.readouterr().out.splitlines()) == 7


def test_every_benchmark_is_run():
    assert {file.stem for file in BENCHMARKS.glob("*.py")} == {*NAMES, "measure", "graph", "on_cuda", "schedule"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_the_benchmark_of_cuda_ends_in_one_line(monkeypatch, capsys):
    monkeypatch.syspath_prepend(BENCHMARKS)
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(BENCHMARKS / "on_cuda.py"), run_name="__main__")
    assert end.value.code == 2
    assert capsys.readouterr().out == "on_cuda.py: torch finds no CUDA device\n"
