"""Speed and memory of the relaxations, as ratios to plain ways to compute the same.

    python tests/benchmarks/relaxations.py [cpu|cuda]

Each row has the time of our code and of a reference, forward and backward, measured in turns. The speed says how many
times faster our code is, and the memory how many times less it holds at its peak. Our code is slower if the speed is
below 1.
"""

import sys
from pathlib import Path

import torch
from scipy import stats
from torch import Tensor
from torch.distributions import Exponential, Gamma
from torch.nn.functional import gumbel_softmax

sys.path.insert(0, str(Path(__file__).parents[2]))

from measure import Row, compare, table

from pyrocount import ArrivalTimes, GumbelSoftmax, RelaxedNegativeBinomial, RelaxedPoisson, SteinChen

TAU = 0.1
MANY, FEW, WIDTH = 1000, 128, 512  # small: 8, 4, 16


def stacked_arrivals(rate: Tensor) -> Tensor:
    n = int(stats.poisson.isf(1e-5, rate.max().item()))
    times = Exponential(rate, validate_args=False).rsample((n,)).cumsum(0)
    y = ((1 - times) / TAU).clamp(-1, 1)
    return (0.5 + 0.75 * y - 0.25 * y**3).sum(0)


def gumbel(rate: Tensor, max_count: int) -> Tensor:
    support = torch.arange(max_count + 1.0, device=rate.device)
    scores = support * rate.log().unsqueeze(-1) - rate.unsqueeze(-1) - torch.lgamma(support + 1)
    return gumbel_softmax(scores, TAU) @ support


def poisson_and_a_pass(rate: Tensor) -> Tensor:
    return torch.poisson(rate.detach()) + rate


def relaxed(relaxation) -> object:
    return lambda rate: RelaxedPoisson(rate, relaxation=relaxation, validate_args=False).rsample()


def forward_backward(draw, *parameters: Tensor):
    """Returns work that draws samples and differentiates their sum."""
    leaves = [parameter.clone().requires_grad_() for parameter in parameters]
    return lambda: torch.autograd.grad(draw(*leaves).sum(), leaves)


def negative_binomial(relaxation):
    def draw(total_count: Tensor, logits: Tensor) -> Tensor:
        return RelaxedNegativeBinomial(total_count, logits=logits, relaxation=relaxation, validate_args=False).rsample()

    return draw


def gamma_and_poisson(relaxation):
    def draw(total_count: Tensor, logits: Tensor) -> Tensor:
        gamma = Gamma(total_count, torch.exp(-logits), validate_args=False).rsample()
        mean = total_count * logits.exp()
        return RelaxedPoisson(mean, relaxation=relaxation, validate_args=False).rsample() + gamma

    return draw


def measure(device: torch.device) -> list[Row]:
    torch.manual_seed(0)
    many = torch.randn(MANY, WIDTH, device=device).exp().clamp(max=20)
    outlier = torch.randn(FEW, WIDTH, device=device).exp().clamp(max=20)
    outlier[0, 0] = 200
    arrivals, hard = ArrivalTimes(TAU), SteinChen()
    rows = [
        compare(
            "ArrivalTimes / stacked arrivals, 1000 x 512",
            forward_backward(relaxed(arrivals), many),
            forward_backward(stacked_arrivals, many),
            "15x faster, 10x less memory",
            device,
        ),
        compare(
            "ArrivalTimes / stacked arrivals, 128 x 512, one rate of 200",
            forward_backward(relaxed(arrivals), outlier),
            forward_backward(stacked_arrivals, outlier),
            "100x faster",
            device,
        ),
        compare(
            "SteinChen / torch.poisson and a pass, 1000 x 512",
            forward_backward(relaxed(hard), many),
            forward_backward(poisson_and_a_pass, many),
            "0.67x",
            device,
        ),
    ]
    for max_count in (30, 100):
        rows.append(
            compare(
                f"GumbelSoftmax / gumbel_softmax, 1000 x 512, max_count {max_count}",
                forward_backward(relaxed(GumbelSoftmax(TAU, max_count)), many),
                forward_backward(lambda rate, n=max_count: gumbel(rate, n), many),
                "2x faster; memory of ours alike" if max_count == 30 else "",
                device,
                repeats=3,
            )
        )
    total_count, logits = torch.full_like(many, 2.0), many.log() - 2.0**0.5
    for relaxation in (arrivals, hard):
        rows.append(
            compare(
                f"NB / Poisson and a Gamma, {type(relaxation).__name__}, 1000 x 512",
                forward_backward(negative_binomial(relaxation), total_count, logits),
                forward_backward(gamma_and_poisson(relaxation), total_count, logits),
                "0.33x",
                device,
            )
        )
    print(f"peak of GumbelSoftmax: {rows[3].ours_bytes / 2**20:.1f} and {rows[4].ours_bytes / 2**20:.1f} MiB")
    return rows


def waits(device: torch.device) -> list[str]:
    """Returns how often each sampler makes the host wait for a CUDA device, forward and backward."""
    import warnings

    rate = torch.rand(64, 64, device=device) + 0.1
    lines = []
    for relaxation in (SteinChen(), ArrivalTimes(TAU, hard=True), ArrivalTimes(TAU), GumbelSoftmax(TAU, 20)):
        for name, work in [
            ("Poisson", forward_backward(relaxed(relaxation), rate)),
            ("NB", forward_backward(negative_binomial(relaxation), rate, rate)),
        ]:
            work()
            torch.cuda.set_sync_debug_mode("warn")
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                work()
            torch.cuda.set_sync_debug_mode("default")
            lines.append(f"{name} {relaxation}: {len(caught)} waits")
    return lines


if __name__ == "__main__":
    device = torch.device(sys.argv[1] if len(sys.argv) > 1 else "cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(2)
    print(f"torch {torch.__version__}, {device}")
    print(table(measure(device)))
    if device.type == "cuda":
        print("\n".join(waits(device)))
