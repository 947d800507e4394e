"""Time and peak memory of two pieces of work, side by side."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch.profiler import ProfilerActivity, profile

from pyrocount.backends import build
from pyrocount.backends.amortized_training import make_elbo
from pyrocount.config import Config

Work = Callable[[], object]


class Trainer:
    """Model of a configuration, its loss and its optimiser, on one batch (N, \\*shape)."""

    def __init__(self, config: Config, x: torch.Tensor) -> None:
        torch.manual_seed(0)
        self.vae = build(config, x.shape[1:]).model
        self.elbo = make_elbo(config, self.vae)
        self.optimizer = torch.optim.Adam(self.vae.parameters(), lr=1e-4, fused=True)
        self.x = x

    def step(self) -> None:
        """Takes one training step: forward, backward and the optimiser."""
        self.optimizer.zero_grad()
        (self.elbo(self.x) / len(self.x)).backward()
        self.optimizer.step()


@dataclass(frozen=True)
class Row:
    """Comparison of two pieces of work: label, seconds and bytes of both, and the ratio of seconds that is the aim."""

    label: str
    ours: float
    reference: float
    ours_bytes: int
    reference_bytes: int
    aim: str


def compare(label: str, ours: Work, reference: Work, aim: str, device: torch.device, repeats: int = 7) -> Row:
    """Measures the median time and the peak memory of two pieces of work."""
    wait = partial(torch.cuda.synchronize, device) if device.type == "cuda" else _nothing
    seconds = medians((ours, reference), repeats, before=wait, after=wait)
    return Row(label, *seconds, peak(ours, device), peak(reference, device), aim)


def _nothing() -> None:
    pass


def medians(works: Sequence[Work], repeats: int, *, before: Work = _nothing, after: Work = _nothing) -> list[float]:
    """Returns the median seconds of each piece of work.

    The pieces take turns, and each has one turn more at the start to warm up.

    Args:
        works: pieces of work to measure.
        repeats: number of measured turns.
        before: work before each turn, which is not measured.
        after: work at the end of each turn, which is measured.
    """
    seconds: list[list[float]] = [[] for _ in works]
    for repeat in range(repeats + 1):
        for work, taken in zip(works, seconds, strict=True):
            before()
            start = time.perf_counter()
            work()
            after()
            if repeat:
                taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in seconds]


def peak(work: Work, device: torch.device) -> int:
    """Returns the largest number of bytes that the work holds in tensors at a time, beyond those at its start."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def table(rows: list[Row]) -> str:
    """Returns a table with one line for each comparison."""
    lines = [f"{'':<58}{'ours':>10}{'reference':>11}{'speed':>8}{'memory':>9}  aim"]
    for row in rows:
        speed, memory = row.reference / row.ours, row.reference_bytes / max(row.ours_bytes, 1)
        times = f"{1e3 * row.ours:>7.1f} ms{1e3 * row.reference:>8.1f} ms"
        lines.append(f"{row.label:<58}{times}{speed:>7.2f}x{memory:>8.2f}x  {row.aim}")
    return "\n".join(lines)
