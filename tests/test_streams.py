"""Trouble with the standard streams, and Ctrl-C, cost a command neither its result nor its exit code."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pyrocount import compare, evaluate
from pyrocount.fit import main
from pyrocount.process.streams import LenientStream

ROOT = Path(__file__).parents[1]
SMALL = ["--model", "poisson", "--encoder", "lin", "--decoder", "lin", "--latent-dim", "3", "--epochs", "1"]


class Full(io.StringIO):
    """Stream in front of a device that is full from the first character, or later."""

    def __init__(self, room=0):
        super().__init__()
        self.room = room

    def write(self, text):
        self.room -= len(text)
        if self.room < 0:
            raise OSError(28, "No space left on device")
        return super().write(text)


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


STREAMS = {
    "ASCII": lambda: io.TextIOWrapper(io.BytesIO(), "ascii"),
    "full": Full,
    "full later": lambda: Full(100),
    "closed": closed,
    "none": lambda: None,
}


@pytest.mark.parametrize("kind", STREAMS)
def test_commands_do_their_work(kind, tmp_path, monkeypatch, array):
    name = "Größe-λ"
    with monkeypatch.context() as patch:
        for stream in ("stdout", "stderr"):
            patch.setattr(sys, stream, STREAMS[kind]())
        out, err = sys.stdout, sys.stderr
        assert main(["--data", str(array), *SMALL, "--name", name, "--out", str(tmp_path)]) == 0
        assert (sys.stdout, sys.stderr) == (out, err)
        assert evaluate.main([str(tmp_path / name), "--suite", "sparsity"]) == 0
        assert compare.main([str(tmp_path / name), "--out", str(tmp_path / "comparison")]) == 0
        assert main(["--data", str(array), *SMALL, "--name", name, "--out", str(tmp_path)]) == 2
        if kind == "ASCII":
            out.flush()
            assert rb"Gr\xf6\xdfe-\u03bb" in out.buffer.getvalue()
    run = tmp_path / name
    for file in ("summary.json", "evaluation.json", "figures/training.png", "report.html"):
        assert (run / file).stat().st_size > 0
    assert (tmp_path / "comparison" / "comparison.csv").is_file()


def test_what_a_stream_takes_is_written():
    stream = io.TextIOWrapper(io.BytesIO(), "latin-1")
    lenient = LenientStream(stream)
    assert lenient.write("ö λ") == 3
    lenient.flush()
    assert stream.buffer.getvalue() == b"\xf6 \\u03bb"
    assert lenient.encoding == "latin-1"


PRINTS = """
import sys
from pyrocount.process.streams import lenient_streams
with lenient_streams():
    for _ in range(20_000):
        print("x")
        print("y", file=sys.stderr)
sys.exit(3)
"""


@pytest.mark.parametrize("kind", STREAMS)
def test_a_logger_may_close_what_it_has_kept(kind):
    stream = STREAMS[kind]()
    lenient = LenientStream(stream)
    lenient.write("a\n")
    lenient.close()
    lenient.close()
    assert lenient.write("b\n") == 2
    assert lenient.closed or not stream.closed


@pytest.mark.skipif(os.name == "nt", reason="uses POSIX redirections")
@pytest.mark.parametrize("redirected", ["| head -1", "2>&1 | head -1", ">/dev/full", "2>/dev/full", ">&-", "2>&-"])
def test_a_process_keeps_its_exit_code(redirected, tmp_path):
    """Also at the end of the interpreter, which writes what is left in memory."""
    (tmp_path / "prints.py").write_text(PRINTS)
    script = f"set -o pipefail; {sys.executable} prints.py {redirected}; exit $?"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("command", ["fit", "evaluate", "compare", "refine", "amortization", "out_of_distribution"])
def test_ctrl_c_during_imports_ends_in_one_line(command, tmp_path):
    (tmp_path / "numpy.py").write_text("raise KeyboardInterrupt\n")
    (tmp_path / "torch.py").write_text("raise KeyboardInterrupt\n")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-m", f"pyrocount.{command}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.stderr == "pyrocount: interrupted\n"
    assert done.returncode != 0


@pytest.mark.parametrize("module", [compare, evaluate])
def test_ctrl_c_at_work_ends_in_one_line(module, monkeypatch, capsys):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_parser", interrupted)
    assert module.main(["runs/mine"]) == 130
    assert capsys.readouterr().err == f"{module.__name__}: interrupted\n"
