"""Speed of training steps by latent family and KL divergence, beside a bare loop in torch, as a table of ratios.

Run it as ``python tests/benchmarks/families.py``. It uses one thread, or a CUDA device if there is one. The bare loop
trains a linear Poisson VAE with the Stein-Chen gradient and the exact divergence, without Pyro and without checks.
"""

from functools import partial
from typing import Any

import pyro
import torch
from measure import Trainer, compare, table
from torch import Tensor, nn

from pyrocount.config import Config

LATENTS, SIDE, BATCH, REPEATS = 512, 16, 200, 40  # small: 8, 4, 4, 1
# Ratios that are aimed at, of the speed of a Poisson step to that of the bare loop, and of negative-binomial steps to
# that of a Poisson step with these networks.
AIM = "0.77x"
AIMS = {
    "lin": {"shared": "0.62x", "mc": "0.50x", "exact": "0.33x"},
    "mlp": {"shared": "0.83x", "mc": "0.77x", "exact": "0.62x"},
}


class Bare:
    """The same mathematics in plain torch."""

    def __init__(self, x: Tensor) -> None:
        values = x.shape[1]
        self.x = x
        self.encoder = nn.Linear(values, LATENTS, device=x.device)
        self.decoder = nn.Linear(LATENTS, values, device=x.device)
        self.log_rate = nn.Parameter(torch.full((LATENTS,), -0.7, device=x.device))
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


def trainer(x: Tensor, model: str, kl: str, network: str = "lin") -> Trainer:
    """Returns a model of the package that trains on a batch."""
    return Trainer(Config(model=model, kl=kl, encoder=network, decoder=network, latent_dim=LATENTS), x)


def main() -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(1)
    pyro.enable_validation(False)
    pyro.settings.set(module_local_params=True)
    x = torch.randn(BATCH, SIDE**2, device=device)
    line = partial(compare, device=device, repeats=REPEATS)
    rows = [line("step, lin, poisson / bare loop", trainer(x, "poisson", "exact").step, Bare(x).step, AIM)]
    for network, aims in AIMS.items():
        poisson = trainer(x, "poisson", "exact", network)
        for kl, aim in aims.items():
            negbio = trainer(x, "negbio", kl, network)
            rows.append(line(f"step, {network}, negbio --kl {kl} / poisson", negbio.step, poisson.step, aim))
    print(f"{LATENTS} latents, {SIDE**2} values, batch {BATCH}, on {device.type}")
    print(table(rows))


if __name__ == "__main__":
    main()
