"""Speed of training steps by latent family and KL divergence, beside a bare loop in torch, as a table of ratios.

Run it as ``python tests/benchmarks/families.py [--threads N]``; it uses one thread, or a CUDA device if there is one.
The bare loop trains the same networks as a Poisson VAE with the Stein-Chen gradient and the exact divergence, without
Pyro and without checks. As in ``pyrocount.fit``, the C library keeps freed memory.
"""

import argparse
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyro
import torch
from measure import Trainer, compare, table
from torch import Tensor

from pyrocount.backends import build
from pyrocount.config import Config
from pyrocount.process.memory import keep_freed

REPEATS = 30  # small: 1


@dataclass(frozen=True)
class Task:
    """Networks, data and the ratios that are aimed at.

    Args:
        name: name of the task.
        network: kind of the encoder and the decoder.
        latents: number of latents.
        shape: shape of an observation.
        batch: number of observations in a batch.
        bare: speed of a Poisson step that is aimed at, in units of that of the bare loop.
        aims: speeds of steps of negative-binomial latents that are aimed at, in units of that of a Poisson step.
    """

    name: str
    network: str
    latents: int
    shape: tuple[int, ...]
    batch: int
    bare: str
    aims: dict[str, str]


LINEAR = {"shared": "0.62x", "mc": "0.50x", "exact": "0.33x"}
DEEP = {"shared": "0.83x", "mc": "0.77x", "exact": "0.62x"}
TASKS = [
    Task("patches", "lin", 512, (16, 16), 200, "0.77x", LINEAR),
    Task("patches", "mlp", 512, (16, 16), 200, "0.77x", DEEP),
    Task("digits", "mlp", 32, (8, 8), 128, "0.77x", DEEP),
    Task("MNIST", "conv", 256, (1, 28, 28), 128, "0.95x", DEEP),
]
TASKS = TASKS[:]  # small: TASKS[::2]


class Bare:
    """The same networks and mathematics in plain torch."""

    def __init__(self, config: Config, x: Tensor) -> None:
        torch.manual_seed(0)
        vae = build(config, x.shape[1:]).model
        self.x, self.encoder, self.decoder = x, vae.encoder.to(x.device), vae.decoder.to(x.device)
        self.log_rate = torch.nn.Parameter(torch.full((vae.latent.latent_dim,), -0.7, device=x.device))
        parameters = [*self.encoder.parameters(), *self.decoder.parameters(), self.log_rate]
        self.optimizer = torch.optim.Adam(parameters, lr=1e-4, fused=True)

    def step(self) -> None:
        self.optimizer.zero_grad()
        prior = self.log_rate.clamp(max=5.0)
        log_rate = (self.log_rate + self.encoder(self.x)).clamp(max=5.0)
        rate = log_rate.exp()
        kl = (rate * (log_rate - prior) - rate + prior.exp()).sum()
        squared = (self.decoder(_SteinChen.apply(log_rate)) - self.x).square().sum()
        ((squared + kl) / len(self.x)).backward()
        self.optimizer.step()


class _SteinChen(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, log_rate: Tensor) -> Tensor:
        rate = log_rate.exp()
        count = torch.poisson(rate)
        ctx.save_for_backward(rate, count)
        return count

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        rate, count = ctx.saved_tensors
        return grad * (rate + count) / 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1, help="number of threads")
    torch.set_num_threads(parser.parse_args().threads)
    keep_freed()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    pyro.enable_validation(False)
    pyro.settings.set(module_local_params=True)
    line = partial(compare, device=device, repeats=REPEATS)
    rows = []
    for task in TASKS:
        x = torch.randn(task.batch, *task.shape, device=device)
        config = partial(Config, encoder=task.network, decoder=task.network, latent_dim=task.latents)
        poisson = Trainer(config(model="poisson"), x)
        label = f"{task.name} {task.network}, {task.latents} latents: "
        rows.append(line(label + "poisson / bare", poisson.step, Bare(config(model="poisson"), x).step, task.bare))
        for kl, aim in task.aims.items():
            negbio = Trainer(config(model="negbio", kl=kl), x)
            rows.append(line(label + f"negbio --kl {kl} / poisson", negbio.step, poisson.step, aim))
    print(f"training steps on {device.type}, {torch.get_num_threads()} thread(s)")
    print(table(rows))


if __name__ == "__main__":
    main()
