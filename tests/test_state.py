"""Fits, scores and loads are alone in the process, and neither see nor change what a caller has set."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import jax
import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch.distributions import Distribution

import pyrocount
from pyrocount.config import Config
from pyrocount.errors import InputError
from pyrocount.fit import fit
from pyrocount.process.state import own_state
from pyrocount.sklearn import CountVAE

# Fits of an epoch are worse than the mean of the data, as the warning says.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X = load_digits().data[:300]
MODELS = ["negbio", "iterative-poisson"]


def estimator(model="poisson", **options):
    iterative = {"train_steps": 2, "test_steps": 2} if model == "iterative-poisson" else {}
    return CountVAE(model, latent_dim=4, epochs=1, random_state=0, **iterative, **options)


def numbers(model="poisson"):
    """A fit, and what is computed with it."""
    found = estimator(model).fit(X)
    return [found.transform(X[:20]), found.score(X[:20]), found.sample(3), found.inverse_transform(np.ones((2, 4)))]


def settings():
    return (
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.is_autocast_enabled("cpu"),
        Distribution._validate_args,
        jax.config.jax_enable_x64,
        torch.get_rng_state().tolist(),
    )


@contextmanager
def deterministic(warn_only):
    torch.use_deterministic_algorithms(True, warn_only=warn_only)
    yield
    torch.use_deterministic_algorithms(False)


@contextmanager
def double_precision():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@contextmanager
def default_device():
    torch.set_default_device("meta")
    yield
    torch.set_default_device(None)


@contextmanager
def no_validation():
    before = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    yield
    Distribution.set_default_validate_args(before)


AMBIENT = {
    "double precision": double_precision,
    "another device": default_device,
    "no gradients": torch.no_grad,
    "inference mode": torch.inference_mode,
    "deterministic algorithms": lambda: deterministic(False),
    "warnings of other algorithms": lambda: deterministic(True),
    "automatic casts": lambda: torch.autocast("cpu", torch.bfloat16),
    "no validation": no_validation,
    "JAX in double precision": lambda: jax.enable_x64(True),
}


@pytest.mark.parametrize("model", MODELS)
def test_threads_give_the_serial_numbers(model):
    wanted = numbers(model)
    before = settings()
    with ThreadPoolExecutor(3) as pool:
        for found in pool.map(numbers, [model] * 3):
            for mine, reference in zip(found, wanted, strict=True):
                np.testing.assert_array_equal(mine, reference)
    assert settings() == before


@pytest.fixture(scope="module")
def plain():
    return {model: numbers(model) for model in MODELS}


@pytest.mark.parametrize("ambient", AMBIENT)
def test_what_a_caller_has_set_neither_changes_a_fit_nor_is_changed(plain, ambient):
    for model, wanted in plain.items():
        with AMBIENT[ambient]():
            before = settings()
            found = numbers(model)
            assert settings() == before
        for mine, reference in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(mine, reference)


def test_settings_are_as_they_were_after_an_error():
    before = settings()
    with pytest.raises(InputError, match="latent_dim"):
        CountVAE("poisson", latent_dim=0).fit(X)

    @own_state()
    def fail():
        torch.set_default_dtype(torch.float64)
        Distribution.set_default_validate_args(False)
        torch.manual_seed(5)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert settings() == before


def test_runs_are_fitted_and_loaded_in_threads(tmp_path):
    def metrics(name):
        options = {"model": "poisson", "latent_dim": 4, "epochs": 1, "out": str(tmp_path), "name": name}
        path = fit(Config(**options)).path
        return pyrocount.load(path).metrics

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(metrics, ["a", "b"])
    assert first == second
