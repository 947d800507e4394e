"""The programs of README and guide run as they are printed, given what they take for granted."""

import re
from pathlib import Path

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pyro
import pytest
import torch
from sklearn.datasets import load_digits

ROOT = Path(__file__).parents[1]
PROGRAMS = [
    pytest.param(code, id=f"{path.stem}-{number}")
    for path in (ROOT / "README.md", ROOT / "docs" / "guide.md")
    for number, code in enumerate(re.findall(r"^```python\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE))
]


def recording(rng):
    """A recording of 200 trials of 40 channels, tuned to an angle, with mean counts up to 60."""
    angle, preferred = rng.uniform(0, 2 * np.pi, (200, 1)), rng.uniform(0, 2 * np.pi, 40)
    rates = np.exp(rng.normal(2, 1, 40) + 0.6 * np.cos(angle - preferred))
    return torch.from_numpy(rng.poisson(rates)).float()


def given(code):
    """Returns the names that a program does not make itself."""
    digits, labels = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    names = {
        "X_train": digits[:100],
        "y_train": labels[:100],
        "X_test": digits[100:150],
        "y_test": labels[100:150],
        "spikes": rng.poisson(0.3, (20, 5, 10)),
        "seconds": np.ones(20),
        "counts": recording(rng),
    }
    if "natural_gradient" in code:
        return names | {"x": jnp.ones((3, 5)), "prior_rate": jnp.ones(4), "decoder": lambda z: z @ jnp.ones((4, 5))}
    images = torch.from_numpy(digits[:20] / 16).float()
    return names | {"images": images.reshape(-1, 1, 8, 8) if "make_vae" in code else images}


def test_there_are_programs():
    assert len(PROGRAMS) >= 7


@pytest.mark.parametrize("code", PROGRAMS)
def test_a_program(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = given(code)
    exec(code, names)
    plt.close("all")
    if "losses" in names:
        counts = names["counts"]
        of_mean_rates = -torch.distributions.Poisson(counts.mean(0)).log_prob(counts).sum()
        assert np.mean(names["losses"][-20:]) < of_mean_rates
    elif "svi" in names:
        before = names["decoder"].weight.detach().clone()
        losses = [names["svi"].step(names["images"]) for _ in range(100)]
        assert sum(losses[-10:]) < sum(losses[:10])
        assert not torch.equal(before, names["decoder"].weight)
    if "trajectory" in names:
        assert names["trajectory"].z.shape == (1000, 3, 4)
    pyro.clear_param_store()
