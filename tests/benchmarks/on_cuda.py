"""Speed on a CUDA device: samplers beside the memory's bandwidth, a step in a graph, an epoch of MNIST's size.

    python tests/benchmarks/on_cuda.py

It ends with one line where there is no CUDA device. ``CONTRIBUTING.md`` has the command that runs all that needs one.
"""

import sys
import time
from functools import partial

import pyro
import torch
from graph import CapturedStep
from measure import Trainer, medians
from torch import Tensor

from pyrocount import ArrivalTimes, RelaxedNegativeBinomial, RelaxedPoisson, SteinChen
from pyrocount.config import Config

# Rates of a draw, and images of an epoch with their batch.
MANY, IMAGES, BATCH = 2**24, 60_000, 128
AIM = 0.6


def bandwidth() -> float:
    """Returns bytes a second that a copy reads and writes."""
    source, target = (torch.empty(MANY, device="cuda") for _ in range(2))
    return 2 * source.nbytes / seconds(lambda: target.copy_(source))


def seconds(work) -> float:
    return medians([work], 20, before=torch.cuda.synchronize, after=torch.cuda.synchronize)[0]


def samplers() -> None:
    """Prints the bandwidth of samplers: bytes of rates and counts over their time, beside that of a copy."""
    whole = bandwidth()
    print(f"copy of {MANY:.1e} numbers: {whole / 1e9:.0f} GB/s; aim of a sampler: {AIM:.0%} of it")
    rate = torch.rand(MANY, device="cuda") + 0.05
    draws = {
        "torch.poisson": partial(torch.poisson, rate),
        "Poisson, SteinChen": RelaxedPoisson(rate, relaxation=SteinChen(), validate_args=False).rsample,
        "Poisson, ArrivalTimes": RelaxedPoisson(rate, relaxation=ArrivalTimes(0.1), validate_args=False).rsample,
        "NB, SteinChen": RelaxedNegativeBinomial(
            torch.ones_like(rate), logits=rate.log(), relaxation=SteinChen(), validate_args=False
        ).rsample,
    }
    with torch.no_grad():
        for name, draw in draws.items():
            taken = seconds(draw)
            print(f"{name:<28}{1e3 * taken:>8.2f} ms{2 * rate.nbytes / taken / whole:>8.0%} of a copy")


def steps() -> None:
    """Prints the time of a step by a graph beside the same step kernel by kernel."""
    x = torch.randn(200, 256, device="cuda")
    for model, kl in (("poisson", "exact"), ("negbio", "shared"), ("negbio", "mc"), ("negbio", "exact")):
        step = CapturedStep(x, model=model, estimator="stein", kl=kl, latent_dim=512)
        by_graph, eager = (seconds(work) for work in (step.replay, step.eager))
        print(
            f"{model + ' --kl ' + kl:<28}{1e3 * by_graph:>8.2f} ms{1e3 * eager:>8.2f} ms eager, lin, K 512, batch 200"
        )


def epoch() -> None:
    """Prints the time of the steps of an epoch of NegBio with convolutions on images of MNIST's size and number."""
    data = torch.randint(0, 256, (IMAGES, 1, 28, 28), dtype=torch.uint8, device="cuda")
    for precision in ("float32", "bf16"):
        options = {"model": "negbio", "encoder": "conv", "decoder": "conv", "latent_dim": 256, "precision": precision}
        trainer = Trainer(Config(**options), batch(data, torch.arange(BATCH)))
        for _ in range(10):
            trainer.step()
        torch.cuda.synchronize()
        start = time.perf_counter()
        for rows in torch.randperm(IMAGES, device="cuda").split(BATCH):
            trainer.x = batch(data, rows)
            trainer.step()
        torch.cuda.synchronize()
        print(f"NegBio conv|conv, K 256, {precision}: {time.perf_counter() - start:.1f} s an epoch of {IMAGES} images")


def batch(data: Tensor, rows: Tensor) -> Tensor:
    return data[rows.to(data.device)].float() / 255


def main() -> int:
    if not torch.cuda.is_available():
        print("on_cuda.py: torch finds no CUDA device")
        return 2
    pyro.enable_validation(False)
    pyro.settings.set(module_local_params=True)
    print(torch.cuda.get_device_name())
    samplers()
    steps()
    epoch()
    return 0


if __name__ == "__main__":
    sys.exit(main())
