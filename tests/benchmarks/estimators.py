"""Bias, spread and time of the unbiased gradient of counts, beside the rules without corrections, for random networks.

Run it as ``python tests/benchmarks/estimators.py``. Bias and spread are in units of the norm of the exact gradient, and
times are those of 1000 samples. The column "no second gradient" is the spread of a correction that leaves out the
gradient at the neighbouring counts.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pyrocount import ArrivalTimes, RelaxedNegativeBinomial, RelaxedPoisson, SteinChen
from pyrocount.gradients import UnbiasedCounts, gradient_report

SAMPLES, EXACT, SIZES, RATES = 200_000, 20_000, (12, 64), (0.05, 0.2, 1.0, 5.0)  # small: 200, 200, (4,), (1.0,)
HIDDEN, VALUES = 64, 64
Function = Callable[[Tensor], Tensor]


def networks(latents: int) -> dict[str, Function]:
    """Returns squared errors of networks of K counts (..., K), with values (...)."""
    first = torch.randn(HIDDEN, latents) / math.sqrt(0.3 * latents)
    bias = 0.3 * torch.randn(HIDDEN)
    deep, last = torch.randn(2, HIDDEN, HIDDEN) / math.sqrt(HIDDEN / 2), torch.randn(VALUES, HIDDEN) / math.sqrt(HIDDEN)
    x = torch.randn(VALUES)
    kernel = torch.randn(8, 1, 3) / math.sqrt(3)

    def convolved(z: Tensor) -> Tensor:
        hidden = torch.relu(torch.conv1d((z @ first.T + bias).reshape(-1, 1, HIDDEN), kernel))
        return torch.tanh(hidden).sum(-2).reshape(*z.shape[:-1], -1)

    outputs: dict[str, Function] = {
        "linear": lambda z: z @ first.T @ last.T,
        "tanh": lambda z: torch.tanh(z @ first.T + bias) @ last.T,
        "ReLU": lambda z: torch.relu(z @ first.T + bias) @ last.T,
        "off until a count": lambda z: torch.relu(z @ first.T - 0.5) @ last.T,
        "three layers": lambda z: (
            torch.relu(torch.relu(torch.relu(z @ first.T + bias) @ deep[0].T) @ deep[1].T) @ last.T
        ),
        "convolutional": lambda z: convolved(z) - convolved(torch.zeros(latents)),
    }
    target = {name: x[:62] if name == "convolutional" else x for name in outputs}
    return {
        name: lambda z, name=name, output=output: (output(z) - target[name]).square().sum(-1)  # type: ignore[misc]
        for name, output in outputs.items()
    }


def without_second_gradient(function: Function, rate: Tensor, samples: int) -> float:
    """Returns the spread of forward differences at one latent, in place of the remainder of the trapezoid."""
    z = torch.poisson(rate.expand(samples, -1))
    leaf = z.clone().requires_grad_()
    values = function(leaf)
    (slope,) = torch.autograd.grad(values.sum(), leaf)
    gradient = (rate + z) / 2 * slope
    chance = (rate / rate.sum() + 1 / len(rate)) / 2
    index = torch.multinomial(chance, samples, replacement=True)[:, None]
    difference = function(z.scatter_add(1, index, torch.ones_like(index, dtype=z.dtype))) - values.detach()
    rest = rate[index] * difference[:, None] - gradient.gather(1, index)
    return gradient.scatter_add(1, index, rest / chance[index]).var(0).sum().sqrt().item()


def main() -> None:
    torch.manual_seed(0)
    estimators = {
        "Stein-Chen": SteinChen(),
        "unbiased": UnbiasedCounts(),
        "unbiased, 3": UnbiasedCounts(3),
        "arrivals .1": ArrivalTimes(0.1),
    }
    columns = "".join(f"{name:>32}" for name in estimators)
    print(f"{'bias +- resolution / spread':<44}{columns}{'no second gradient':>20}")
    for latents in SIZES:
        for rate in RATES:
            for name, function in networks(latents).items():
                rates = rate * torch.exp(0.5 * torch.randn(latents))
                for law in (RelaxedPoisson(rates), RelaxedNegativeBinomial.from_mean(rates, 2.0)):
                    report = gradient_report(function, law, estimators, samples=SAMPLES, exact_samples=EXACT)
                    cells = "".join(
                        f"{each.bias:>9.4f} +-{each.resolution:.4f} /{each.spread:>5.2f}"
                        f"{1000 * each.milliseconds:>5.2f} ms"
                        for each in report.estimates
                    )
                    poisson = isinstance(law, RelaxedPoisson)
                    spread = without_second_gradient(function, rates, SAMPLES) if poisson else math.nan
                    title = f"{'Poisson' if poisson else 'NB'}, K {latents}, rate {rate}, {name}"
                    print(f"{title:<44}{cells}{spread / report.exact.norm().item():>20.2f}", flush=True)


if __name__ == "__main__":
    main()
