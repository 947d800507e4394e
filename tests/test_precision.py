"""Encoder and decoder in bf16; all else stays in float32."""

import pytest
import torch
from sklearn.datasets import load_digits
from torch.utils._python_dispatch import TorchDispatchMode

from pyrocount import CountVAE
from pyrocount.backends import build
from pyrocount.backends.amortized_training import make_elbo
from pyrocount.config import Config
from pyrocount.errors import InputError

DIGITS = load_digits().data


@pytest.fixture
def bf16(monkeypatch):
    """A processor that has the arithmetic; others compute the same, slowly."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bf16": True}, raising=False)


class Products(TorchDispatchMode):
    """Records the dtypes of the results of matrix products and convolutions, and of all other results."""

    def __init__(self):
        super().__init__()
        self.products, self.rest = set(), set()

    def __torch_dispatch__(self, operation, types, arguments=(), options=None):
        result = operation(*arguments, **(options or {}))
        if isinstance(result, torch.Tensor) and result.is_floating_point():
            is_product = str(operation).split(".")[1] in ("mm", "addmm", "convolution")
            (self.products if is_product else self.rest).add(result.dtype)
        return result


@pytest.mark.parametrize("network", ["lin", "mlp", "conv"])
def test_networks_compute_in_bf16_in_training_alone(bf16, network):
    config = Config(model="negbio", encoder=network, decoder=network, latent_dim=5, precision="bf16")
    backend = build(config, (1, 8, 8))
    vae, x = backend.model, torch.randn(6, 1, 8, 8)
    with Products() as seen:
        loss = make_elbo(config, vae)(x)
        loss.backward()
    assert seen.products == {torch.bfloat16}
    assert loss.dtype == torch.float32
    assert all(part.dtype == part.grad.dtype == torch.float32 for part in vae.parameters() if part.grad is not None)
    with Products() as seen:
        backend.evaluate(x.numpy())
    assert seen.products == seen.rest == {torch.float32}


def test_a_fit_is_as_good(bf16):
    options = {"decoder": "mlp", "latent_dim": 12, "epochs": 40, "random_state": 0}
    scores = [CountVAE("poisson", precision=each, **options).fit(DIGITS).score(DIGITS) for each in ("float32", "bf16")]
    # Seeds differ by half a nat.
    assert scores[0] != scores[1]
    assert abs(scores[0] - scores[1]) < 2


def test_it_is_refused_where_the_processor_cannot(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bf16": False}, raising=False)
    with pytest.raises(InputError, match="precision: got bf16 on a cpu without this arithmetic, expected float32"):
        CountVAE("poisson", precision="bf16").fit(DIGITS)
    for model in ("lca", "iterative-poisson"):
        with pytest.raises(InputError, match="precision: got 'bf16' with --model"):
            Config(model=model, precision="bf16")
    with pytest.raises(InputError, match="precision: got 'half', expected"):
        Config(model="poisson", precision="half")
