"""How long a thousand fits take, by simulation of a scheduler that hands fits to workers with measured times.

Run it as ``python tests/benchmarks/schedule.py [--seconds X]``. A worker takes the next fit as it becomes free. Workers
are lost at random, and their fits go on from the last checkpoint on another worker, after a new start.
"""

import argparse
import heapq
import random
from dataclasses import dataclass

# Measured: a process of a sweep imports for 4 s, and takes .2 s of a fit to hand it over, on two processors; an epoch
# of MNIST (60,000 images, conv, 256 latents, batch 128) is 469 steps of .041 s on one processor, and 3 s of measuring.
START, HANDOVER, EPOCH = 4.0, 0.2, 22.0
FITS, EPOCHS = 1000, 30
# Part by which fits differ in their time, as by model and estimator.
SPREAD = 0.3


@dataclass(frozen=True)
class Result:
    """Seconds until the last fit has ended, and the part of the workers' time that fits took."""

    seconds: float
    efficiency: float


def simulate(
    fits: int, workers: int, seconds: float, *, epochs: int, losses_per_hour: float = 0.0, seed: int = 0
) -> Result:
    """Simulates a scheduler.

    Args:
        fits: number of fits.
        workers: number of workers.
        seconds: mean seconds of a fit, without starts.
        epochs: number of epochs of a fit, after each of which there is a checkpoint.
        losses_per_hour: how often a worker is lost.
        seed: seed of the times.
    """
    chance = random.Random(seed)
    left = [seconds * max(0.1, chance.gauss(1, SPREAD)) for _ in range(fits)]
    work = sum(left)
    free = [(START, worker) for worker in range(workers)]
    heapq.heapify(free)
    last = 0.0
    while left:
        now, worker = heapq.heappop(free)
        own = left.pop(0)
        lost = chance.expovariate(losses_per_hour / 3600) if losses_per_hour else float("inf")
        if lost < HANDOVER + own:
            kept = max(0.0, lost - HANDOVER) // (seconds / epochs) * (seconds / epochs)
            left.append(own - kept)
            heapq.heappush(free, (now + lost + START, worker))
            continue
        last = max(last, now + HANDOVER + own)
        heapq.heappush(free, (now + HANDOVER + own, worker))
    return Result(last, work / (workers * last))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=EPOCH * EPOCHS, help="seconds of a fit on one worker")
    seconds = parser.parse_args().seconds
    print(f"{FITS} fits of {seconds / 60:.0f} min, {EPOCHS} epochs each")
    print(f"{'workers':>8}{'hours':>9}{'of the time':>13}{'hours, a worker lost every 10 h':>33}")
    for workers in (2, 16, 64, 256, 1000):
        plain = simulate(FITS, workers, seconds, epochs=EPOCHS)
        losing = simulate(FITS, workers, seconds, epochs=EPOCHS, losses_per_hour=0.1)
        print(f"{workers:>8}{plain.seconds / 3600:>9.2f}{plain.efficiency:>13.0%}{losing.seconds / 3600:>33.2f}")


if __name__ == "__main__":
    main()
