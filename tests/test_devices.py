"""Devices that models compute on, by the name on the command line."""

import jax
import pytest
import torch

from pyrocount.backends import as_backend, build
from pyrocount.backends.devices import jax_device, torch_device
from pyrocount.backends.iterative_model import make_iterative
from pyrocount.config import Config
from pyrocount.errors import InputError
from pyrocount.models import make_vae


def test_a_fitted_iterative_model_computes_where_jax_chooses(monkeypatch):
    """Also where the run was trained on a device that is not there."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    backend = build(Config(model="iterative-poisson", device="cpu", latent_dim=2), (3,), fitted=True)
    with backend.on_device():
        assert jax.config.jax_default_device is None
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    assert build(Config(model="iterative-poisson", device="cuda", latent_dim=2), (3,), fitted=True).latent_dim == 2


@pytest.mark.parametrize(("there", "devices"), [(True, ("cuda", "cpu", "cuda")), (False, ("cpu", "cpu", None))])
def test_torch(there, devices, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    for name, device in zip(("auto", "cpu", "cuda"), devices, strict=True):
        if device is None:
            with pytest.raises(InputError, match="device: got cuda, but torch finds no CUDA device"):
                torch_device(name)
        else:
            assert torch_device(name).type == device


def test_jax(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    assert jax_device("auto") is jax_device("cpu") is None
    with pytest.raises(InputError, match="device: got cuda, but JAX finds no CUDA device"):
        jax_device("cuda")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert jax_device("auto") is jax_device("cuda") is None
    assert jax_device("cpu") == jax.devices("cpu")[0]


def test_an_evaluation_of_an_iterative_model_keeps_to_the_device(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    with as_backend(make_iterative("iterative-poisson", (3,), latent_dim=2)).to("cpu").on_device():
        assert jax.config.jax_default_device == jax.devices("cpu")[0]
    with as_backend(make_vae("poisson", (3,), latent_dim=2)).to("cpu").on_device():
        assert jax.config.jax_default_device is None
