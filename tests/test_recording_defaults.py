"""Options that follow from data being counts in a file; weight decay in both backends."""

import numpy as np
import pytest
import torch

from pyrocount.backends.amortized_training import _optimizer
from pyrocount.config import Config
from pyrocount.inference import jax_training
from pyrocount.inference.options import TrainingOptions
from pyrocount.models import make_vae

RECORDED = {"encoder": "lin", "decoder": "lin", "input_dropout": 0.25, "weight_decay": 5.0, "lr": 0.01}


def test_recordings_have_a_recipe():
    options = Config(model="poisson", data="counts.npz", likelihood="poisson").options
    assert {name: options[name] for name in RECORDED} == RECORDED
    assert options["initial_rate"] == 10
    assert Config(data="counts.npz", likelihood="negbio", lr=0.1).options["lr"] == 0.1
    assert "initial_rate" not in Config(model="gaussian", data="counts.npz", likelihood="poisson").options


@pytest.mark.parametrize(
    "given",
    [
        {"data": "digits", "likelihood": "poisson"},
        {"data": "table.npz"},
        {"data": "counts.npz", "likelihood": "poisson", "encoder": "mlp"},
        {"data": "counts.npz", "likelihood": "poisson", "decoder": "mlp"},
    ],
)
def test_others_do_not(given):
    options = Config(model="poisson", **given).options
    assert "weight_decay" not in options
    assert (options["input_dropout"], options["lr"]) == (0, 2e-3)
    assert "initial_rate" not in options


def test_decay_shrinks_the_weights_alone():
    vae = make_vae("poisson", (4,), latent_dim=2, encoder="lin", decoder="lin")
    before = {name: part.detach().clone() for name, part in vae.named_parameters()}
    for part in vae.parameters():
        part.grad = torch.zeros_like(part)
    _optimizer(TrainingOptions(weight_decay=5.0, lr=0.01), vae).step()
    for name, part in vae.named_parameters():
        factor = 0.95 if name.endswith("weight") else 1.0
        torch.testing.assert_close(part.detach(), factor * before[name])


def test_decay_in_jax():
    parameters = {"decoder.weight": np.ones((2, 3), np.float32), "decoder.bias": np.ones(3, np.float32)}
    trained, _ = jax_training.train(
        lambda parts, key, now, x: 0 * x[:, 0] * parts["decoder.bias"].sum(),
        parameters,
        "adam",
        [np.ones((4, 1), np.float32)],
        epochs=2,
        batch_size=4,
        peak=0.01,
        max_gradient_norm=1.0,
        weight_decay=5.0,
        seed=0,
        anneal=lambda now: {},
        monitor=lambda now: {"mean_rate": 0.0},
        save=lambda state: None,
        learning_rate=lambda now: 1.0,
        progress=False,
    )
    np.testing.assert_allclose(trained["decoder.weight"], 0.95**2, rtol=1e-6)
    np.testing.assert_array_equal(trained["decoder.bias"], 1.0)
