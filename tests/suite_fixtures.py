"""Fixtures of all tests."""

import importlib.util
import os
import shlex
import sys
from pathlib import Path

# Most of a test of JAX is compiling what runs once.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false "
    "--xla_cpu_parallel_codegen_split_count=1 --xla_llvm_disable_expensive_passes=true",
)

import jax
import numpy as np
import pyro
import pytest
import torch

from pyrocount.backends import Backend
from pyrocount.distributions import kl as kl_module
from pyrocount.fit import main

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")),
]


@pytest.fixture(autouse=True, scope="session")
def _compiled_once(tmp_path_factory):
    """Keeps the results of JAX's compiler for the session: most tests of a model compile what another has.

    Processes that test together, or that tests start, share it and the cores.
    """
    base = tmp_path_factory.getbasetemp()
    if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
        base = base.parent
        threads = max(1, (os.cpu_count() or 1) // int(workers))
        torch.set_num_threads(threads)
        # For the processes that tests start: more threads than cores wait for each other.
        os.environ["OMP_NUM_THREADS"] = str(threads)
    (base / "compiled").mkdir(exist_ok=True)
    settings = {"compilation_cache_dir": str(base / "compiled"), "persistent_cache_min_compile_time_secs": 0}
    for name, value in settings.items():
        jax.config.update(f"jax_{name}", value)
        os.environ[f"JAX_{name.upper()}"] = str(value)


@pytest.fixture(autouse=True)
def _fresh(request):
    """Starts every test with the same random numbers and settings, whatever ran before it.

    A module's generator of data, ``RNG``, starts anew; ``torch.compile`` turns validation off for good.
    """
    pyro.set_rng_seed(0)
    pyro.clear_param_store()
    if hasattr(request.module, "RNG"):
        request.module.RNG = np.random.default_rng(1)
    with pyro.settings.context(module_local_params=False), pyro.validation_enabled():
        yield


@pytest.fixture(params=DEVICES)
def device(request):
    return torch.device(request.param)


@pytest.fixture(params=[torch.float32, torch.float64], ids=str)
def dtype(request):
    return request.param


@pytest.fixture(scope="session")
def tutorials():
    """The module that executes the tutorials."""
    path = Path(__file__).parents[1] / "tutorials" / "run.py"
    spec = importlib.util.spec_from_file_location("tutorials_run", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def kl_calls(monkeypatch):
    """The classes of each pair whose divergence of ours torch's dispatch calls."""
    calls = []
    for pair, closed_form in list(torch.distributions.kl._KL_REGISTRY.items()):
        if closed_form.__module__ == kl_module.__name__:

            def counted(q, p, closed_form=closed_form):
                value = closed_form(q, p)
                calls.append((type(q).__name__, type(p).__name__))
                return value

            monkeypatch.setitem(torch.distributions.kl._KL_REGISTRY, pair, counted)
    torch.distributions.kl._KL_MEMOIZE.clear()
    yield calls
    torch.distributions.kl._KL_MEMOIZE.clear()


@pytest.fixture
def array(tmp_path):
    """A file of 40 observations of 6 features."""
    path = tmp_path / "table.npy"
    rng = np.random.default_rng(0)
    np.save(path, rng.random((40, 2)) @ rng.random((2, 6)) / 2)
    return path


@pytest.fixture
def command(tmp_path, capsys, monkeypatch):
    """Runs the command line with --out; returns exit code, standard output and the lines of standard error.

    Draws no figures, which would take most of the time, unless asked to.
    """

    def run(line, draw=False):
        with monkeypatch.context() as patch:
            if not draw:
                patch.setattr(Backend, "draw", lambda *arguments: {})
            code = main([*shlex.split(line), "--out", str(tmp_path / "runs")])
        captured = capsys.readouterr()
        return code, captured.out, captured.err.splitlines()

    return run


@pytest.fixture
def without_jax(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("pyrocount.") and "iterative" in name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "jax", None)
