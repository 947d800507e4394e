"""Program that ``torchrun`` starts in ``test_parallel``: trains each family with each estimator by all processes."""

import contextlib
import json
import sys

import pyro
import torch
from torch import distributed

from pyrocount.backends import build
from pyrocount.config import Config
from pyrocount.data import from_array
from pyrocount.process.group import joined

from test_hot_path import STEPS

EXACT = ("poisson", "exact", "exact")


def train(model, estimator, kl, rows):
    """Returns the last objective, and how far the parameters of the processes are apart."""
    config = Config(
        model=model,
        estimator=estimator,
        kl=kl,
        latent_dim=4,
        encoder="lin",
        decoder="lin",
        epochs=2,
        batch_size=8,
        device="cpu",
    )
    data = from_array(torch.randn(rows, 5, generator=torch.Generator().manual_seed(0)).numpy(), scaling="none")
    torch.manual_seed(0)
    backend = build(config, data.shape)
    backend.adapt(data)
    history = backend.train(config, data, monitor=lambda: {"mean_rate": 0.0}, save=lambda state: None, progress=False)
    vector = torch.cat([parameter.detach().flatten() for parameter in backend.model.parameters()])
    apart = 0.0
    if distributed.is_initialized():
        known = [torch.empty_like(vector) for _ in range(distributed.get_world_size())]
        distributed.all_gather(known, vector)
        apart = max((known[0] - other).abs().max().item() for other in known)
    return history[-1]["elbo"], apart


def main(path):
    pyro.enable_validation(False)
    with joined("cpu"):
        # 25 observations: the last batch has one, fewer than there are processes; 28 make parts of several sizes.
        found = {f"{'-'.join(step)}-{rows}": train(*step, rows) for step in (EXACT, *STEPS) for rows in (25, 27)}
        first = not distributed.is_initialized() or distributed.get_rank() == 0
    if first:
        with open(path, "w") as file:
            json.dump(found, file)


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):
        main(sys.argv[1])
